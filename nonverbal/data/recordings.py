"""Sound files of any kind, alone or in folders, decoded as by ``nonverbal prepare``, but nothing is kept on disk."""

import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nonverbal.data.corpora import read
from nonverbal.data.corpora.base import Found
from nonverbal.data.corpora.listing import there
from nonverbal.data.corpora.names import is_audio
from nonverbal.data.corpora.webdataset import holds_tars, named_tars
from nonverbal.data.preparing.scan import load_from
from nonverbal.data.reading.problems import AudioProblem
from nonverbal.data.workers import over_processes
from nonverbal.errors import UserError


@dataclass(frozen=True)
class Recording:
    """A sound file, or a member of an archive."""

    name: str
    """Its path: what the user gave, followed by the path below it."""
    folder: Path
    """Folder to which its path is relative."""
    path: str
    """Path in the folder, in the form of readers."""
    problem: str | None = None
    """Why it cannot be decoded at all; None if it can be tried."""


@dataclass(frozen=True)
class Heard:
    """The result of decoding a recording."""

    number: int
    """Its position among all recordings."""
    samples: np.ndarray | None
    """``(T,)`` int16, 16 kHz, mono; None if it cannot be read."""
    problem: str
    """Why it cannot be read, such as ``truncated: ...``; empty if it can."""


def recordings_in(places: Sequence[Path], say: Callable[[str], None] = lambda _: None) -> list[Recording]:
    """Return the sound files in ``places``, each once, in the order of ``places`` and of their paths.

    Args:
        places: files, folders, zip archives and tars; also tars by braces, ``FOLDER/{000..127}.tar``.
        say: is called with messages for the user about how a folder was read.

    Raises:
        UserError: a file or folder does not exist, or a folder contains no sound.
    """
    found = [recording for place in places for recording in _in_place(place, say)]
    return list({recording.name: recording for recording in found}.values())


def decoded(recordings: Sequence[Recording], processes: int) -> Iterator[Heard]:
    """Decode recordings on several processes, and yield the results in any order.

    Raises:
        UserError: a process was ended from outside, or the machine cannot read a file.
    """
    numbered = list(enumerate(recordings))
    yield from (Heard(number, None, one.problem) for number, one in numbered if one.problem is not None)
    for done in over_processes(_decode, [pair for pair in numbered if pair[1].problem is None], processes):
        crash = Heard(done.item[0], None, f"unreadable: it crashes the decoder ({done.crash})")
        yield crash if done.result is None else done.result


def _decode(numbered: tuple[int, Recording]) -> Heard:
    number, recording = numbered
    try:
        return Heard(number, load_from(recording.folder, recording.path).samples, "")
    except AudioProblem as problem:
        return Heard(number, None, str(problem))


def _in_place(place: Path, say: Callable[[str], None]) -> Iterator[Recording]:
    if there(place):
        reader = "webdataset" if holds_tars(place) else "folder"
        yield from _in_folder(place, reader, None, say)
    elif (tars := named_tars(place)) is not None:
        yield from _in_folder(tars[0], "webdataset", tars[1], say)
    elif not place.exists():
        raise UserError(f"there is no file or folder {place}{_near(place)}; give sound files, or folders of them")
    else:
        yield _recording(place.parent, place.name)


def _in_folder(folder: Path, reader: str, pattern: str | None, say: Callable[[str], None]) -> Iterator[Recording]:
    reading = read("sound", folder, reader, pattern, lambda text: say(f"{folder}: {text}"))
    for file in sorted(reading, key=lambda file: file.path):
        if isinstance(file, Found):
            yield _recording(folder, file.path)
        elif is_audio(file.path):
            yield _recording(folder, file.path, f"passed over: {file.reason}")


def _recording(folder: Path, path: str, problem: str | None = None) -> Recording:
    name = str(folder / path)
    # A name that is not UTF-8 can neither be written to a table nor passed to libsndfile.
    printable = name.encode("utf-8", "backslashreplace").decode()
    return Recording(
        printable, folder, path, problem if printable == name else "passed over: its name is not valid UTF-8"
    )


def _near(place: Path) -> str:
    names = [path.name for path in place.parent.iterdir()] if place.parent.is_dir() else []
    near = difflib.get_close_matches(place.name, names, 1)
    return f"; did you mean {place.parent / near[0]}?" if near else ""
