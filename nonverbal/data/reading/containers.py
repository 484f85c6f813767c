"""Finds the recordings in a file: what each container says, and whether others follow it in the same file."""

import re
from pathlib import Path

from nonverbal.data.reading import chunks, frames, headers, sizes
from nonverbal.data.reading.ogg import PAGE, ogg
from nonverbal.data.reading.pieces import Part, Source
from nonverbal.data.reading.problems import AudioProblem

EBML = re.compile(rb"\x1a\x45\xdf\xa3.{1,60}?\x42\x82.(?:webm|matroska)", re.DOTALL)
SEGMENT = bytes.fromhex("18538067")

ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
ASF_DATA = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")

RM = re.compile(rb"\.RMF\0\0\0[\x10-\x1f]\0")
RM_OBJECTS = {b".RMF", b"PROP", b"MDPR", b"CONT", b"DATA", b"INDX"}

AMR = re.compile(rb"#!AMR(?:-WB)?\n")

REPEATED = [
    re.compile(pattern, re.DOTALL)
    for pattern in (
        rb"fLaC[\x00\x80]\x00\x00\x22",
        rb"FLV\x01[\x01\x04\x05]\x00{3}\x09",
        rb"TTA1[\x01-\x03]\x00[\x01-\x08]\x00",
        rb"FORM....(?:8SVX|16SV)",
        rb"PVF1\n\d+ \d+ \d+\n",
        rb"ALawSoundFile\*\*\0",
        rb"Extended Instrument: ",
        rb"2BIT.{8}(?:\0\0|\xff\xff)",
        rb" paf\0{4}",
        rb"fap \0{4}",
        rb"\xf0\x7e.\x01.{16}\xf7",
        rb"\x64\xa3[\x01-\x04]\0.{4}[\x01-\x10]\0\0\0",
        rb"\0[\x01-\x04]\xa3\x64.{4}\0\0\0[\x01-\x10]",
        re.escape(ASF),
        RM.pattern,
        EBML.pattern,
    )
]
"""Beginnings of files whose container need not give their end: where one occurs again, another file begins."""

WAVPACK = re.compile(rb"wvpk....[\x02-\x10]\x04", re.DOTALL)

SHORTEST = 16
"""Smallest number of bytes in a recording, whatever its container."""

BOXES = {b"ftyp", b"moov", b"mdat", b"moof", b"free", b"skip", b"wide", b"uuid", b"styp", b"sidx", b"mfra", b"udta"}
BOXES |= {b"meta", b"pnot", b"emsg", b"prft", b"pdin", b"ssix", b"PICT", b"junk"}
FTYP = re.compile(rb"\0\0\0[\x08-\x7f]ftyp[ -~]{4}")
SOUND_BOXES = {b"moov", b"mdat", b"moof"}

WALKS: dict[re.Pattern[bytes], sizes.Walk] = {
    chunks.RIFF: chunks.wav,
    chunks.AIFF: chunks.aiff,
    headers.CAF: headers.caf,
    headers.W64: headers.w64,
    headers.AU: headers.au,
    headers.NIST: headers.nist,
    headers.VOC: headers.voc,
}


