"""Whether a file ends before its container says it does, for containers whose decoders do not tell."""

import os
from pathlib import Path

EBML, SEGMENT = bytes.fromhex("1a45dfa3"), bytes.fromhex("18538067")
LONGEST_OGG_PAGE = 27 + 255 + 255 * 255
XING_SLACK = 0.99
"""Share of the bytes in an MP3's header that must be there: encoders count some frames in or out."""


def ends_early(path: Path) -> bool:
    """Say whether an Ogg, MP3, MP4, CAF or Matroska file is shorter than it says; of others, never."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        start = file.read(4096)
        if start.startswith(b"OggS"):
            file.seek(max(size - LONGEST_OGG_PAGE, 0))
            return _ogg_without_end(file.read())
        if start[4:8] == b"ftyp":
            return _boxes_end(file.fileno(), size, at=0, length=(0, 4), header=0) > size
        if start.startswith(b"caff"):
            return _boxes_end(file.fileno(), size, at=8, length=(4, 12), header=12) > size
        if start.startswith(EBML):
            return _segment_end(start) > size
        tag = _id3_size(start)
        file.seek(tag)
        return _mp3_bytes(file.read(4096)) * XING_SLACK > size - tag


def _ogg_without_end(tail: bytes) -> bool:
    """Whether the last page is cut, or is not marked as the last of its stream."""
    at = tail.rfind(b"OggS")
    page = tail[at:] if at >= 0 else b""
    if len(page) < 27 or len(page) < 27 + page[26]:
        return True
    body = sum(page[27 : 27 + page[26]])
    last = bool(page[5] & 4)
    return not last or len(page) < 27 + page[26] + body


def _boxes_end(descriptor: int, size: int, at: int, length: tuple[int, int], header: int) -> int:
    """Return where the last of a file's boxes ends: beyond ``size`` where the file is cut.

    Args:
        descriptor: the file.
        size: its length in bytes.
        at: where the first box begins.
        length: where in a box its length stands.
        header: bytes that the length leaves out; 0 for MP4, whose lengths count all.
    """
    while at + 16 <= size:
        box = os.pread(descriptor, 16, at)
        count = int.from_bytes(box[slice(*length)], signed=header > 0)
        if header == 0 and count == 1:
            count = int.from_bytes(box[8:16])
        # The last box may leave its length open.
        if count <= 0 or (header == 0 and count < 8):
            return size
        at += header + count
    return at


def _segment_end(start: bytes) -> int:
    """Where a Matroska file ends; 0 where it leaves that open."""
    if len(start) < 64:
        return 0
    head, body = _ebml_size(start, len(EBML))
    at = body + (head or 0)
    # The segment's own length takes up to eight bytes more.
    if start[at : at + 4] != SEGMENT or at + 12 > len(start):
        return 0
    size, body = _ebml_size(start, at + 4)
    return 0 if size is None else body + size


def _ebml_size(data: bytes, at: int) -> tuple[int | None, int]:
    """Read a length of 1 to 8 bytes, None where all its bits are set. Returns it and where it ends."""
    width = 9 - data[at].bit_length()
    bits = int.from_bytes(data[at : at + width]) & ((1 << 7 * width) - 1)
    return None if bits == (1 << 7 * width) - 1 else bits, at + width


def _id3_size(start: bytes) -> int:
    """Length of an ID3v2 tag: seven bits a byte."""
    if not start.startswith(b"ID3") or len(start) < 10:
        return 0
    return 10 + sum((byte & 127) << shift for byte, shift in zip(start[6:10], (21, 14, 7, 0), strict=True))


def _mp3_bytes(frame: bytes) -> int:
    """Length of an MP3 from its first frame on, by its Xing or Info header; 0 where there is none."""
    if frame[:1] != b"\xff":
        return 0
    for name in (b"Xing", b"Info"):
        at = frame.find(name, 4, 64)
        if at >= 0 and frame[at + 7] & 2:
            # Where the number of frames is given too, it comes first.
            place = at + 8 + 4 * (frame[at + 7] & 1)
            return int.from_bytes(frame[place : place + 4])
    return 0
