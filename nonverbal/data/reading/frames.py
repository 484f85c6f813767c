"""Streams of frames without a container: MPEG audio, AAC in ADTS, AC-3 and AMR, by a walk from frame to frame."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from nonverbal.data.reading.pieces import Part, Source
from nonverbal.data.reading.problems import AudioProblem

BITRATES = {
    # (MPEG-1, layer): kbit/s
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
MPEG_RATES = (44_100, 48_000, 32_000)
AC3_KILOBITS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640)
AMR_BYTES = (13, 14, 16, 18, 20, 21, 27, 32, 6, 0, 0, 0, 0, 0, 0, 1)
AMR_WB_BYTES = (18, 24, 33, 37, 41, 47, 51, 59, 61, 6, 0, 0, 0, 0, 1, 1)

SURE = 3
"""Number of consecutive frames that count as a stream if nothing else says that it is one."""

SEARCHED = 1 << 16
"""Number of bytes before the first frame that may be anything."""

XING_SLACK = 0.99
"""Share of the bytes in an MP3's header that must exist: encoders differ in which frames they count."""

UNDECODED = 4
"""Number of frames that a decoder may drop: an encoder's delay, and frames that refer to earlier sound."""

PADDING = 4
"""Number of bytes of the last frame that encoders may leave out."""


@dataclass(frozen=True)
class Frame:
    """The content of a frame's header."""

    length: int
    """Length in bytes."""
    kind: int = 0
    """Kind of the frame; other kinds need another decoder."""
    seconds: float = 0.0
    """Duration; 0 if it is not needed."""


Parse = Callable[[bytes], Frame | None]


@lru_cache(maxsize=4096)
def mpeg(head: bytes) -> Frame | None:
    """Read the first four bytes of a frame of MPEG audio, layer I to III."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    bits, rate, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version == 1 or layer == 4 or bits in (0, 15) or rate == 3 or head[3] & 3 == 2:
        return None
    first = version == 3
    hertz = MPEG_RATES[rate] >> (0 if first else 1 if version == 2 else 2)
    samples = 384 if layer == 1 else 1152 if layer == 2 or first else 576
    bitrate = 1000 * BITRATES[first, layer][bits]
    length = (12 * bitrate // hertz + padding) * 4 if layer == 1 else samples // 8 * bitrate // hertz + padding
    mono = head[3] >> 6 == 3
    return Frame(length, version << 5 | layer << 3 | rate << 1 | mono, samples / hertz)


def adts(head: bytes) -> Frame | None:
    """Read the header of an AAC frame. FFmpeg decodes each frame according to its own header."""
    if len(head) < 7 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0 or head[2] >> 2 & 15 > 12:
        return None
    length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    return Frame(length) if length > 7 else None


def ac3(head: bytes) -> Frame | None:
    """Read the header of a frame of AC-3 or E-AC-3."""
    if len(head) < 6 or head[:2] != b"\x0b\x77" or head[5] >> 3 > 16:
        return None
    if head[5] >> 3 > 10:
        return Frame(2 * ((head[2] & 7) << 8 | head[3]) + 2)
    rate, size = head[4] >> 6, head[4] & 63
    if rate == 3 or size >> 1 >= len(AC3_KILOBITS):
        return None
    kilobits = AC3_KILOBITS[size >> 1]
    words = (96_000 * kilobits // 48_000, 96_000 * kilobits // 44_100 + (size & 1), 96_000 * kilobits // 32_000)
    return Frame(2 * words[rate])


def amr(head: bytes) -> Frame | None:
    """Read the byte before a frame of AMR."""
    return _amr(head, AMR_BYTES)


def amr_wb(head: bytes) -> Frame | None:
    """Read the byte before a frame of AMR-WB."""
    return _amr(head, AMR_WB_BYTES)


def _amr(head: bytes, sizes: tuple[int, ...]) -> Frame | None:
    # A zero byte would be a badly received frame, but here it is padding.
    length = 0 if not head or head[0] & 0x83 or not head[0] else sizes[head[0] >> 3 & 15]
    return Frame(length) if length else None


HEADS = {mpeg: 4, adts: 7, ac3: 6, amr: 1, amr_wb: 1}
"""Number of bytes that give a frame's length."""