def parts(path: Path) -> list[Part]:
    """Return the recordings in a file, which are played one after another; most files have one.

    Raises:
        AudioProblem: the file ends before its container does, or contains what may be sound but is not described.
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        source = Source(file.fileno())
        start = _behind_tags(source)
        head = source.at(start, 64)
        for magic, walk in WALKS.items():
            if magic.match(head):
                return _walked(source, start, magic, walk)
        if PAGE.match(head):
            return ogg(source, start)
        if head[4:8] in BOXES:
            return _mp4(source, start)
        if AMR.match(head):
            return _amr(source, start)
        for pattern in REPEATED:
            if pattern.match(head):
                return _repeated(source, start, pattern)
        if WAVPACK.match(head):
            return _wavpack(source, start)
        if head.startswith(b"RIFF"):
            return _riff(source, start)
        return _framed(source, start)


def _behind_tags(source: Source) -> int:
    """Return where a file's sound begins: after ID3v2 tags, whose length has seven bits per byte."""
    at = 0
    while (head := source.at(at, 10)).startswith(b"ID3") and len(head) == 10:
        at += 10 + sum((byte & 127) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
    return at


def _walked(source: Source, start: int, magic: re.Pattern[bytes], walk: sizes.Walk) -> list[Part]:
    found: list[Part] = []
    at: int | None = start
    whole = True
    while at is not None:
        one, regular, end = walk(source, at)
        found += one
        sound = sum(len(piece) for part in one for piece in part.pieces)
        following = sizes.next_recording(source, max(end, at + SHORTEST), sound, magic)
        whole &= regular and at == 0 and end >= source.size
        at = following
    return [Part(seconds=found[0].seconds)] if whole else found


def _repeated(source: Source, start: int, pattern: re.Pattern[bytes]) -> list[Part]:
    """Divide a file where another one of its kind begins."""
    starts = [start]
    while (found := source.search(pattern, starts[-1] + 4)) is not None:
        starts.append(found)
    stops = [*starts[1:], source.size]
    for at, stop in zip(starts, stops, strict=True):
        end = _end(source, at)
        if end > stop and end < sizes.IMPOSSIBLE:
            raise AudioProblem("truncated", f"the container says {end - at} bytes, and {stop - at} are there")
    return _split(source, starts, stops)


def _split(source: Source, starts: list[int], stops: list[int]) -> list[Part]:
    if starts == [0]:
        return [Part()]
    return [Part((range(start, stop),)) for start, stop in zip(starts, stops, strict=True)]


def _mp4(source: Source, start: int) -> list[Part]:
    """Walk the boxes of MP4 and similar files. Anything may lie between and after them, such as a tag or padding."""
    starts, at = [start], start
    while len(head := source.at(at, 16)) >= 8 and head[4:8] in BOXES:
        size = int.from_bytes(head[:4])
        if size == 1:
            size = int.from_bytes(head[8:16])
        if head[4:8] == b"ftyp" and at > start:
            starts.append(at)
        # The last box may leave its length open.
        if size == 0:
            break
        if at + size > source.size and head[4:8] in SOUND_BOXES:
            kind = head[4:8].decode()
            raise AudioProblem("truncated", f"its {kind} has {size} bytes, and {source.size - at} are there")
        at += max(size, 8)
        if source.at(at + 4, 4) not in BOXES:
            at = source.search(FTYP, at) or source.size
    return _split(source, starts, [*starts[1:], source.size])


def _end(source: Source, at: int) -> int:
    """Return where a file ends according to its header; 0 if the header does not say."""
    head = source.at(at, 16)
    if head.startswith(b"FORM"):
        return at + 8 + int.from_bytes(head[4:8])
    if RM.match(head):
        return _rm_end(source, at)
    return _asf_end(source, at) if head == ASF else _segment_end(source, at)


def _rm_end(source: Source, at: int) -> int:
    """Return where the sound of a RealMedia file ends; 0 if the file leaves that open."""
    while (head := source.at(at, 8))[:4] in RM_OBJECTS and len(head) == 8:
        size = int.from_bytes(head[4:])
        if head[:4] == b"DATA":
            # FFmpeg counts more than it writes, by less than the object's header of 18 bytes.
            return 0 if sizes.left_open(size) else at + size - 18
        at += max(size, 8)
    return 0


def _asf_end(source: Source, at: int) -> int:
    """Return where the objects of an ASF file that contain its sound end; 0 if it does not say."""
    size = int.from_bytes(source.at(at + 16, 8), "little")
    data = source.at(at + size, 24)
    if not data.startswith(ASF_DATA):
        return at + size
    return at + size + int.from_bytes(data[16:], "little")


def _segment_end(source: Source, at: int) -> int:
    """Return where a Matroska file ends; 0 if it leaves that open, or is of another kind."""
    if not EBML.match(source.at(at, 128)):
        return 0
    size, body = _ebml_size(source, at + 4)
    at = body + (size or 0)
    if source.at(at, 4) != SEGMENT:
        return 0
    size, body = _ebml_size(source, at + 4)
    return 0 if size is None else body + size


def _ebml_size(source: Source, at: int) -> tuple[int | None, int]:
    """Read a length of 1 to 8 bytes, None if all its bits are set. Returns it and where it ends."""
    data = source.at(at, 8)
    width = 9 - data[0].bit_length() if data else 8
    bits = int.from_bytes(data[:width]) & ((1 << 7 * width) - 1)
    return None if bits == (1 << 7 * width) - 1 else bits, at + width


def _riff(source: Source, start: int) -> list[Part]:
    """Check the length of an AVI file, whose sound lies between its pictures."""
    size = int.from_bytes(source.at(start + 4, 4), "little")
    if start + 8 + size > source.size and not sizes.left_open(size):
        raise AudioProblem("truncated", f"the header promises {size} bytes, and {source.size - start - 8} are there")
    return [Part()]


def _amr(source: Source, start: int) -> list[Part]:
    found: list[Part] = []
    at: int | None = start
    while at is not None:
        match = AMR.match(source.at(at, 16))
        assert match
        parse = frames.amr_wb if b"W" in match[0] else frames.amr
        found += [Part((match[0], *part.pieces)) for part in frames.framed(source, at + match.end(), parse)]
        at = source.search(AMR, at + match.end())
    return found or [Part()]


def _wavpack(source: Source, start: int) -> list[Part]:
    """Walk the blocks of WavPack files; the first block of a file has the number 0, and begins a set of channels."""
    ranges: list[range] = []
    at: int | None = start
    while at is not None:
        head = source.at(at, 32)
        stop = at + 8 + int.from_bytes(head[4:8], "little")
        if stop > source.size:
            raise AudioProblem("truncated", "the last block of the WavPack file is cut")
        samples, flags = int.from_bytes(head[20:24], "little"), int.from_bytes(head[24:28], "little")
        if not ranges or (samples and flags & 0x800 and not any(head[16:20])):
            ranges.append(range(at, at))
        ranges[-1] = range(ranges[-1].start, stop)
        at = source.search(WAVPACK, stop)
    return [Part((one,)) for one in ranges]


def _framed(source: Source, start: int) -> list[Part]:
    for parse in (frames.mpeg, frames.adts, frames.ac3):
        at = frames.first_frame(source, start, parse)
        if at is not None:
            return frames.framed(source, at, parse) or [Part()]
    return [_without_tag(source)]


def _without_tag(source: Source) -> Part:
    """Leave out ID3v1 and APE tags at the end."""
    stop = source.size
    if stop > 128 and source.at(stop - 128, 3) == b"TAG":
        stop -= 128
    footer = source.at(max(stop - 32, 0), 32)
    if footer.startswith(b"APETAGEX"):
        # The length does not include the header, which has 32 bytes if it exists.
        stop -= int.from_bytes(footer[12:16], "little") + 32 * (footer[23] >> 7)
    return Part() if stop == source.size or stop <= 0 else Part((range(stop),))
