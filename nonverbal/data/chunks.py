"""Where the sound lies in WAV (RIFF, RIFX, RF64), AIFF, CAF, W64 and AU files, by a walk from chunk to chunk.

Each walk takes a file and where in it one recording begins, and returns the recording's parts, whether one part is the
recording as it stands, and where it ends.
"""

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from nonverbal.data.pieces import Part, Source
from nonverbal.data.problems import AudioProblem

Walked = tuple[list[Part], bool, int]
Walk = Callable[[Source, int], Walked]
Order = Literal["little", "big"]

MARGIN = 1 << 24
"""What sizes that stand for "unknown" are short of 2^31 or 2^32, or beyond: sox writes 0x7f000000 and 0x7ffff000."""

IMPOSSIBLE = 1 << 40
"""Bytes that no recording has."""

STRAY = 1024
"""Bytes behind the sound that may be anything."""

HEAD = 4096
"""Bytes of a chunk that are kept."""

RIFF = re.compile(rb"(?:RIFF|RIFX|RF64|BW64)....WAVE", re.DOTALL)
AIFF = re.compile(rb"FORM....AIF[FC]", re.DOTALL)
CAF = re.compile(rb"caff\0\x01\0.", re.DOTALL)
AU = re.compile(rb"\.snd\0\0..|dns\...\0\0", re.DOTALL)
W64 = re.compile(re.escape(bytes.fromhex("726966662e91cf11a5d628db04c10000")))
NIST = re.compile(rb"NIST_1A\n {0,6}\d{1,7}\n")
VOC = re.compile(rb"Creative Voice File\x1a")

TAG = re.compile(rb"TAG|APETAGEX|ID3|LYRICSBEGIN|[\t\n\r -~]{16}")
"""What a tag or a text begins with."""

PLAIN_TAGS = (1, 3, 6, 7)
"""WAV's numbers for integers, floats, A-law and mu-law: of as many bytes each."""

PLAIN_AIFF = {b"NONE": 0, b"twos": 0, b"sowt": 0, b"raw ": 0, b"in24": 3, b"in32": 4, b"fl32": 4, b"FL32": 4}
PLAIN_AIFF |= {b"fl64": 8, b"FL64": 8, b"ulaw": 1, b"ULAW": 1, b"alaw": 1, b"ALAW": 1, b"23ni": 4, b"42ni": 3}
"""AIFF's names for the same, and their bytes; 0 where the depth tells."""


def left_open(size: int) -> bool:
    """Whether a size is what programs write that do not know it yet, into a pipe or before they were stopped.

    A download that was cut has the size of the whole file, which is as good as never that near to a power of two.
    """
    return size <= 0 or size >= IMPOSSIBLE or any(abs(size - full) <= MARGIN for full in (1 << 31, 1 << 32))


def stop_of_sound(source: Source, start: int, size: int, magic: re.Pattern[bytes]) -> int:
    """Return where sound ends that begins at ``start`` and has ``size`` bytes by its header.

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
    """Return where behind ``at`` another recording begins; None where nothing follows but tags and padding.

    Args:
        source: the file.
        at: where the recording before ends.
        sound: bytes of sound in it.
        magic: what a recording begins with.

    Raises:
        AudioProblem: what follows may be sound, and nothing says so.
    """
    if at >= source.size:
        return None
    if (found := source.search(magic, at)) is not None:
        return found
    left = source.size - at
    # A pad byte may be left out, or come before.
    if left <= min(STRAY, sound // 10) or source.is_padding(at) or source.is_padding(at + 1):
        return None
    if TAG.match(source.at(at, 16)) or TAG.match(source.at(at + 1, 16)):
        return None
    raise AudioProblem("unreadable", f"{left} bytes behind the sound are neither sound by the header, tags nor padding")


@dataclass
class _Chunks:
    """Chunks of a RIFF or AIFF file."""

    heads: dict[bytes, bytes]
    """The first bytes of each that is not sound."""
    sounds: list[range]
    regular: bool
    """Whether the sizes hold and the format comes before the sound."""
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
    """A sound chunk's size, and whether it is what it says; RF64 keeps it elsewhere."""
    if size == 0xFFFFFFFF and b"ds64" in heads:
        size = int.from_bytes(heads[b"ds64"][8:16], "little")
    offset = 8 if order == "big" and b"COMM" in heads else 0
    if size <= offset:
        # Nothing by the header: true only where chunks follow up to the end.
        empty = _chain_ends(source, body + size, order)
        return (size if empty else 0), empty
    return size, body + size <= source.size


def _is_chunk(source: Source, at: int, order: Order, sound: bytes = b"") -> bool:
    """Whether a chunk begins here: four letters and a size that the file has room for; sound may promise more."""
    head = source.at(at, 8)
    if len(head) < 8 or head[0] <= 32 or not all(32 <= byte < 127 for byte in head[:4]):
        return False
    return head[:4] in (sound, b"LIST", b"RIFF", b"FORM") or at + 8 + int.from_bytes(head[4:], order) <= source.size


def _behind(
    source: Source, stop: int, odd: int, order: Order, sound: bytes, magic: re.Pattern[bytes]
) -> tuple[int, bool]:
    """Where the next chunk begins, and whether it is where it belongs: some writers leave the pad byte out."""
    # A pad byte is zero, which no name begins with.
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
    """The shortest header."""
    body = b"WAVE" + (b"fmt " + len(form).to_bytes(4, order) + form + bytes(len(form) % 2))
    total = len(body) + 8 + size
    if total < 1 << 32:
        kind = b"RIFX" if kind == b"RIFX" else b"RIFF"
        return kind + total.to_bytes(4, order) + body + b"data" + size.to_bytes(4, order)
    sizes = b"ds64" + (28).to_bytes(4, "little") + (total + 36).to_bytes(8, "little") + size.to_bytes(8, "little")
    unknown = b"\xff" * 4
    return b"RF64" + unknown + b"WAVE" + sizes + bytes(12) + body[4:] + b"data" + unknown


