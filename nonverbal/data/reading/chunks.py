"""Finds the sound in WAV (RIFF, RIFX, RF64) and AIFF files, by a walk from chunk to chunk."""

import re
import struct
from dataclasses import dataclass

from nonverbal.data.reading.pieces import Part, Source
from nonverbal.data.reading.sizes import Order, Walked, stop_of_sound

HEAD = 4096
"""Number of bytes of a chunk that are kept."""

RIFF = re.compile(rb"(?:RIFF|RIFX|RF64|BW64)....WAVE", re.DOTALL)
AIFF = re.compile(rb"FORM....AIF[FC]", re.DOTALL)

PLAIN_TAGS = (1, 3, 6, 7)
"""WAV's numbers for integers, floats, A-law and mu-law, in which all samples have the same number of bytes."""

PLAIN_AIFF = {b"NONE": 0, b"twos": 0, b"sowt": 0, b"raw ": 0, b"in24": 3, b"in32": 4, b"fl32": 4, b"FL32": 4}
PLAIN_AIFF |= {b"fl64": 8, b"FL64": 8, b"ulaw": 1, b"ULAW": 1, b"alaw": 1, b"ALAW": 1, b"23ni": 4, b"42ni": 3}
"""AIFF's names for the same, with their number of bytes; 0 if the depth determines it."""


@dataclass
class _Chunks:
    """Chunks of a RIFF or AIFF file."""

    heads: dict[bytes, bytes]
    """First bytes of each chunk that is not sound."""
    sounds: list[range]
    regular: bool
    """Whether the sizes are right and the format comes before the sound."""
    end: int


def _chunks(source: Source, at: int, order: Order, sound: bytes, magic: re.Pattern[bytes]) -> _Chunks:
    found = _Chunks({}, [], True, at)
    while _is_chunk(source, at, order, sound) and not magic.match(source.at(at, 12)):
        name, size, body = source.at(at, 4), int.from_bytes(source.at(at + 4, 4), order), at + 8
        if name == sound:
            size, exact = _size_of_sound(source, body, size, order, found.heads)
            stop = body if exact and not size else stop_of_sound(source, body, size, magic)
            found.sounds.append(range(body, stop))
            found.regular &= exact and bool(found.heads.keys() & {b"fmt ", b"COMM"})
        else:
            stop = body + size
            found.heads.setdefault(name, source.at(body, min(size, HEAD)))
        at, padded = _behind(source, stop, (stop - body) % 2, order, sound, magic)
        found.regular &= padded
    found.end = at
    return found


def _size_of_sound(source: Source, body: int, size: int, order: Order, heads: dict[bytes, bytes]) -> tuple[int, bool]:
    """Return the size of a sound chunk, and whether it is the one in its header; RF64 stores it elsewhere."""
    if size == 0xFFFFFFFF and b"ds64" in heads:
        size = int.from_bytes(heads[b"ds64"][8:16], "little")
    offset = 8 if order == "big" and b"COMM" in heads else 0
    if size <= offset:
        # Empty according to the header, which is true only if chunks follow up to the end.
        empty = _chain_ends(source, body + size, order)
        return (size if empty else 0), empty
    return size, body + size <= source.size


def _is_chunk(source: Source, at: int, order: Order, sound: bytes = b"") -> bool:
    """Whether a chunk begins here: four letters, and a size for which the file has room; sound may claim more."""
    head = source.at(at, 8)
    if len(head) < 8 or head[0] <= 32 or not all(32 <= byte < 127 for byte in head[:4]):
        return False
    return head[:4] in (sound, b"LIST", b"RIFF", b"FORM") or at + 8 + int.from_bytes(head[4:], order) <= source.size


def _behind(
    source: Source, stop: int, odd: int, order: Order, sound: bytes, magic: re.Pattern[bytes]
) -> tuple[int, bool]:
    """Return where the next chunk begins, and whether it belongs there: some writers leave the pad byte out."""
    # A pad byte is zero, with which no name begins.
    if odd and (magic.match(source.at(stop, 12)) or _is_chunk(source, stop, order, sound)):
        return stop, False
    return stop + odd, True


def _chain_ends(source: Source, at: int, order: Order) -> bool:
    """Whether chunks follow one another to the end of the file."""
    while _is_chunk(source, at, order):
        size = int.from_bytes(source.at(at + 4, 4), order)
        at += 8 + size + size % 2
    return at >= source.size


