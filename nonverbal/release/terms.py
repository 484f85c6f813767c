"""The terms of a model, combined from those of its corpora and of its starting checkpoint.

This is not legal advice. The strictest terms on use, changes, attribution and share-alike carry over to the model.
Terms on data, such as an agreement to sign, do not forbid a release of weights, but the publisher must confirm that
they are known. A model that terms forbid is refused. Terms that are not stated stay open, and the card says so.
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
"""Fields of ``Terms`` that carry over to a model, with their names in texts. Redistribution and agreements concern the
audio, not the model."""

HUB = (
    "apache-2.0", "mit", "bsd-3-clause", "cc0-1.0",
    *(f"cc-by-{version}" for version in ("2.0", "2.5", "3.0", "4.0")),
    *(f"cc-by-sa-{version}" for version in ("3.0", "4.0")),
    *(f"cc-by-nc-{version}" for version in ("2.0", "3.0", "4.0")),
    *(f"cc-by-nc-sa-{version}" for version in ("2.0", "3.0", "4.0")),
    *(f"cc-by-nc-nd-{version}" for version in ("3.0", "4.0")),
    "cc-by-nd-4.0",
)  # fmt: skip
"""The identifiers in ``nonverbal.licences.SPDX`` that the Hub accepts as ``license``
(huggingface.co/docs/hub/repositories-licenses)."""

NAMES = {"ODbL-1.0": "odbl"}
"""From SPDX identifiers to the Hub's names, where these differ."""

OTHER = "other"
"""The Hub's ``license`` for a licence without an identifier there."""

UNKNOWN, STRICTEST = "unknown-in-part", "strictest-of-its-sources"
"""``license_name`` if some terms are not stated, and if no single licence expresses all terms."""

NOBODY = "nobody"
"""``Terms.source`` if no terms are stated anywhere."""


@dataclass(frozen=True)
class Source:
    """A corpus or checkpoint that a model was made from."""

    name: str
    kind: Literal["corpus", "checkpoint"]
    licence: str
    """Licence in the manifest or in the list of checkpoints."""
    terms: Terms


@dataclass(frozen=True)
class ReleaseTerms:
    """What a card says about a model's licence."""

    licence: str
    """The Hub's identifier, or ``other``."""
    licence_name: str
    """If ``licence`` is ``other``: lower-case letters, digits and hyphens; otherwise empty."""
    licence_link: str
    """Address of the licence's text; empty if the card itself holds it, or the Hub knows the licence."""
    carried: Terms
    """The strictest terms of all sources in the fields ``CARRIED``; the other fields are None."""
    notices: list[str]
    """Sentences on what is open, what was acknowledged, and what permission is claimed."""


def terms_of(licence: str, reader: str | None) -> Terms:
    """Return the terms of clips by the licence in their manifest.

    Args:
        licence: an SPDX expression whose only operator is ``AND``, or a few words.
        reader: the corpus's reader; the catalog's terms apply if it is in the catalog with this licence.
    """
    if reader in CATALOG and licence == CATALOG[reader].licence:
        return CATALOG[reader].terms
    parts = licence.split(" AND ")
    if licence and all(part in SPDX for part in parts):
        return strictest(*(spdx(part, "the manifest, as given to prepare", False) for part in parts))
    return Terms("the manifest" if licence else NOBODY, False)


def release_terms(
    sources: Sequence[Source], acknowledged: Sequence[str] = (), permission: str | None = None
) -> ReleaseTerms:
    """Return the terms of a model that was made from these sources.

    Args:
        sources: the corpora of its training data and its starting checkpoints, each once.
        acknowledged: names of sources whose terms on data the publisher knows.
        permission: why the model may be released although terms forbid it.

    Raises:
        UserError: terms forbid the model and there is no permission; terms on data are not acknowledged; an
            acknowledged name is not among the sources, or has no terms on data.
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
        *(
            f"{name}: {why}. The model is released with permission: {one_line(str(permission))}"
            for name, why in refused.items()
        ),
        *(f"{name}: {what}. The publisher of the model has acknowledged this." for name, what in asked.items()),
        *open_questions(sources),
        *_conflicts(carried, sources),
    ]
    return ReleaseTerms(licence, name, link, carried, notices)


def forbids(source: Source) -> str:
    """Return why a source's terms forbid the model; empty if they do not, or if this is not stated."""
    terms = source.terms
    if terms.models is False:
        return "its terms forbid sharing models trained on it"
    if source.kind == "checkpoint" and terms.derivatives is False:
        return "its terms forbid sharing changed weights"
    if source.kind == "checkpoint" and terms.redistribution is False and not terms.derivatives:
        return "its terms forbid sharing its weights"
    return ""


