"""What the parts of a WebDataset sample say about its clips: ``KEY.json``, ``KEY.cls``, ``KEY.txt``.

Only texts and JSON are read; nothing is unpickled.
"""

import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nonverbal.data.corpora.attributes import Attributes, attribute_name, attributes_among, attributes_of
from nonverbal.data.corpora.tables import KeyTwice, as_number, once
from nonverbal.data.reading import tars
from nonverbal.data.reading.audio import EXTENSIONS
from nonverbal.data.reading.problems import MemberProblem
from nonverbal.errors import UserError
from nonverbal.text import some_of

USUAL = {
    "label": ("json.label", "cls"),
    "speaker": ("json.speaker", "json.speaker_id"),
    "session": ("json.session",),
    "recording": ("json.recording",),
    "language": ("json.language",),
    "split": ("json.split",),
    "text": ("txt", "json.text"),
}
"""What may be known about a clip, and the parts that give it unless others are named; the first that exists counts."""

LARGEST_TEXT = 1 << 24
"""Largest number of bytes of a part that describes clips."""

OURS = {"corpus", "recording", "sha256", "part"}
"""Keys of the JSON in shards that ``nonverbal prepare`` wrote, in which names are already qualified."""

SHOWN = 12
"""Number of unused parts and keys that are named; the others are counted."""

MOST = 1000
"""Number of parts and keys that are distinguished, because some datasets have identifiers as keys."""

Places = list[tuple[str, list[str]]]
"""Parts that may give a value, each with the keys that lead to it."""


@dataclass
class Part:
    """A part of a sample that describes its clips."""

    content: Any
    """The content of JSON, or a text; None if it cannot be read."""
    problems: list[str] = field(default_factory=list)


@dataclass
class Sample:
    """The parts of a key in a tar; if they occur several times, those that lie side by side."""

    tar: Path
    key: str
    paths: dict[str, str]
    """Path in the tar by part, in lower case."""
    read: dict[str, Part] = field(default_factory=dict)
    """The parts that have been requested."""
    used: dict[str, str] = field(default_factory=dict)
    """By field, the part and key that gave it."""

    def part(self, name: str) -> Part | None:
        """Return a part, which is read once; None if it does not exist."""
        if name in self.paths and name not in self.read:
            self.read[name] = _part(self.tar, self.paths[name])
        return self.read.get(name)

    def is_ours(self) -> bool:
        """Whether ``nonverbal prepare`` wrote it."""
        part = self.part("json")
        return part is not None and isinstance(part.content, dict) and part.content.keys() >= OURS

    def known(self, audio: str, places: Mapping[str, Places]) -> dict[str, str | float]:
        """Return what is known about the clip in a part ``audio`` by field; unusable values are noted at the part."""
        found = {key: self._first(audio, key, of_key) for key, of_key in places.items()}
        return {key: value for key, value in found.items() if value is not None}

    def attributes(self, audio: str) -> Attributes:
        """Return the attributes in the JSON of a clip: keys named like attributes, and the object ``attributes``.

        For KEY.speech.wav, those of KEY.speech.json take precedence over those of KEY.json.
        """
        found: Attributes = {}
        prefix = audio.rpartition(".")[0]
        for name in dict.fromkeys((f"{prefix}.json".lstrip("."), "json")):
            part = self.part(name)
            if part is not None and isinstance(part.content, dict):
                named = part.content.get("attributes")
                inner = attributes_of(named) if isinstance(named, dict) else {}
                found = {**attributes_among(part.content), **inner, **found}
                self.used |= {f"attribute {key}": f"json.{key}" for key in part.content if attribute_name(key)}
                self.used |= {"attributes": "json.attributes"} if inner else {}
        return attributes_of(found)

    def _first(self, audio: str, field: str, places: Places) -> str | float | None:
        """Return the first value of a field: for KEY.speech.wav, from KEY.speech.json, or else from KEY.json."""
        prefix = audio.rpartition(".")[0]
        for name, keys in places:
            for full in dict.fromkeys((f"{prefix}.{name}".lstrip("."), name)):
                part = self.part(full)
                if part is None or part.content is None:
                    continue
                value, problem = _single(_within(part.content, keys))
                if isinstance(value, str) and not keys and field != "text":
                    value = as_number(value)
                if problem and (text := f"its {field} {problem}") not in part.problems:
                    part.problems.append(text)
                if value is not None:
                    self.used[field] = ".".join([name.rpartition(".")[2], *keys[:1]])
                    return value
        return None


