"""WebDataset tars: each audio part of a sample is a clip, of which the sample's other parts say what is known.

Tars are listed by their headers alone and read where they lie (``nonverbal.data.tars``): ``webdataset`` says which
tars braces name and what a member's key and part are. Its own reader is not used. It would read all of every tar to
list it, take a damaged header for the end, drop a second member of one name, and run what an address names.
"""

import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from nonverbal.data import tars
from nonverbal.data.corpora.base import FIELDS, Found, Reading, Skipped, clip, files, is_audio, leaves
from nonverbal.errors import UserError

USUAL = {
    "label": ("json.label", "cls"),
    "speaker": ("json.speaker", "json.speaker_id"),
    "session": ("json.session",),
    "recording": ("json.recording",),
    "language": ("json.language",),
    "split": ("json.split",),
    "text": ("txt", "json.text"),
}
"""What may be known of a clip, and the parts that say it where nothing else is named, the first that is there."""

SPLITS = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "dev": "validation", "val": "validation",
    "test": "test", "testing": "test", "eval": "test", "evaluation": "test",
}  # fmt: skip
"""Words in the names of folders and tars by which Hugging Face knows a split."""

LARGEST_TEXT = 1 << 24
"""Bytes that a part may have which says something of clips."""

ADDRESS = re.compile(r"[A-Za-z][\w+.-]*:")
"""How what webdataset would fetch or run begins."""

OURS = {"corpus", "recording", "sha256", "part"}
"""Keys of the JSON in shards that ``nonverbal prepare`` wrote, whose names are qualified already."""


Sources = Mapping[str, list[tuple[str, list[str]]]]
"""A field to the parts that may say it, and the keys in each."""


@dataclass
class Part:
    """A part of a sample that says something of its clips."""

    content: Any
    """What JSON holds, or a text; None where it cannot be read."""
    problems: list[str] = field(default_factory=list)


@dataclass
class Sample:
    """The parts of one key in one tar."""

    tar: Path
    key: str
    paths: dict[str, str]
    """Part, in lower case, to path in the tar."""
    read: dict[str, Part] = field(default_factory=dict)
    """Those parts that were asked for."""

    def part(self, name: str) -> Part | None:
        """Return a part, read once; None where there is none."""
        if name in self.paths and name not in self.read:
            self.read[name] = _part(self.tar, self.paths[name])
        return self.read.get(name)


def named_tars(path: Path) -> tuple[Path, str] | None:
    """Take ``FOLDER/{000..127}.tar`` apart into the folder and the names, with braces; None where it names no tars."""
    if path.is_dir() or not tars.NAME.search(path.name):
        return None
    first = next((i for i, part in enumerate(path.parts) if "{" in part), len(path.parts) - 1)
    return Path(*path.parts[:first]), "/".join(path.parts[first:])


def holds_tars(folder: Path) -> bool:
    """Whether a folder holds tars, and no audio beside them."""
    found = list(files(folder))
    return any(tars.NAME.search(path) for path in found) and not any(map(is_audio, found))


def read_webdataset(folder: Path, name: str, pattern: str | None, columns: Mapping[str, str]) -> Reading:
    """Read the tars in a folder. One that is not there or damaged is a clip that cannot be decoded, beside its others.

    Args:
        folder: where they are.
        name: the corpus's name.
        pattern: names of tars relative to it, in braces; None for all that are there.
        columns: a field to what says it: a part (``txt``), or of a part in JSON a value (``json.speaker.id``).

    Raises:
        UserError: there are no tars, they hold no audio, or of a field in ``columns`` no sample says anything.
    """
    unknown = sorted(columns.keys() - set(FIELDS))
    if unknown:
        raise UserError(f"{name}: columns of {', '.join(unknown)}; they may be of {', '.join(FIELDS)}")
    specs = USUAL | {key: (column,) for key, column in columns.items()}
    sources = {key: [_parsed(spec) for spec in specs[key]] for key in specs}
    said: set[str] = set()
    any_clip = False
    example: Sample | None = None
    for file in _files(folder, pattern):
        any_clip |= isinstance(file, Found)
        if not isinstance(file, Sample):
            yield file
            continue
        relative = file.tar.relative_to(folder).as_posix()
        for found, known in _clips(file, relative, name, sources):
            any_clip, example = True, example or file
            said |= known
            yield found
        yield from _others(file, relative)
    if not any_clip:
        raise UserError(f"{folder} holds no audio in tars: expected samples such as KEY.flac and KEY.json")
    _refuse_unsaid(name, columns, said, example)


