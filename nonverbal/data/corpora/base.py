"""What every corpus shares: its entry in the catalog, how files are found, and what a reader says about each file."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from nonverbal.data.corpora.attributes import attribute_name, attributes_of
from nonverbal.data.corpora.tables import as_text
from nonverbal.data.manifest import LONGEST_TEXT, Value
from nonverbal.data.reading.audio import EXTENSIONS
from nonverbal.errors import UserError
from nonverbal.licences import Terms
from nonverbal.text import shown

Purpose = Literal["pretraining", "evaluation", "emotion", "recognition"]
"""In order: Voc125, non-verbal sounds on which encoders are compared, emotional speech, speech recognition."""

AUDIO = rf"\.(?:{'|'.join(sorted(EXTENSIONS))})"
"""A regular expression for the end of an audio file's name, as in ``readable``, for corpora of mixed formats."""

Count = int | tuple[int, int] | None
"""A number of clips; lowest and highest number if it varies or sources differ; None if nobody has published it."""


@dataclass(frozen=True)
class Found:
    """A file that is a clip. Speaker, session and recording are qualified: ``corpus:value``; see ``clip``."""

    path: str
    """Relative to the corpus's folder, with forward slashes."""
    label: str | None = None
    speaker: str | None = None
    session: str | None = None
    recording: str | None = None
    """The group that must never be split; the file itself if None."""
    language: str | None = None
    split: str | None = None
    """The official split, if any: train, validation, test, or the corpus's own name."""
    text: str | None = None
    """What is said in it, or written about it."""
    attributes: Mapping[str, Value] = field(default_factory=dict, hash=False)
    """Further properties: sex, age, intensity, ratings; see ``nonverbal.data.corpora.attributes``."""

    def as_row(self) -> dict[str, Any]:
        """Return it as JSON can write it, without attributes if it has none."""
        return {name: value for name, value in vars(self).items() if name != "attributes" or value}


FIELDS = ("label", "speaker", "session", "recording", "language", "split", "text")
"""What may be known about a clip."""


@dataclass(frozen=True)
class Skipped:
    """A file that is not a clip of the corpus, and why."""

    path: str
    reason: str


Reading = Iterator[Found | Skipped]


@dataclass(frozen=True)
class Corpus:
    """An entry of the catalog."""

    name: str
    title: str
    purposes: tuple[Purpose, ...]
    home: str
    licence: str
    """An SPDX expression if there is one, or a few words; with "disputed" if sources contradict each other."""
    terms: Terms
    """What the licence allows and requires, and where this is stated."""
    get: str
    """How to get it, in a sentence or two."""
    clips: Count
    """Number of clips as distributed."""
    hours: float | None
    verified: str
    """What of this was checked on the corpus or its own documentation, and what was not and is read leniently."""
    looks_like: str
    """What a folder of the corpus contains, for the error about another folder."""
    read: Callable[[Path], Reading] = field(repr=False)
    """Yields every file under a folder with what is known about it. Raises ``UserError`` for any other folder."""
    notes: str = field(repr=False)
    """The docstring of its module."""
    doi: str | None = None
    languages: tuple[str, ...] = ()
    """ISO 639 codes; empty for sounds without words."""
    classes: Mapping[str, int] = field(default_factory=dict)
    """Number of clips with each label, if published."""
    voc125: tuple[int, float] | None = None
    """Clips and hours in Table I of voc2vec, if it is part of Voc125."""


def clip(corpus: str, path: str, attributes: Mapping[str, object] | None = None, **known: object) -> Found:
    """Return a clip with what is known about it, as ``FIELDS``; speaker, session and recording are qualified.

    None, NaN and blank values count as unknown, and so does a ``text`` that is too long for a manifest; see ``as_text``
    for how the others are written. ``attributes`` that cannot be read are left out.

    Raises:
        UserError: a value is neither a text nor a number.
    """
    values: dict[str, Any] = {}
    for key, value in known.items():
        try:
            text = as_text(value)
        except ValueError as error:
            raise UserError(f"{corpus}: the {key} of {path} {error}") from error
        if text is not None and not (key == "text" and len(text) > LONGEST_TEXT):
            values[key] = text
    for key in ("speaker", "session", "recording"):
        if key in values:
            values[key] = f"{corpus}:{values[key]}"
    return Found(path, **values, attributes=attributes_of(attributes or {}))


def with_texts(corpus: str, reading: Reading, texts: Mapping[str, str]) -> Reading:
    """Give clips without a text the text of their label.

    Args:
        corpus: its name, for messages.
        reading: its files.
        texts: label to what is said in its clips.

    Raises:
        UserError: no clip has one of the labels.
    """
    met: set[str | None] = set()
    for file in reading:
        if isinstance(file, Found):
            met.add(file.label)
            if file.text is None and file.label is not None and file.label in texts:
                file = replace(file, text=texts[file.label])
        yield file
    if unknown := sorted(texts.keys() - met):
        there = ", ".join(sorted(shown(label) for label in met if label is not None)[:12])
        raise UserError(f"{corpus}: texts are given for the label {unknown[0]!r}, which no clip has; there are {there}")


def from_names(
    corpus: str,
    labels: Mapping[str, str] | None = None,
    codes: Mapping[str, Mapping[str, str]] | None = None,
    **constant: str,
) -> Callable[[re.Match[str], str], Found]:
    """Return a ``describe`` for ``read_by_name``: the pattern's groups among ``FIELDS`` describe a clip.

    Groups that are named like attributes (``attribute_name``) give those.

    Args:
        corpus: qualifies speakers, sessions and recordings.
        labels: what the codes in the group ``label`` stand for; with any other code, a clip has no label.
        codes: the same for attributes, by their names; if an attribute is not in it, the group is its value.
        constant: values that are the same for all clips, including attributes.
    """

    def describe(match: re.Match[str], path: str) -> Found:
        groups: dict[str, Any] = {**constant, **match.groupdict()}
        known = {key: value for key, value in groups.items() if key in FIELDS}
        if labels is not None and known.get("label") is not None:
            known["label"] = labels.get(known["label"])
        return clip(corpus, path, _decoded(groups, codes or {}), **known)

    return describe


def _decoded(groups: Mapping[str, str | None], codes: Mapping[str, Mapping[str, str]]) -> dict[str, str | None]:
    """Return the attributes among a pattern's groups, in words."""
    named = {attribute_name(group): value for group, value in groups.items() if value is not None}
    return {
        name: codes[name].get(value) if name in codes else value for name, value in named.items() if name is not None
    }