@dataclass
class Uses:
    """What the parts of all samples were used as."""

    of_fields: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    there: set[str] = field(default_factory=set)

    def add(self, sample: Sample) -> None:
        """Count a sample whose clips are known."""
        for key, place in sample.used.items():
            self.of_fields[key].add(place)
        for part in sample.paths:
            content = sample.read[part].content if part in sample.read else None
            name = part.rpartition(".")[2]
            if name not in EXTENSIONS and len(self.there) < MOST:
                self.there |= {f"{name}.{key}" for key in content} if isinstance(content, dict) else {name}

    def told(self) -> str:
        """Return a line for the terminal that says what was used as what, and what was not used."""
        taken = [f"{key} from {', '.join(sorted(places))}" for key, places in self.of_fields.items()]
        used = {_letters(place) for places in self.of_fields.values() for place in places}
        unused = sorted(place for place in self.there if _letters(place) not in used)
        return (
            f"{'; '.join(taken) or 'no part says what a clip is'}; "
            f"not used: {some_of(unused, SHOWN).encode('utf-8', 'replace').decode() or 'none'}"
        )


def places_of(columns: Mapping[str, str]) -> dict[str, Places]:
    """Return the places that give each field: those that ``columns`` names, or else the usual ones."""
    specs = USUAL | {key: (column,) for key, column in columns.items()}
    return {key: [_parsed(spec) for spec in of_key] for key, of_key in specs.items()}


def unread(tar: Path, error: OSError) -> UserError:
    """Return the error for a tar that this machine cannot read, but may be able to read another time."""
    return UserError(f"{tar} cannot be read: {error.strerror}; run the same command again to continue")


def _part(tar: Path, path: str) -> Part:
    try:
        data = tars.read(tar, path, LARGEST_TEXT)
    except MemberProblem:
        return Part(None, [f"more than {LARGEST_TEXT >> 20} MB, and not read"])
    except OSError as error:
        raise unread(tar, error) from error
    is_json = path.lower().endswith(".json")
    try:
        content = json.loads(data, object_pairs_hook=once) if is_json else data.decode("utf-8-sig").strip()
    except KeyTwice as error:
        return Part(None, [str(error)])
    except (ValueError, RecursionError):
        return Part(None, ["not valid JSON" if is_json else "not text in UTF-8"])
    return Part(content, ["not a JSON object"] if is_json and not isinstance(content, dict) else [])


def _parsed(spec: str) -> tuple[str, list[str]]:
    """Divide ``json.speaker.id`` into the part and the keys in it; ``meta.json.label`` too."""
    steps = spec.split(".")
    end = next((i + 1 for i, step in enumerate(steps) if step.lower() == "json"), len(steps))
    return ".".join(steps[:end]).lower(), steps[end:]


def _within(value: Any, keys: Iterable[str]) -> Any:
    for key in keys:
        if isinstance(value, dict):
            alike = (name for name in value if _letters(name) == _letters(key))
            value = value.get(key if key in value else next(alike, key))
        elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        else:
            return None
    return value


def _letters(name: str) -> str:
    """Return a key's name without case, blanks and punctuation, which do not count."""
    return re.sub(r"[^\w.]|_", "", name.lower())


def _single(value: Any) -> tuple[str | float | None, str]:
    """Return a value that a field of a clip can have, or None and what is wrong with it, if anything is."""
    if isinstance(value, list | dict):
        return None, "is a list" if isinstance(value, list) else "is an object"
    if isinstance(value, float) and not math.isfinite(value):
        return None, "is NaN" if math.isnan(value) else "is infinite"
    # JSON can escape half of a character.
    if isinstance(value, str) and value != value.encode("utf-8", "ignore").decode():
        return None, "is not text"
    return (None if isinstance(value, str) and not value.strip() else value), ""