def _files(folder: Path, pattern: str | None) -> Iterator[Found | Skipped | Sample]:
    """Yield the samples of all tars, and what is none."""
    for path in list(files(folder)) if pattern is None else _expanded(folder, pattern):
        tar = folder / path
        if not tars.NAME.search(path):
            yield Skipped(path, "not a tar")
        elif leaves(folder, path):
            yield Skipped(path, "a link that leaves the folder")
        elif not tars.is_tar(tar):
            # It is found missing when it is to be decoded.
            yield Found(path)
        else:
            yield from _samples(tar, path)


def _expanded(folder: Path, pattern: str) -> list[str]:
    from webdataset.shardlists import expand_urls

    if "::" in pattern or "$" in pattern or ADDRESS.match(pattern):
        raise UserError(f"{pattern!r} is an address, a command or a list of them: name tars in {folder}, with braces")
    try:
        names = list(dict.fromkeys(expand_urls(pattern)))
    except ValueError as error:
        raise UserError(f"the braces in {pattern!r} cannot be read: {error}") from error
    for path in names:
        if path.startswith("/") or ".." in PurePosixPath(path).parts or not tars.NAME.search(path):
            raise UserError(f"{pattern!r} names {path!r}, which is not a tar in {folder}")
    if not any((folder / path).exists() for path in names):
        raise UserError(f"there is none of the {len(names)} tars that {folder / pattern} names, such as {names[0]}")
    return names


def _samples(tar: Path, path: str) -> Iterator[Found | Skipped | Sample]:
    from webdataset.tariterators import base_plus_ext

    try:
        listed = tars.listing(tar)
    except PermissionError:
        yield Found(path)
        return
    except OSError as error:
        raise _unread(tar, error) from error
    if listed.damage is not None:
        yield Found(path)
    elif not listed.members and not listed.refused:
        yield Skipped(path, "a tar without files")
    yield from (Skipped(f"{path}/{member}", reason) for member, reason in listed.refused.items())
    # Parts of a key need not lie side by side, as they must for webdataset.
    samples: dict[str, dict[str, str]] = defaultdict(dict)
    keys = {}
    for member, (name, *_) in listed.members.items():
        numbered, part = base_plus_ext(member)
        if numbered is None:
            yield Skipped(f"{path}/{member}", "its name has no key")
            continue
        samples[numbered][part.lower()] = member
        keys[numbered] = base_plus_ext(name)[0]
    for numbered, paths in samples.items():
        yield Sample(tar, keys[numbered], paths)


def _unread(tar: Path, error: OSError) -> UserError:
    return UserError(f"{tar} cannot be read: {error.strerror}; run the same command again to continue")


def _clips(sample: Sample, tar: str, name: str, sources: Sources) -> Iterator[tuple[Found, set[str]]]:
    """Yield the clips of a sample, each with the fields of which its parts say something."""
    for part, path in sample.paths.items():
        if not is_audio(path):
            continue
        found = {key: _first(sample, part, key, places) for key, places in sources.items()}
        known = {key: value for key, value in found.items() if value is not None}
        described = clip(name, f"{tar}/{path}", **{"split": _split_of(tar), "recording": sample.key, **known})
        main = sample.part("json")
        if main is not None and isinstance(main.content, dict) and main.content.keys() >= OURS:
            described = _unqualified(described, name, known)
        yield described, set(known)


def _unqualified(found: Found, name: str, known: Mapping[str, object]) -> Found:
    """A clip of ours keeps the names that it had in its own corpus: so it stays beside what it shares them with."""
    names = {key: getattr(found, key) for key in ("speaker", "session", "recording") if key in known}
    return Found(**{**vars(found), **{key: value.removeprefix(f"{name}:") for key, value in names.items()}})


