"""What every corpus shares: its entry in the catalog, how files are found, and what a reader says of each."""

import csv
import io
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from nonverbal.data.archives import is_archive, members, read_bytes
from nonverbal.data.audio import EXTENSIONS
from nonverbal.errors import UserError

Purpose = Literal["pretraining", "evaluation", "emotion", "recognition"]
"""Voc125; the sets of non-verbal sounds that encoders are compared on; emotion in speech; speech recognition."""

AUDIO = rf"\.(?i:{'|'.join(sorted(EXTENSIONS))})"
"""A regular expression of what ends the name of an audio file, for corpora of mixed formats."""

PACKED = (".zip", ".rar", ".7z", ".tar", ".tgz", ".tar.gz", ".tar.bz2")


@dataclass(frozen=True)
class Found:
    """A file that is a clip. Speaker, session and recording are qualified: ``corpus:value``; see ``clip``."""

    path: str
    """Relative to the corpus's folder, with forward slashes."""
    label: str | None = None
    speaker: str | None = None
    session: str | None = None
    recording: str | None = None
    """The group that must never be split; the file itself where None."""
    language: str | None = None
    split: str | None = None
    """Where the corpus has official ones: train, validation, test, or as it names its own."""
    text: str | None = None
    """What is said in it, or written of it."""


FIELDS = ("label", "speaker", "session", "recording", "language", "split", "text")
"""What may be known of a clip."""


@dataclass(frozen=True)
class Skipped:
    """A file that is not a clip of the corpus, and why."""

    path: str
    reason: str


Reading = Iterator[Found | Skipped]
Row = TypeVar("Row")


@dataclass(frozen=True)
class Corpus:
    """An entry of the catalog."""

    name: str
    title: str
    purposes: tuple[Purpose, ...]
    home: str
    licence: str
    """An SPDX expression where there is one, or a few words; with "disputed" where sources contradict each other."""
    allows: str
    """What the licence allows, in a few words."""
    commercial: bool | None
    """Whether a product may be trained on it; None where nobody says, or where it depends on the clip."""
    get: str
    """How to get it, in a sentence or two."""
    clips: int | None
    """As distributed; None where nobody has published it."""
    hours: float | None
    verified: str
    """What of this was checked on the corpus or its own documentation; and what was not, and is read leniently."""
    looks_like: str
    """What a folder of it holds, for the person who gave another one."""
    read: Callable[[Path], Reading] = field(repr=False)
    """Says of every file under a folder what it is. Raises ``UserError`` where the folder is not of this corpus."""
    notes: str = field(repr=False)
    """The docstring of its module."""
    doi: str | None = None
    languages: tuple[str, ...] = ()
    """ISO 639 codes; empty for sounds without words."""
    classes: Mapping[str, int] = field(default_factory=dict)
    """Clips of each label, where published."""
    voc125: tuple[int, float] | None = None
    """Clips and hours in Table I of voc2vec, where it is part of Voc125."""


def files(folder: Path) -> Iterator[str]:
    """Yield every file under ``folder``, relative to it, in sorted order; hidden ones too.

    The members of a zip archive stand for it, unless it was unpacked beside itself. Links to folders are not followed,
    and count as files.

    Raises:
        UserError: a folder cannot be listed, or an archive is damaged.
    """
    for root, folders, names in os.walk(folder, onerror=_refuse):
        folders.sort()
        linked = [name for name in folders if (Path(root) / name).is_symlink()]
        for name in sorted(names + linked):
            path = Path(root) / name
            relative = path.relative_to(folder).as_posix()
            if is_archive(path) and not leaves(folder, relative):
                yield from (f"{relative}/{member}" for member in members(path))
            else:
                yield relative


def _refuse(error: OSError) -> None:
    raise UserError(f"the folder {error.filename} cannot be listed: {error.strerror}") from error


def leaves(folder: Path, path: str) -> bool:
    """Whether a path, its links followed, is outside ``folder``."""
    return not Path(os.path.realpath(folder / path)).is_relative_to(os.path.realpath(folder))


def is_audio(path: str) -> bool:
    """Whether a file's extension is one of audio. What macOS puts beside a file, as ``._NAME``, is none."""
    name = Path(path)
    return name.suffix.lower().lstrip(".") in EXTENSIONS and not name.name.startswith("._")


def clip(corpus: str, path: str, **known: object) -> Found:
    """Return a clip with what is known of it, one of ``FIELDS`` each; speaker, session and recording get qualified.

    What is None or empty counts as unknown.
    """
    values = {key: str(value) for key, value in known.items() if value not in (None, "")}
    for key in ("speaker", "session", "recording"):
        if key in values:
            values[key] = f"{corpus}:{values[key]}"
    return Found(path, **values)


def from_names(
    corpus: str, labels: Mapping[str, str] | None = None, **constant: str
) -> Callable[[re.Match[str], str], Found]:
    """Return a ``describe`` for ``read_by_name``: the pattern's groups among ``FIELDS`` say what a clip is.

    Args:
        corpus: qualifies speakers, sessions and recordings.
        labels: what the codes in the group ``label`` stand for; another code gives no label.
        constant: what is the same for all clips.
    """

    def describe(match: re.Match[str], path: str) -> Found:
        known: dict[str, Any] = {key: value for key, value in match.groupdict().items() if key in FIELDS}
        if labels is not None and known.get("label") is not None:
            known["label"] = labels.get(known["label"])
        return clip(corpus, path, **{**constant, **known})

    return describe