SYNC = {mpeg: re.compile(rb"\xff[\xe2-\xff]"), adts: re.compile(rb"\xff[\xf0-\xf9]"), ac3: re.compile(rb"\x0b\x77")}


def first_frame(source: Source, start: int, parse: Parse) -> int | None:
    """Return where a stream of frames begins; None if it is not one.

    Several frames are required if they do not begin at ``start``, or if the file continues after them.
    """
    at: int | None = start
    while at is not None and at < min(start + SEARCHED, source.size):
        count, stop = _run(source, at, parse)
        if count >= SURE or (count and at == start and stop >= source.size):
            return at
        at = source.search(SYNC[parse], at + 1)
    return None


def _run(source: Source, at: int, parse: Parse) -> tuple[int, int]:
    """Count consecutive frames until there are enough, and return the count and where they end."""
    count = 0
    while count < SURE and (frame := parse(source.at(at, HEADS[parse]))):
        at += frame.length
        count += 1
    return count, at


@dataclass
class _Segment:
    """Consecutive frames of one kind."""

    start: int
    frame: Frame
    """The first one."""
    promised: int
    """Bytes according to its header; 0 if it has none."""
    end: int
    frames: int = 0


def framed(source: Source, start: int, parse: Parse) -> list[Part]:
    """Return the parts of a stream of frames: consecutive frames of one kind, with or without a header of their own.

    Raises:
        AudioProblem: the last frame is cut off, or there is less than a header says.
    """
    segments: list[_Segment] = []
    at: int | None = start
    last: _Segment | None = None
    size = HEADS[parse]
    while at is not None:
        head = source.at(at, 64)
        frame = parse(head[:size])
        if frame is None or (last and at + frame.length > source.size and frame.kind != last.frame.kind):
            at = _next_run(source, at + 1, parse)
            continue
        if at + frame.length > source.size + PADDING:
            raise AudioProblem("truncated", "the last frame is cut")
        info = _info(head) if parse is mpeg else None
        if last is None or at != last.end or frame.kind != last.frame.kind or info is not None:
            last = _Segment(at, frame, info or 0, at)
            segments.append(last)
        at = last.end = min(at + frame.length, source.size)
        last.frames += info is None
    for segment in segments:
        if segment.end - segment.start < segment.promised * XING_SLACK:
            raise AudioProblem(
                "truncated", f"{segment.end - segment.start} of {segment.promised} bytes of MP3 are there"
            )
    parts = [_part(segment) for segment in segments if segment.frames]
    if parse is mpeg and len(parts) == 1 and segments[0].start == start and _is_end(source, segments[0].end):
        # An MP3 decoder ignores tags before and after.
        return [Part(seconds=parts[0].seconds)]
    return parts


def _is_end(source: Source, at: int) -> bool:
    """Whether nothing but an ID3v1 tag follows."""
    return at == source.size or (at + 128 == source.size and source.at(at, 3) == b"TAG")


def _part(segment: _Segment) -> Part:
    seconds = max(segment.frames - UNDECODED, 0) * segment.frame.seconds
    return Part((range(segment.start, segment.end),), seconds)


def _next_run(source: Source, at: int, parse: Parse) -> int | None:
    """Return where the next consecutive frames begin, after a tag or damage."""
    found = source.search(SYNC[parse], at) if parse in SYNC else None
    while found is not None:
        count, stop = _run(source, found, parse)
        if count >= SURE or (count and stop == source.size):
            break
        found = source.search(SYNC[parse], found + 1)
    return found


def _info(frame: bytes) -> int | None:
    """Return the bytes of MP3 according to a header in place of a frame (0: not given); None for a frame of sound."""
    if b"Xing" in frame or b"Info" in frame:
        at = max(frame.find(b"Xing", 4, 44), frame.find(b"Info", 4, 44))
        if 0 <= at < len(frame) - 8:
            # If the number of frames is given too, it comes first.
            place = at + 8 + 4 * (frame[at + 7] & 1)
            return int.from_bytes(frame[place : place + 4]) if frame[at + 7] & 2 else 0
    return int.from_bytes(frame[46:50]) if frame.startswith(b"VBRI", 36) else None