def _first(sample: Sample, audio: str, field: str, places: Iterable[tuple[str, list[str]]]) -> str | float | None:
    """Return the first that is said of a field: for KEY.speech.wav by KEY.speech.json, else by KEY.json."""
    prefix = audio.rpartition(".")[0]
    for name, keys in places:
        for full in dict.fromkeys((f"{prefix}.{name}".lstrip("."), name)):
            part = sample.part(full)
            if part is None or part.content is None:
                continue
            value = part.content
            for key in keys:
                value = _within(value, key)
            single, problem = _single(value)
            if problem and (text := f"its {field} {problem}") not in part.problems:
                part.problems.append(text)
            if single is not None:
                return single
    return None


def _parsed(spec: str) -> tuple[str, list[str]]:
    """Take ``json.speaker.id`` apart into the part and the keys in it; ``meta.json.label`` too."""
    steps = spec.split(".")
    end = next((i + 1 for i, step in enumerate(steps) if step.lower() == "json"), len(steps))
    return ".".join(steps[:end]).lower(), steps[end:]


def _within(value: Any, key: str) -> Any:
    if isinstance(value, dict):
        return value.get(key)
    if isinstance(value, list) and key.isdecimal() and int(key) < len(value):
        return value[int(key)]
    return None


def _single(value: Any) -> tuple[str | float | None, str]:
    """Return a value that can be one of a clip's fields, or None and what is wrong, if anything."""
    if isinstance(value, list | dict):
        return None, "is a list" if isinstance(value, list) else "is an object"
    if isinstance(value, float) and not math.isfinite(value):
        return None, "is not a number" if math.isnan(value) else "is infinite"
    if isinstance(value, str) and not _is_text(value):
        return None, "is not text"
    return (None if isinstance(value, str) and not value.strip() else value), ""


def _is_text(value: str) -> bool:
    # JSON can escape what is no character.
    return value == value.encode("utf-8", "ignore").decode()


def _part(tar: Path, path: str) -> Part:
    try:
        data = tars.read(tar, path, LARGEST_TEXT)
    except tars.MemberProblem:
        return Part(None, [f"it has more than {LARGEST_TEXT >> 20} MB, and is not read"])
    except OSError as error:
        raise _unread(tar, error) from error
    is_json = path.lower().endswith(".json")
    try:
        content = json.loads(data) if is_json else data.decode("utf-8-sig").strip()
    except (ValueError, RecursionError):
        return Part(None, ["it is not valid JSON" if is_json else "it is not text in UTF-8"])
    return Part(content, ["it holds no JSON object"] if is_json and not isinstance(content, dict) else [])


def _others(sample: Sample, tar: str) -> Iterator[Skipped]:
    """Yield a row for each part that is no clip: what it was for, and what was wrong with it."""
    lonely = not any(map(is_audio, sample.paths.values()))
    for name, path in sample.paths.items():
        if is_audio(path):
            continue
        part = sample.read.get(name)
        reason = "not audio" if part is None else "; ".join(["says what a clip is", *part.problems])
        yield Skipped(f"{tar}/{path}", "of a key without audio" if lonely else reason)


def _split_of(tar: str) -> str | None:
    """The split that names of folders, else that of the tar, say; None where they say none or several."""
    *folders, file = (re.split(r"[-._ 0-9]", step.lower()) for step in tar.split("/"))
    for words in ([word for folder in folders for word in folder], file):
        splits = {SPLITS[word] for word in words if word in SPLITS}
        if splits:
            return splits.pop() if len(splits) == 1 else None
    return None


def _refuse_unsaid(name: str, columns: Mapping[str, str], said: set[str], example: Sample | None) -> None:
    """Refuse columns that no sample has: a slip of the pen would lose all labels without a word."""
    unsaid = [f"{key}: {column}" for key, column in columns.items() if key not in said]
    if unsaid and example is not None:
        part = example.part("json")
        keys = list(part.content) if part is not None and isinstance(part.content, dict) else []
        of_json = f", of json the keys {', '.join(map(repr, keys))}" if keys else ""
        raise UserError(
            f"{name}: no sample says what columns name ({', '.join(unsaid)}); the sample {example.key!r} has the parts "
            f"{', '.join(example.paths)}{of_json}"
        )