def read_by_name(
    folder: Path, pattern: str, describe: Callable[[re.Match[str], str], Found | Skipped], skip: str, looks_like: str
) -> Reading:
    """Read a corpus by its file names.

    Args:
        folder: the corpus.
        pattern: a regular expression that clips' relative paths match whole.
        describe: turns a match and its path into a clip.
        skip: reason given for all other files.
        looks_like: what is expected, for the error where nothing matches.
    """
    compiled = re.compile(pattern)
    found = [(path, compiled.fullmatch(path)) for path in files(folder)]
    if not any(match for _, match in found):
        refuse([path for path, _ in found], folder, looks_like)
    for path, match in found:
        yield describe(match, path) if match else Skipped(path, skip)


def read_by_table(
    folder: Path,
    tables: str,
    key: str,
    describe: Callable[[dict[str, str], str, str], Found | Skipped],
    skip: str,
    looks_like: str,
) -> Reading:
    """Read a corpus whose tables say what a file is. A row without a file is a clip that will be found missing.

    Args:
        folder: the corpus.
        tables: a regular expression that the tables' relative paths match whole, in any case.
        key: the column that names a file, reduced as by ``read_table``; folders in it are ignored.
        describe: turns a row, the path of its file and that of its table into a clip.
        skip: reason given for files without a row.
        looks_like: what is expected, for the error where there is no table.

    Raises:
        UserError: there is no table, it lacks the column, or two rows contradict each other.
    """
    rows: dict[str, tuple[dict[str, str], str]] = {}
    for table in matching(folder, tables):
        for row in read_table(folder, table):
            if key not in row:
                raise UserError(f"{folder / table} has a row without {key!r}; its columns are {', '.join(row)}")
            name = Path(row[key]).name
            if name in rows and rows[name][0] != row:
                raise UserError(
                    f"{rows[name][1]} and {table} in {folder} say different things of {name}; read one part of the "
                    "corpus at a time, each as a corpus of its own"
                )
            rows[name] = row, table
    yield from read_by_rows(folder, rows, lambda row, path: describe(row[0], path, row[1]), skip, looks_like)


def read_by_rows(
    folder: Path, rows: Mapping[str, Row], describe: Callable[[Row, str], Found | Skipped], skip: str, looks_like: str
) -> Reading:
    """Read a corpus that says what each file is. A row without a file is a clip that will be found missing.

    Args:
        folder: the corpus.
        rows: the name of a file, without folders, to what is said of it.
        describe: turns that and the path of the file into a clip.
        skip: reason given for files without a row.
        looks_like: what is expected, for the error where there are no rows.
    """
    found = list(files(folder))
    if not rows:
        refuse(found, folder, looks_like)
    missing = dict(rows)
    for path in found:
        name = Path(path).name
        if name in rows and is_audio(path):
            missing.pop(name, None)
            yield describe(rows[name], path)
        else:
            yield Skipped(path, skip)
    for name, row in missing.items():
        yield describe(row, name)


def prefer(reading: Reading, better: str, worse: str, reason: str) -> Reading:
    """Read one of two releases of the same sounds, where both are there.

    Args:
        reading: of both.
        better: a regular expression searched in paths; where a clip's has it, that release is there.
        worse: the same for the clips that are then skipped.
        reason: given for them.
    """
    read = list(reading)
    both = any(isinstance(file, Found) and re.search(better, file.path) for file in read)
    for file in read:
        skipped = both and isinstance(file, Found) and re.search(worse, file.path)
        yield Skipped(file.path, reason) if skipped else file


def refuse(found: list[str], folder: Path, looks_like: str) -> None:
    """Raise the error for a folder that is not of a corpus, saying what was expected and what is there."""
    audio = [path for path in found if is_audio(path)]
    example = f", such as {audio[0]}" if audio else ""
    packed = [path for path in found if path.lower().endswith(PACKED)]
    remedy = f"; unpack {packed[0]} first" if packed else ""
    raise UserError(
        f"{folder} does not look like this corpus: expected {looks_like}; "
        f"found {len(found)} files, {len(audio)} of them audio{example}{remedy}"
    )


def matching(folder: Path, pattern: str) -> list[str]:
    """Return the files whose relative paths match a regular expression whole: a corpus's tables, wherever they lie."""
    compiled = re.compile(pattern, re.IGNORECASE)
    return [path for path in files(folder) if compiled.fullmatch(path)]


def read_text(folder: Path, path: str) -> str:
    """Return a file as text: UTF-8, with or without a mark, or else Windows's Western European.

    Raises:
        UserError: it cannot be read.
    """
    try:
        data = read_bytes(folder / path)
    except OSError as error:
        raise UserError(f"{folder / path} cannot be read: {error.strerror}") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def read_table(folder: Path, path: str, delimiter: str = ",") -> list[dict[str, str]]:
    """Return the rows of a table whose first line names its columns.

    Names of columns are reduced to lower-case letters and digits (``Filename``, ``File ID`` and ``File_ID`` are
    ``filename``, ``fileid`` and ``fileid``): they vary from release to release. Values are stripped.

    Raises:
        UserError: it cannot be read.
    """
    text = read_text(folder, path).replace("\0", "")
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True))
    except csv.Error as error:
        raise UserError(f"{folder / path} is no table: {error}") from error
    header = [re.sub(r"[^a-z0-9]", "", name.lower()) for name in rows[0]] if rows else []
    return [dict(zip(header, (value.strip() for value in row), strict=False)) for row in rows[1:] if any(row)]


def read_json(folder: Path, path: str) -> Any:
    """Return what a JSON file holds.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return json.loads(read_text(folder, path))
    except ValueError as error:
        raise UserError(f"{folder / path} is not valid JSON: {error}") from error