def _wav_seconds(form: bytes, order: Order, sound: range) -> float:
    """What the sound lasts, where its samples have one size."""
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
    """Bytes of a sample of all channels; 0 where that is not one number."""
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


def caf(source: Source, start: int) -> Walked:
    """Walk a CAF file."""
    at, part, regular, sound = start + 8, Part(), True, 0
    while len(head := source.at(at, 12)) == 12 and head[:4].isalnum() and not CAF.match(head):
        size = int.from_bytes(head[4:], signed=True)
        stop = at + 12 + size
        if head[:4] == b"data":
            stop = stop_of_sound(source, at + 12, size, CAF)
            sound, regular = stop - at - 12, stop == at + 12 + size
            part = Part((range(start, at + 4), sound.to_bytes(8), range(at + 12, stop)))
        elif size < 0 or stop > source.size:
            break
        elif part.pieces:
            # What follows the sound may tell how to decode it.
            part = Part((*part.pieces, range(at, stop)))
        at = stop
    return [part], regular, at


def w64(source: Source, start: int) -> Walked:
    """Walk a W64 file."""
    at = start + 40
    while len(head := source.at(at, 24)) == 24 and not W64.match(head):
        size = int.from_bytes(head[16:], "little", signed=True)
        if head[:4] == b"data":
            stop = stop_of_sound(source, at + 24, size - 24, W64)
            sound = range(at + 24, stop)
            total = stop - start
            pieces = (range(start, start + 16), total.to_bytes(8, "little"), range(start + 24, at + 16))
            part = Part((*pieces, (24 + len(sound)).to_bytes(8, "little"), sound))
            regular = len(sound) == size - 24
            return [part], regular, _w64_end(source, stop + -len(sound) % 8)
        if size < 24:
            break
        at += -(-size // 8) * 8
    return [Part()], True, source.size


def _w64_end(source: Source, at: int) -> int:
    """Where the chunks behind the sound end."""
    while len(head := source.at(at, 24)) == 24 and head[4:8] == b"\xf3\xac\xd3\x11":
        size = int.from_bytes(head[16:], "little", signed=True)
        if not 24 <= size <= source.size - at:
            break
        at += -(-size // 8) * 8
    return min(at, source.size)


def au(source: Source, start: int) -> Walked:
    """Walk an AU file."""
    order: Order = "big" if source.at(start, 4) == b".snd" else "little"
    offset, size = (int.from_bytes(source.at(start + at, 4), order) for at in (4, 8))
    if offset < 24:
        return [Part()], True, source.size
    stop = stop_of_sound(source, start + offset, size, AU)
    sound = range(start + offset, stop)
    length = min(len(sound), 0xFFFFFFFF).to_bytes(4, order)
    part = Part((range(start, start + 8), length, range(start + 12, start + offset), sound))
    return [part], len(sound) == size, stop


def nist(source: Source, start: int) -> Walked:
    """Walk a NIST Sphere file, whose header is a text."""
    size = int(source.at(start + 8, 16).split(b"\n")[0])
    lines = [line.split(b" ", 2) for line in source.at(start, size).split(b"\n")]
    said = {line[0]: line[2].strip() for line in lines if len(line) == 3}
    names = (b"sample_count", b"channel_count", b"sample_n_bytes", b"sample_rate")
    count, channels, width, rate = (int(said[name]) if said.get(name, b"").isdigit() else 0 for name in names)
    body = start + size
    if b"shorten" in said.get(b"sample_coding", b"") or not channels * width:
        return [Part()], True, source.size
    stop = stop_of_sound(source, body, count * channels * width, NIST)
    seconds = (stop - body) // (channels * width) / rate if rate else 0.0
    return [Part((range(start, stop),), seconds)], True, stop


def voc(source: Source, start: int) -> Walked:
    """Walk the blocks of a Creative Voice file."""
    at = start + int.from_bytes(source.at(start + 20, 2), "little")
    seconds, per_second, sound, extended = 0.0, 0.0, 0, False
    while at < source.size and 0 < (kind := source.at(at, 1)[0]) <= 9:
        size = int.from_bytes(source.at(at + 1, 3), "little")
        head = source.at(at + 4, 12)
        stop = stop_of_sound(source, at + 4, size, VOC) if kind in (1, 2, 9) else at + 4 + size
        # Some writers count a byte too many, which may be the next file's.
        stop -= bool(VOC.match(source.at(stop - 1, 32)))
        before = {1: 2, 9: 12}.get(kind, 0)
        if kind == 1 and len(head) >= 2:
            # The rate is a divisor, and 8-bit samples are number 0. What block 8 says is above it.
            per_second = 1e6 / (256 - head[0]) if head[1] == 0 and not extended else 0.0
        elif kind == 9 and len(head) == 12:
            per_second = int.from_bytes(head[:4], "little") * head[4] // 8 * head[5] if head[6] in (0, 4, 6, 7) else 0.0
        if kind in (1, 2, 9):
            sound += stop - at - 4 - before
            seconds += (stop - at - 4 - before) / per_second if per_second else 0.0
        extended = kind == 8
        at = stop
    end = min(at + 1, source.size)
    # Some writers count a sample too many.
    return [Part((range(start, end),), max(seconds - 0.01, 0.0))], True, end
