"""What every corpus shares: how files are found, and what a reader says of each."""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from nonverbal.data.audio import EXTENSIONS
from nonverbal.errors import UserError


@dataclass(frozen=True)
class Found:
    """A file that is a clip. Speaker, session and recording are qualified: ``corpus:value``."""

    path: str
    """Relative to the corpus's folder, with forward slashes."""
    label: str | None = None
    speaker: str | None = None
    session: str | None = None
    recording: str | None = None
    """The group that must never be split; the file itself where None."""
    language: str | None = None


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
    home: str
    licence: str
    allows: str
    """What the licence allows, in a few words."""
    clips: int
    hours: float | None
    """None where nobody has published them."""
    looks_like: str
    """What a folder of it holds, for the person who gave another one."""
    read: Callable[[Path], Reading] = field(repr=False)
    """Says of every file under a folder what it is. Raises ``UserError`` where the folder is not of this corpus."""


def files(folder: Path) -> Iterator[str]:
    """Yield every file under ``folder``, relative to it, in sorted order; hidden ones too.

    Links to folders are not followed, and count as files.

    Raises:
        UserError: a folder cannot be listed.
    """
    for root, folders, names in os.walk(folder, onerror=_refuse):
        folders.sort()
        linked = [name for name in folders if (Path(root) / name).is_symlink()]
        for name in sorted(names + linked):
            yield (Path(root) / name).relative_to(folder).as_posix()


def _refuse(error: OSError) -> None:
    raise UserError(f"the folder {error.filename} cannot be listed: {error.strerror}") from error


def leaves(folder: Path, path: str) -> bool:
    """Whether a path, its links followed, is outside ``folder``."""
    return not Path(os.path.realpath(folder / path)).is_relative_to(os.path.realpath(folder))


def is_audio(path: str) -> bool:
    """Whether a file's extension is one of audio."""
    return Path(path).suffix.lower().lstrip(".") in EXTENSIONS


def read_by_name(
    folder: Path, pattern: str, describe: Callable[[re.Match[str], str], Found], skip: str, looks_like: str
) -> Reading:
    """Read a corpus whose file names tell everything.

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
        audio = [path for path, _ in found if is_audio(path)]
        example = f", such as {audio[0]}" if audio else ""
        raise UserError(
            f"{folder} does not look like this corpus: expected {looks_like}; "
            f"found {len(found)} files, {len(audio)} of them audio{example}"
        )
    for path, match in found:
        yield describe(match, path) if match else Skipped(path, skip)
