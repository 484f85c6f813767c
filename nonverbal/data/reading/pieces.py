"""A file's bytes by position, and files that are made of pieces of it."""

import io
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

BLOCK = 1 << 18
"""Number of bytes that are searched at once."""

SOME = 1 << 12
"""Number of bytes that are read at once."""

LONGEST_MATCH = 256
"""Largest number of bytes that a pattern may match."""


@dataclass(frozen=True)
class Part:
    """One recording in a file, as a file of its own. Most files have one part: the file as it is."""

    pieces: tuple[bytes | range, ...] = ()
    """Bytes, and ranges of the file's bytes; empty for the file as it is."""
    seconds: float = 0.0
    """Smallest length according to its container; 0 if it does not say."""


class Source:
    """An open file's bytes."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.size = os.fstat(descriptor).st_size
        self._start, self._block = 0, b""

    def at(self, start: int, count: int) -> bytes:
        """Return ``count`` bytes from ``start`` on, fewer at the end of the file."""
        low = start - self._start
        if low < 0 or low + count > len(self._block):
            if start >= self.size:
                return b""
            low = self._load(start, count)
        return self._block[low : low + count]

    def search(self, pattern: re.Pattern[bytes], start: int) -> int | None:
        """Return where a pattern first matches from ``start`` on; None if it does not."""
        while start < self.size:
            low = self._load(start, LONGEST_MATCH, BLOCK)
            if found := pattern.search(self._block, low):
                return self._start + found.start()
            start = max(self._start + len(self._block) - LONGEST_MATCH, start + LONGEST_MATCH)
        return None

    def _load(self, start: int, count: int, least: int = SOME) -> int:
        """Load ``count`` bytes into the block, as far as the file goes, and return where in it they begin."""
        stop = self._start + len(self._block)
        if not self._start <= start < stop or (start + count > stop and stop < self.size):
            self._start, self._block = (
                start,
                os.pread(self.descriptor, min(max(count, least), self.size - start), start),
            )
        return start - self._start

    def is_padding(self, start: int) -> bool:
        """Whether the rest of the file repeats a single byte, usually zero."""
        value = self.at(start, 1)
        return all(not self.at(at, BLOCK).strip(value) for at in range(start, self.size, BLOCK))


class Pieces(io.RawIOBase):
    """A file for reading that consists of bytes and of ranges of another file."""

    def __init__(self, descriptor: int, pieces: Sequence[bytes | range]) -> None:
        self._descriptor, self._pieces, self._at = descriptor, pieces, 0
        self.error: OSError | None = None
        """Error of reading the other file, which then ends: decoders print exceptions that are raised in them."""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: sum(map(len, self._pieces))}[whence]
        self._at = max(origin + offset, 0)
        return self._at

    def readinto(self, buffer: Any) -> int:
        start = self._at
        for piece in self._pieces:
            if start < len(piece):
                # A slice of a range is the range of the bytes that it stands for.
                wanted = piece[start : start + len(buffer)]
                data = self._read(wanted) if isinstance(wanted, range) else wanted
                buffer[: len(data)] = data
                self._at += len(data)
                return len(data)
            start -= len(piece)
        return 0

    def _read(self, wanted: range) -> bytes:
        try:
            return os.pread(self._descriptor, len(wanted), wanted.start)
        except OSError as error:
            self.error = error
            return b""