def wav(source: Source, start: int) -> Walked:
    """Walk a WAV file."""
    kind = source.at(start, 4)
    order: Order = "big" if kind == b"RIFX" else "little"
    found = _chunks(source, start + 12, order, b"data", RIFF)
    form = found.heads.get(b"fmt ", b"")
    if len(form) < 16 or not found.sounds:
        return [Part()], True, source.size
    sounds = [sound for sound in found.sounds if sound] or found.sounds[:1]
    parts = [
        Part((_wav_header(kind, order, form, len(sound)), sound), _wav_seconds(form, order, sound)) for sound in sounds
    ]
    return parts, found.regular and len(sounds) == 1 and kind != b"BW64", found.end


def _wav_header(kind: bytes, order: Order, form: bytes, size: int) -> bytes:
    """Return the shortest header."""
    body = b"WAVE" + (b"fmt " + len(form).to_bytes(4, order) + form + bytes(len(form) % 2))
    total = len(body) + 8 + size
    if total < 1 << 32:
        kind = b"RIFX" if kind == b"RIFX" else b"RIFF"
        return kind + total.to_bytes(4, order) + body + b"data" + size.to_bytes(4, order)
    sizes = b"ds64" + (28).to_bytes(4, "little") + (total + 36).to_bytes(8, "little") + size.to_bytes(8, "little")
    unknown = b"\xff" * 4
    return b"RF64" + unknown + b"WAVE" + sizes + bytes(12) + body[4:] + b"data" + unknown


def _wav_seconds(form: bytes, order: Order, sound: range) -> float:
    """Return the seconds of sound if its samples have a fixed size; otherwise 0."""
    tag, channels, rate, _, align, bits = struct.unpack(("<" if order == "little" else ">") + "HHIIHH", form[:16])
    if tag == 0xFFFE:
        tag = int.from_bytes(form[24:26], order)
    if tag not in PLAIN_TAGS or not rate or not align or align != channels * -(-bits // 8):
        return 0.0
    return float(len(sound) // align / rate)


def aiff(source: Source, start: int) -> Walked:
    """Walk an AIFF or AIFC file."""
    kind = source.at(start + 8, 4)
    found = _chunks(source, start + 12, "big", b"SSND", AIFF)
    common = found.heads.get(b"COMM", b"")
    if len(common) < 18 or not found.sounds:
        return [Part()], True, source.size
    # A sound chunk begins with an offset and the size of blocks.
    offsets = [int.from_bytes(source.at(sound.start, 4)) for sound in found.sounds]
    sounds = [sound[8 + offset :] for sound, offset in zip(found.sounds, offsets, strict=True)]
    sounds = [sound for sound in sounds if sound] or sounds[:1]
    width = _aiff_width(common)
    parts = [_aiff_part(kind, found.heads, sound, width) for sound in sounds]
    counted = not width or len(sounds[0]) // width == int.from_bytes(common[2:6])
    return parts, found.regular and counted and len(sounds) == 1, found.end


def _aiff_width(common: bytes) -> int:
    """Return the bytes of one sample of all channels; 0 if this is not a single number."""
    depth = PLAIN_AIFF.get(common[18:22] or b"NONE")
    if depth is None:
        return 0
    return int.from_bytes(common[:2]) * (depth or -(-int.from_bytes(common[6:8]) // 8))


def _aiff_part(kind: bytes, heads: dict[bytes, bytes], sound: range, width: int) -> Part:
    common, version = heads[b"COMM"], heads.get(b"FVER", b"")
    count = len(sound) // width if width else int.from_bytes(common[2:6])
    common = common[:2] + count.to_bytes(4) + common[6:]
    chunks = [(b"FVER", version), (b"COMM", common)] if version else [(b"COMM", common)]
    body = b"".join(name + len(data).to_bytes(4) + data + bytes(len(data) % 2) for name, data in chunks)
    total = 4 + len(body) + 16 + len(sound)
    body += b"SSND" + (8 + len(sound)).to_bytes(4) + bytes(8)
    # The rate is an 80-bit float: 15 bits of exponent, 64 of mantissa.
    exponent = int.from_bytes(common[8:10]) - 16383
    rate = int.from_bytes(common[10:18]) >> 63 - exponent if 0 <= exponent <= 63 else 0
    seconds = count / (rate + 1) if width and rate else 0.0
    return Part((b"FORM" + total.to_bytes(4) + kind + body, sound), seconds)
