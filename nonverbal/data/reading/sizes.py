"""Interprets sizes in headers: where the sound ends according to them, and what may follow it."""

import re
from collections.abc import Callable
from typing import Literal

from nonverbal.data.reading.pieces import Part, Source
from nonverbal.data.reading.problems import AudioProblem

Walked = tuple[list[Part], bool, int]
"""For one recording: its parts, whether one part is the recording as it stands, and where it ends."""

Walk = Callable[[Source, int], Walked]
"""Takes a file and the place in it where a recording begins."""

Order = Literal["little", "big"]

MARGIN = 1 << 24
"""Largest distance of a size that means "unknown" from 2^31 or 2^32: sox writes 0x7f000000 and 0x7ffff000."""

IMPOSSIBLE = 1 << 40
"""A number of bytes that no recording has."""

STRAY = 1024
"""Number of bytes after the sound that may be anything."""

TAG = re.compile(rb"TAG|APETAGEX|ID3|LYRICSBEGIN|[\t\n\r -~]{16}")
"""Beginning of a tag or a text."""


def left_open(size: int) -> bool:
    """Whether a size is what programs write if they do not know it yet, into a pipe or before they were stopped.

    An interrupted download has the size of the whole file, which is almost never so close to a power of two.
    """
    return size <= 0 or size >= IMPOSSIBLE or any(abs(size - full) <= MARGIN for full in (1 << 31, 1 << 32))


def stop_of_sound(source: Source, start: int, size: int, magic: re.Pattern[bytes]) -> int:
    """Return where sound ends that begins at ``start`` and has ``size`` bytes according to its header.

    Raises:
        AudioProblem: there are fewer.
    """
    if size > 0 and start + size <= source.size:
        return start + size
    if left_open(size):
        found = source.search(magic, start)
        return source.size if found is None else found
    raise AudioProblem("truncated", f"the header promises {size} bytes of sound, and {source.size - start} are there")


def next_recording(source: Source, at: int, sound: int, magic: re.Pattern[bytes]) -> int | None:
    """Return where another recording begins after ``at``; None if only tags and padding follow.

    Args:
        source: the file.
        at: where the previous recording ends.
        sound: its number of bytes of sound.
        magic: beginning of a recording.

    Raises:
        AudioProblem: what follows may be sound, but nothing says so.
    """
    if at >= source.size:
        return None
    if (found := source.search(magic, at)) is not None:
        return found
    left = source.size - at
    # A pad byte may be left out, or come first.
    if left <= min(STRAY, sound // 10) or source.is_padding(at) or source.is_padding(at + 1):
        return None
    if TAG.match(source.at(at, 16)) or TAG.match(source.at(at + 1, 16)):
        return None
    raise AudioProblem("unreadable", f"{left} bytes after the sound are not declared as sound, nor tags or padding")
