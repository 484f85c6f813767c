"""What licences allow, as data: the ``Terms`` of a corpus or a checkpoint, and of the SPDX identifiers used here.

This is not legal advice. The fields state what the text of a licence says, for tables, filters and cards.
"""

from dataclasses import dataclass, replace
from typing import Any

PERMISSIONS = ("commercial", "derivatives", "redistribution", "models")
"""Fields of ``Terms`` that are permissions."""

DUTIES = ("attribution", "share_alike", "agreement")
"""Fields of ``Terms`` that are requirements."""

SPDX_LIST = "https://spdx.org/licenses/"
"""Address of the texts of licences with an SPDX identifier."""


@dataclass(frozen=True)
class Terms:
    """What a licence allows and requires. None: not stated, or it depends on the clip."""

    source: str
    """Where this is stated: an address, a file of the corpus, or "other people's notes" or "memory"."""
    verified: bool
    """Whether the source is a statement of the owner and was read; False for what others say and for memory."""
    commercial: bool | None = None
    """Whether commercial use is allowed; for a corpus, training a commercial model."""
    derivatives: bool | None = None
    """Whether changed copies may be shared: cut, resampled or mixed audio, fine-tuned weights."""
    redistribution: bool | None = None
    """Whether copies may be shared: the audio of a corpus, the weights of a checkpoint."""
    models: bool | None = None
    """Whether weights trained on a corpus may be shared; hardly any licence of audio states this."""
    attribution: bool | None = None
    """Whether the authors must be named."""
    share_alike: bool | None = None
    """Whether derived works must have the same licence."""
    agreement: bool | None = None
    """Whether access requires a signature or a request."""
    disputed: bool = False
    """Whether accounts of the terms contradict each other; the fields then follow the strictest."""
    remark: str = ""
    """What the fields cannot express."""
    identifier: str = ""
    """SPDX identifier, if it is a single licence; ``LicenseRef-`` and a name if SPDX does not list it."""


def _open(**changes: bool) -> dict[str, bool]:
    """Return the fields of a licence that allows everything and requires nothing, with changes."""
    return {
        "commercial": True,
        "derivatives": True,
        "redistribution": True,
        "attribution": False,
        "share_alike": False,
        "agreement": False,
    } | changes


_BY = _open(attribution=True)
_FIELDS: dict[str, dict[str, bool]] = {
    "CC0-1.0": _open(),
    "CC-BY": _BY,
    "CC-BY-SA": _BY | {"share_alike": True},
    "CC-BY-ND": _BY | {"derivatives": False},
    "CC-BY-NC": _BY | {"commercial": False},
    "CC-BY-NC-SA": _BY | {"commercial": False, "share_alike": True},
    "CC-BY-NC-ND": _BY | {"commercial": False, "derivatives": False},
    "ODbL-1.0": _BY | {"share_alike": True},
    "DbCL-1.0": _open(),
    "Apache-2.0": _BY,
    "MIT": _BY,
    "BSD-3-Clause": _BY,
}
_VERSIONS = ("-2.0", "-2.5", "-3.0", "-4.0")

SPDX: dict[str, dict[str, bool]] = {
    name + version: fields
    for name, fields in _FIELDS.items()
    for version in (_VERSIONS if name.startswith("CC-") else ("",))
}
"""SPDX identifier to the fields of ``Terms`` that the licence's text settles. No text settles ``models``."""


def spdx(identifier: str, source: str = SPDX_LIST, verified: bool = True, remark: str = "") -> Terms:
    """Return the terms of a licence by its SPDX identifier, such as ``CC-BY-NC-4.0``.

    Args:
        identifier: a key of ``SPDX``.
        source: where it is stated that this is the licence.
        verified: see ``Terms``.
        remark: what the licence does not say.

    Raises:
        ValueError: the identifier is not in the table.
    """
    if identifier not in SPDX:
        raise ValueError(f"no terms for the licence {identifier!r}; those known are {', '.join(SPDX)}")
    return Terms(source, verified, remark=remark, identifier=identifier, **SPDX[identifier])


def strictest(*readings: Terms, disputed: bool = False) -> Terms:
    """Return the strictest of several terms: both parts of an SPDX ``AND``, or accounts that disagree.

    A permission holds if all give it, and is refused if one refuses it. A requirement holds if one has it. A field that
    this leaves open is None. Remarks and sources are joined.
    """
    first, *rest = readings
    combined = first
    for other in rest:
        changes: dict[str, Any] = {name: _every(getattr(combined, name), getattr(other, name)) for name in PERMISSIONS}
        changes |= {name: _any(getattr(combined, name), getattr(other, name)) for name in DUTIES}
        combined = replace(
            combined,
            **changes,
            source="; ".join(dict.fromkeys((combined.source, other.source))),
            verified=combined.verified and other.verified,
            remark="; ".join(part for part in dict.fromkeys((combined.remark, other.remark)) if part),
            identifier=combined.identifier if combined.identifier == other.identifier else "",
        )
    return replace(combined, disputed=disputed or any(terms.disputed for terms in readings))


def _every(a: bool | None, b: bool | None) -> bool | None:
    return False if False in (a, b) else None if None in (a, b) else True


def _any(a: bool | None, b: bool | None) -> bool | None:
    return True if True in (a, b) else None if None in (a, b) else False


_WORDS = {
    "commercial": "commercial use",
    "derivatives": "changed copies",
    "redistribution": "redistribution",
    "models": "publishing models trained on it",
    "attribution": "attribution",
    "share_alike": "share-alike",
    "agreement": "an agreement or a request before access",
}


def in_words(terms: Terms) -> str:
    """Return what terms allow, forbid, require and leave open, on one line."""
    named = {value: [_WORDS[name] for name in PERMISSIONS if getattr(terms, name) is value] for value in (True, False)}
    asked = [_WORDS[name] for name in DUTIES if getattr(terms, name)]
    open_ = [_WORDS[name] for name in (*PERMISSIONS, *DUTIES) if getattr(terms, name) is None]
    parts = [
        f"allows {', '.join(named[True])}" if named[True] else "",
        f"forbids {', '.join(named[False])}" if named[False] else "",
        f"requires {', '.join(asked)}" if asked else "",
        f"not stated: {', '.join(open_)}" if open_ else "",
        "accounts disagree: this is the strictest reading" if terms.disputed else "",
        terms.remark,
    ]
    return "; ".join(part for part in parts if part)
