"""The manifest: JSON Lines, one ``Clip`` per row."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

from nonverbal.errors import UserError
from nonverbal.files import json_lines

Value = str | int | float
"""Value of an attribute: a text or a finite number."""

LONGEST = 200
"""Largest number of characters in an attribute that is a text."""

LONGEST_TEXT = 100_000
"""Largest number of characters in the text of a clip."""


@dataclass(frozen=True, slots=True)
class Clip:
    """One labelled or unlabelled stretch of sound in a file of a corpus."""

    id: str
    """Unique in a manifest: ``corpus/relative path``, with ``#start-end`` if a file contains several clips."""
    corpus: str
    """Name of the corpus: lower-case letters, digits, ``-`` and ``_``."""
    path: str
    """The file, relative to the corpus's folder, with forward slashes."""
    start: float
    """Where the clip begins in the file, in seconds."""
    end: float
    """Where the clip ends in the file, in seconds."""
    sample_rate: int
    """Sample rate of the file, in Hz."""
    label: str | None
    """Class, as the corpus names it."""
    speaker: str | None
    """The speaker, qualified so that it is unique over corpora (``corpus:id``); None if unknown."""
    session: str | None
    """Recording session, qualified like ``speaker``."""
    language: str | None
    """ISO 639 code; None for sounds without words and if unknown."""
    split: str | None
    """Side on which the corpus itself puts it: train, validation, test, or the corpus's own name; None without one."""
    recording: str
    """The group that must never be split between train and validation or between folds, qualified like ``speaker``."""
    licence: str
    """SPDX identifier if there is one, or a short description."""
    sha256: str
    """SHA-256 of the clip's samples at 16 kHz mono, as little-endian 16-bit integers."""
    text: str | None = None
    """What is said in it or written about it, as in the corpus; None if unknown, and in manifests without texts."""
    attributes: Mapping[str, Value] = field(default_factory=dict, hash=False)
    """Further properties that the corpus gives, texts and numbers: see ``nonverbal.data.corpora.attributes``."""


_ORDER = [field.name for field in fields(Clip)]
_FIELDS = set(_ORDER)
_OPTIONAL = {"text", "attributes"}
_REQUIRED = _FIELDS - _OPTIONAL
_KINDS: dict[Any, tuple[tuple[type, ...], str]] = {
    str: ((str,), "a text"),
    str | None: ((str, type(None)), "a text or null"),
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
}
_EXPECTED = {name: _KINDS[hint] for name, hint in get_type_hints(Clip).items() if name != "attributes"}


def as_row(clip: Clip) -> dict[str, Any]:
    """Return a clip as its row of the manifest, without attributes if it has none.

    ``dataclasses.asdict``, which copies deeply, is slow.
    """
    return {name: getattr(clip, name) for name in _ORDER if name != "attributes" or clip.attributes}


def is_value(value: object) -> bool:
    """Whether a manifest may contain this value of an attribute: a finite number, or a text that is not too long."""
    if isinstance(value, str):
        return len(value) <= LONGEST
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        # JSON has integers that are too large for floating point.
        return False


def write_manifest(path: Path, clips: Iterable[Clip]) -> None:
    """Write ``clips`` to ``path`` in order, one JSON object per line."""
    with open(path, "w", encoding="utf-8") as file:
        for clip in clips:
            file.write(json.dumps(as_row(clip), ensure_ascii=False) + "\n")


def read_manifest(path: Path) -> Iterator[Clip]:
    """Yield the clips of a manifest; a row that cannot be read raises a ``UserError`` with file, line and reason."""
    if (inside := Path(path) / "manifest.jsonl").is_file():
        raise UserError(f"{path} is a folder of shards, not a manifest; give {inside}")
    if not Path(path).is_file():
        raise UserError(f"there is no manifest {path}; a folder of shards holds one as manifest.jsonl")
    for number, row in json_lines(path):
        if not isinstance(row, dict) or not _REQUIRED <= row.keys() <= _FIELDS:
            wrong = sorted((_REQUIRED ^ set(row)) - _OPTIONAL) if isinstance(row, dict) else type(row).__name__
            raise UserError(f"{path}, line {number}: not a manifest row; missing or unknown: {wrong}")
        attributes = row.get("attributes", {})
        if not isinstance(attributes, dict) or not all(map(is_value, attributes.values())):
            raise UserError(
                f"{path}, line {number}: attributes must be finite numbers and texts of at most {LONGEST} characters, "
                "by name"
            )
        if fault := _fault(row):
            raise UserError(f"{path}, line {number}: {fault}")
        yield Clip(**row)


def _fault(row: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the first field of a row, apart from attributes, that cannot be a clip's; or None."""
    for name, (kinds, words) in _EXPECTED.items():
        if name in row and not isinstance(row[name], kinds):
            return f"{name} must be {words}, but is {type(row[name]).__name__}"
    if len(row.get("text") or "") > LONGEST_TEXT:
        return f"text has {len(row['text'])} characters; at most {LONGEST_TEXT} are read"
    return None
