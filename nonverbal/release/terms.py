"""Licence arithmetic: what the terms of corpora and of a starting checkpoint leave of what may be done with a model.

No legal advice. Terms on models and on derivatives are carried, the strictest of them; terms on data, such as an
agreement to sign, do not forbid weights, but whoever releases these must know of them; terms that forbid the model
itself refuse it. What nobody says stays open, and is said to be.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from nonverbal.data.corpora import CATALOG
from nonverbal.errors import UserError
from nonverbal.licences import SPDX, SPDX_LIST, Terms, spdx, strictest
from nonverbal.text import one_line

CARRIED = {
    "commercial": "commercial use",
    "derivatives": "changed copies",
    "attribution": "attribution",
    "share_alike": "share-alike",
}
"""Fields of ``Terms`` that a model takes over from what it was made of, and their names in texts. Redistribution is of
audio, and an agreement is signed by whoever gets that."""

HUB = (
    "apache-2.0", "mit", "bsd-3-clause", "cc0-1.0",
    *(f"cc-by-{version}" for version in ("2.0", "2.5", "3.0", "4.0")),
    *(f"cc-by-sa-{version}" for version in ("3.0", "4.0")),
    *(f"cc-by-nc-{version}" for version in ("2.0", "3.0", "4.0")),
    *(f"cc-by-nc-sa-{version}" for version in ("2.0", "3.0", "4.0")),
    *(f"cc-by-nc-nd-{version}" for version in ("3.0", "4.0")),
    "cc-by-nd-4.0",
)  # fmt: skip
"""Identifiers that the Hub's cards take as ``license``, of those in ``nonverbal.licences.SPDX``
(huggingface.co/docs/hub/repositories-licenses)."""

NAMES = {"ODbL-1.0": "odbl"}
"""SPDX identifiers that the Hub knows under another name."""

OTHER = "other"
"""What the Hub's cards call a licence that it has no identifier for."""

UNKNOWN, STRICTEST = "unknown-in-part", "strictest-of-its-sources"
"""``license_name`` where something of it nobody says, and where no one licence says all of it."""


@dataclass(frozen=True)
class Source:
    """Something that a model was made of."""

    name: str
    kind: Literal["corpus", "checkpoint"]
    licence: str
    """As the manifest or the list of checkpoints has it."""
    terms: Terms


@dataclass(frozen=True)
class ReleaseTerms:
    """What a card says of a model's licence."""

    licence: str
    """The Hub's identifier, or ``other``."""
    licence_name: str
    """Where it is ``other``: in lower-case letters, digits and hyphens; else empty."""
    licence_link: str
    """Where its text is; empty where that is the card itself, or the Hub knows it."""
    carried: Terms
    """The strictest of all sources, of the fields ``CARRIED``; the others are None."""
    notices: list[str]
    """Sentences: what is open, what was acknowledged, what permission is claimed."""


def terms_of(licence: str, reader: str | None) -> Terms:
    """Return the terms of clips by what their manifest says.

    Args:
        licence: of the clips: an SPDX expression with ``AND`` alone, or a few words.
        reader: of the corpus; the catalog's terms count where it read the corpus and said this licence.
    """
    if reader in CATALOG and licence == CATALOG[reader].licence:
        return CATALOG[reader].terms
    parts = licence.split(" AND ")
    if licence and all(part in SPDX for part in parts):
        return strictest(*(spdx(part, "the manifest, as whoever prepared the clips gave it", False) for part in parts))
    return Terms("the manifest" if licence else "nobody", False)


def release_terms(
    sources: Sequence[Source], acknowledged: Sequence[str] = (), permission: str | None = None
) -> ReleaseTerms:
    """Return what may be done with a model that was made of these.

    Args:
        sources: the corpora that it heard, and the checkpoints that it started from, each once.
        acknowledged: names of sources whose terms on data are known to whoever releases it.
        permission: why it may be released although terms forbid it.

    Raises:
        UserError: terms forbid the model and there is no permission; terms on data are not acknowledged; a name is
            acknowledged that is not there, or has none.
    """
    refused = {source.name: why for source in sources if (why := forbids(source))}
    if refused and permission is None:
        raise UserError(
            f"terms forbid this model: {_listed(refused)}; ask the owner, and give the answer with --i-have-permission "
            "REASON, which the card prints"
        )
    if permission is not None and not refused:
        raise UserError("--i-have-permission is given, but no terms forbid this model; leave it out")
    asked = {source.name: what for source in sources if (what := on_data(source))}
    _check_acknowledged(asked, acknowledged, [source.name for source in sources])
    carried = strictest_of(sources)
    licence, name, link = _licence(carried, sources)
    notices = [
        *(f"{name}: {why}. It is released by permission: {one_line(str(permission))}" for name, why in refused.items()),
        *(f"{name}: {what}. Whoever releases the model has acknowledged it." for name, what in asked.items()),
        *open_questions(sources),
        *_conflicts(carried, sources),
    ]
    return ReleaseTerms(licence, name, link, carried, notices)


