"""Finds the sound in CAF, W64, AU, NIST Sphere and VOC files, according to their headers."""

import re

from nonverbal.data.reading.pieces import Part, Source
from nonverbal.data.reading.sizes import Order, Walked, stop_of_sound

CAF = re.compile(rb"caff\0\x01\0.", re.DOTALL)
AU = re.compile(rb"\.snd\0\0..|dns\...\0\0", re.DOTALL)
W64 = re.compile(re.escape(bytes.fromhex("726966662e91cf11a5d628db04c10000")))
NIST = re.compile(rb"NIST_1A\n {0,6}\d{1,7}\n")
VOC = re.compile(rb"Creative Voice File\x1a")


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
            # What follows the sound may say how to decode it.
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
    """Return where the chunks after the sound end."""
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
    """Walk a NIST Sphere file, whose header is text."""
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
        # Some writers count one byte too many, which may belong to the next file.
        stop -= bool(VOC.match(source.at(stop - 1, 32)))
        before = {1: 2, 9: 12}.get(kind, 0)
        if kind == 1 and len(head) >= 2:
            # The rate is a divisor, and 8-bit samples are number 0. Block 8 takes precedence.
            per_second = 1e6 / (256 - head[0]) if head[1] == 0 and not extended else 0.0
        elif kind == 9 and len(head) == 12:
            per_second = int.from_bytes(head[:4], "little") * head[4] // 8 * head[5] if head[6] in (0, 4, 6, 7) else 0.0
        if kind in (1, 2, 9):
            sound += stop - at - 4 - before
            seconds += (stop - at - 4 - before) / per_second if per_second else 0.0
        extended = kind == 8
        at = stop
    end = min(at + 1, source.size)
    # Some writers count one sample too many.
    return [Part((range(start, end),), max(seconds - 0.01, 0.0))], True, end