def on_data(source: Source) -> str:
    """Return what terms require or forbid for the data rather than for a model; empty if nothing."""
    terms, audio = source.terms, source.kind == "corpus"
    found = [
        "access requires an agreement or a request" if terms.agreement else "",
        "its audio must not be redistributed" if audio and terms.redistribution is False else "",
        "changed copies of its audio must not be redistributed" if audio and terms.derivatives is False else "",
    ]
    return "; ".join(part for part in found if part)


def strictest_of(sources: Sequence[Source]) -> Terms:
    """Return the strictest terms of all sources in the fields ``CARRIED``; all None without any source."""
    if not sources:
        return Terms("the sources of the model are not known", False)
    found = strictest(*(source.terms for source in sources))
    return Terms(
        found.source, found.verified, disputed=found.disputed, **{name: getattr(found, name) for name in CARRIED}
    )


def open_questions(sources: Sequence[Source]) -> list[str]:
    """Return sentences on the terms that are not stated, disputed, or not verified."""
    said = []
    for source in sources:
        left = [text for name, text in CARRIED.items() if getattr(source.terms, name) is None]
        if left:
            licence = f' ("{one_line(source.licence)}")' if source.licence and not source.terms.identifier else ""
            said.append(f"{source.name}{licence}: no terms are stated for {', '.join(left)}.")
        if source.terms.disputed:
            said.append(f"{source.name}: accounts of its terms disagree; the strictest applies here.")
    silent = [source.name for source in sources if source.kind == "corpus" and source.terms.models is None]
    if silent:
        said.append(
            f"The licences of these corpora do not state whether they bind models trained on the audio; here their "
            f"terms carry over as if they did: {', '.join(silent)}."
        )
    unread = [source.name for source in sources if not source.terms.verified]
    if unread:
        said.append(f"Terms that were not verified against a statement of the owner: {', '.join(unread)}.")
    return said


def _conflicts(carried: Terms, sources: Sequence[Source]) -> list[str]:
    """Return a sentence if no single licence fits share-alike and all other terms; open terms may leave this open."""
    alike = list(dict.fromkeys(source.licence for source in sources if source.terms.share_alike))
    settled = all(getattr(carried, name) is not None for name in CARRIED)
    if len(alike) > 1 or (alike and settled and SPDX.get(alike[0]) != _fields(carried)):
        return [f"Share-alike is required by {', '.join(alike)}; no single licence satisfies this and all other terms."]
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
    """Return the fields of a licence with exactly the carried terms, which allows redistribution without agreement."""
    return {name: getattr(carried, name) for name in CARRIED} | {"redistribution": True, "agreement": False}


def _check_acknowledged(asked: dict[str, str], acknowledged: Sequence[str], names: Sequence[str]) -> None:
    for name in acknowledged:
        if name not in asked:
            why = "has no terms on data" if name in names else f"is not among the sources: {', '.join(names) or 'none'}"
            raise UserError(f"--acknowledge {name}: it {why}; leave it out")
    if open_ := {name: what for name, what in asked.items() if name not in acknowledged}:
        raise UserError(
            f"terms on data do not forbid weights, but you must know them: {_listed(open_)}; if you follow them, give "
            f"--acknowledge {' '.join(open_)}, which the card prints"
        )


def _listed(said: dict[str, str]) -> str:
    return "; ".join(f"{name}: {what}" for name, what in said.items())