def forbids(source: Source) -> str:
    """Say why terms forbid a model that was made of a source; empty where they do not, or nobody says."""
    terms = source.terms
    if terms.models is False:
        return "its terms do not let models that were trained on it be passed on"
    if source.kind == "checkpoint" and terms.derivatives is False:
        return "its terms do not let changed weights be passed on"
    if source.kind == "checkpoint" and terms.redistribution is False and not terms.derivatives:
        return "its terms do not let its weights be passed on"
    return ""


def on_data(source: Source) -> str:
    """Say what terms ask for or refuse of data, and not of a model; empty where there is nothing."""
    terms, audio = source.terms, source.kind == "corpus"
    found = [
        "an agreement has to be signed, or it has to be asked for" if terms.agreement else "",
        "its audio must not be passed on" if audio and terms.redistribution is False else "",
        "changed copies of its audio must not be passed on" if audio and terms.derivatives is False else "",
    ]
    return "; ".join(part for part in found if part)


def strictest_of(sources: Sequence[Source]) -> Terms:
    """Return what all sources leave of the fields ``CARRIED``; all None without any source."""
    if not sources:
        return Terms("nothing is known of what the model was made of", False)
    found = strictest(*(source.terms for source in sources))
    return Terms(
        found.source, found.verified, disputed=found.disputed, **{name: getattr(found, name) for name in CARRIED}
    )


def open_questions(sources: Sequence[Source]) -> list[str]:
    """Say of which sources nobody says what a model takes over, and which readings are not the owner's own word."""
    said = []
    for source in sources:
        left = [text for name, text in CARRIED.items() if getattr(source.terms, name) is None]
        if left:
            licence = f' ("{one_line(source.licence)}")' if source.licence and not source.terms.identifier else ""
            said.append(f"{source.name}{licence}: nobody says, of {', '.join(left)}.")
        if source.terms.disputed:
            said.append(f"{source.name}: sources disagree, and the strictest counts.")
    silent = [source.name for source in sources if source.kind == "corpus" and source.terms.models is None]
    if silent:
        said.append(
            f"Whether a licence of audio binds weights that were trained on it, nobody says ({', '.join(silent)}): "
            "its terms are carried here as if it did."
        )
    unread = [source.name for source in sources if not source.terms.verified]
    if unread:
        said.append(f"Not read at the owner's: the terms of {', '.join(unread)}.")
    return said


def _conflicts(carried: Terms, sources: Sequence[Source]) -> list[str]:
    """Say where share-alike and other terms leave no licence that meets all; what is open may still decide so."""
    alike = list(dict.fromkeys(source.licence for source in sources if source.terms.share_alike))
    settled = all(getattr(carried, name) is not None for name in CARRIED)
    if len(alike) > 1 or (alike and settled and SPDX.get(alike[0]) != _fields(carried)):
        return [f"Share-alike is asked for by {', '.join(alike)}: no one licence meets that and all other terms."]
    return []


def _licence(carried: Terms, sources: Sequence[Source]) -> tuple[str, str, str]:
    """Return ``license``, ``license_name`` and ``license_link``."""
    if not sources or any(getattr(carried, name) is None for name in CARRIED):
        return OTHER, UNKNOWN, ""
    named = [source.terms.identifier for source in sources]
    alike = {source.terms.identifier for source in sources if source.terms.share_alike}
    fitting = [name for name in named if SPDX.get(name) == _fields(carried) and (not alike or {name} == alike)]
    if not fitting:
        return OTHER, STRICTEST, ""
    # A licence of weights before one of audio: the checkpoint comes first.
    first = next(
        (s.terms.identifier for s in sources if s.kind == "checkpoint" and s.terms.identifier in fitting), None
    )
    chosen = first or fitting[0]
    hub = NAMES.get(chosen, chosen.lower())
    if hub in (*HUB, *NAMES.values()):
        return hub, "", ""
    return OTHER, chosen.lower(), f"{SPDX_LIST}{chosen}.html"


def _fields(carried: Terms) -> dict[str, bool | None]:
    """What a licence would have to say that has just the carried terms; weights may be passed on, unasked."""
    return {name: getattr(carried, name) for name in CARRIED} | {"redistribution": True, "agreement": False}


def _check_acknowledged(asked: dict[str, str], acknowledged: Sequence[str], names: Sequence[str]) -> None:
    for name in acknowledged:
        if name not in asked:
            why = "has no terms on data" if name in names else f"is not among {', '.join(names) or 'what is known'}"
            raise UserError(f"--acknowledge {name}: it {why}; leave it out")
    if open_ := {name: what for name, what in asked.items() if name not in acknowledged}:
        raise UserError(
            f"terms on data do not forbid weights, but you must know them: {_listed(open_)}; if you follow them, give "
            f"--acknowledge {' '.join(open_)}, which the card prints"
        )


def _listed(said: dict[str, str]) -> str:
    return "; ".join(f"{name}: {what}" for name, what in said.items())
