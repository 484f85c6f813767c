"""Finds the streams of an Ogg file, which may follow one another, by a walk from page to page."""

import re
from dataclasses import dataclass, field

from nonverbal.data.reading.pieces import Part, Source
from nonverbal.data.reading.problems import AudioProblem

PAGE = re.compile(rb"OggS\0[\0-\x07]", re.DOTALL)
CONTINUED, FIRST = 1, 2
NOTHING_ENDS = (1 << 64) - 1
"""The position of a page on which no packet ends."""

SLACK = 0.1
"""Seconds by which a count of samples may be wrong: encoders' delays, cuts at either end."""


@dataclass
class _Stream:
    rate: int
    """Rate of positions, in Hz; 0 if they do not count samples."""
    first: int | None = None
    """Position at the end of the first page with sound."""
    last: int = 0
    open: bool = False
    """Whether its last packet continues on a later page."""


@dataclass
class _Link:
    """Streams that begin together and are played at the same time."""

    start: int
    end: int
    streams: dict[bytes, _Stream] = field(default_factory=dict)
    heads: bool = True
    """Whether there have been only first pages so far."""

    def seconds(self) -> float:
        """Return the length according to the first stream of sound."""
        for stream in self.streams.values():
            if stream.rate:
                return max((stream.last - (stream.first or 0)) / stream.rate - SLACK, 0.0)
        return 0.0


def ogg(source: Source, start: int) -> list[Part]:
    """Return the parts of an Ogg file: streams that begin where others end.

    Raises:
        AudioProblem: the last page, or the last packet of a stream, is cut off.
    """
    links: list[_Link] = []
    at: int | None = start
    while at is not None and at + 27 <= source.size:
        head = source.at(at, 27)
        if not PAGE.match(head):
            at = source.search(PAGE, at + 1)
            continue
        lacing = source.at(at + 27, head[26])
        body = at + 27 + len(lacing)
        stop = body + sum(lacing)
        if len(lacing) < head[26] or stop > source.size:
            raise AudioProblem("truncated", "the last page of the Ogg file is cut")
        _add(links, head, lacing, at, stop, source)
        at = stop
    if at is not None and PAGE.match(source.at(at, 6)):
        raise AudioProblem("truncated", "the last page of the Ogg file is cut")
    if any(stream.open for link in links for stream in link.streams.values()):
        raise AudioProblem("truncated", "a packet of the Ogg file is cut")
    if len(links) == 1 and (links[0].start, links[0].end) == (0, source.size):
        return [Part(seconds=links[0].seconds())]
    return [Part((range(link.start, link.end),), link.seconds()) for link in links]


def _add(links: list[_Link], head: bytes, lacing: bytes, at: int, stop: int, source: Source) -> None:
    """Add a page to the link to which it belongs."""
    serial = head[14:18]
    if head[5] & FIRST:
        if not links or not links[-1].heads:
            links.append(_Link(at, stop))
        links[-1].streams[serial] = _Stream(_rate(source.at(at + 27 + len(lacing), 48)))
    elif not links:
        links.append(_Link(at, stop))
    link = links[-1]
    link.end = stop
    link.heads &= bool(head[5] & FIRST)
    stream = link.streams.setdefault(serial, _Stream(0))
    position = int.from_bytes(head[6:14], "little")
    if position not in (0, NOTHING_ENDS):
        stream.first = position if stream.first is None else stream.first
        stream.last = max(stream.last, position)
    stream.open = bool(lacing) and lacing[-1] == 255


def _rate(head: bytes) -> int:
    """Return the rate, in Hz, of a stream's positions, according to its first packet."""
    if head.startswith(b"OpusHead"):
        return 48_000
    if head.startswith(b"\x01vorbis"):
        return int.from_bytes(head[12:16], "little")
    if head.startswith(b"\x7fFLAC"):
        # After 9 bytes, fLaC and the header of STREAMINFO come its 10 bytes of sizes, then 20 bits of rate.
        return int.from_bytes(head[27:30]) >> 4
    return 0
