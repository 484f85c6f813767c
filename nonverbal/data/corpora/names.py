"""What the names of files mean, whatever system or archive they come from."""

import re
import unicodedata
from pathlib import Path

from nonverbal.data.reading.archives import unpacked
from nonverbal.data.reading.audio import EXTENSIONS

SYSTEM = frozenset(("__macosx", "$recycle.bin", "system volume information", "lost+found", "@eadir", "#recycle"))
"""Folders that systems make, for copies or deleted files."""


def hidden(path: str) -> bool:
    """Whether a relative path belongs to what systems keep beside files: .DS_Store, ._NAME, __MACOSX, .Trashes."""
    return any(part.startswith(".") or part.lower() in SYSTEM for part in path.split("/"))


def is_audio(path: str) -> bool:
    """Whether a file has an extension of audio; hidden files do not count."""
    return Path(path).suffix.lower().lstrip(".") in EXTENSIONS and not hidden(path)


def readable(path: str) -> str:
    """Return a path in the form that patterns are matched against, the same for all systems and archives.

    Extensions of audio files are in lower case, archives are folders of their names, and accents are composed (NFC).
    """
    name, *endings = unicodedata.normalize("NFC", unpacked(path)).split(".")
    others = (place for place in range(len(endings), 0, -1) if endings[place - 1].lower() not in EXTENSIONS)
    kept = next(others, 0)
    return ".".join([name, *endings[:kept], *map(str.lower, endings[kept:])])


def file_name(path: str) -> str:
    """Return the last name of a path, as in ``readable``, for what tables of any system say about a file."""
    return readable(re.split(r"[\\/]", path)[-1])
