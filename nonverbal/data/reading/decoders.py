"""Decoding by libsndfile, or where that refuses by FFmpeg: stretches of one rate and number of channels."""

import contextlib
import errno
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from nonverbal.data.reading.formats import FFMPEG_FORMATS
from nonverbal.data.reading.pieces import Part, Pieces
from nonverbal.data.reading.problems import AudioProblem

MAX_SECONDS = 24 * 3600
"""Longest file that is read; a header that claims more is taken for damaged."""

SAMPLE_RATES = range(1_000, 1_000_001)
"""Hz that are taken for sound."""

BLOCK = 1 << 20
"""Samples that are read at once, whatever a header promises."""

UNKNOWN = 1 << 62
"""libsndfile's count is at least this where it does not know one."""

ROUNDING = 0.002
"""Seconds that a count may be off."""

MACHINE = {os.strerror(code): code for code in (errno.EIO, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT, errno.ENXIO)}
"""How libsndfile reports what is not the file's fault."""


@dataclass(frozen=True)
class Stretch:
    """Sound of one rate and number of channels."""

    waveform: np.ndarray
    """``(T, channels)`` float32."""
    rate: int
    """In Hz."""

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.waveform) / self.rate


@dataclass(frozen=True)
class Decoded:
    """What a decoder gave."""

    stretches: list[Stretch]
    formats: set[str]
    """Its names for the container."""

    @property
    def seconds(self) -> float:
        """How long it is."""
        return sum(stretch.seconds for stretch in self.stretches)


def decode(path: Path, part: Part) -> Decoded:
    """Decode one recording of a file.

    Raises:
        AudioProblem: it cannot be decoded, or not all of it.
        OSError: the file cannot be read.
    """
    seconds = part.seconds
    try:
        decoded = _by(_soundfile, path, part)
        if decoded.seconds + ROUNDING >= seconds:
            return decoded
        # A decoder of MP3 goes by an estimate where its header has no count.
        refusal = f"{decoded.seconds:.2f} of {seconds:.2f} s can be read"
    except _Refused as refused:
        refusal, seconds = str(refused), max(seconds, refused.seconds)
    try:
        decoded = _by(lambda file: _av(file, refusal), path, part)
    except AudioProblem as problem:
        # What libsndfile took for sound is no other kind of file.
        raise AudioProblem("truncated" if seconds else problem.reason, problem.detail) from problem
    if decoded.seconds + ROUNDING < seconds:
        raise AudioProblem("truncated", f"{decoded.seconds:.2f} of {seconds:.2f} s can be read ({refusal})")
    return decoded


def _by(decoder: Callable[[Any], Decoded], path: Path, part: Part) -> Decoded:
    if decoder is _soundfile and not part.pieces:
        return _soundfile(path)
    with open(path, "rb") as file:
        pieces = Pieces(file.fileno(), part.pieces or (range(os.fstat(file.fileno()).st_size),))
        try:
            return decoder(io.BufferedReader(pieces, 1 << 16))
        finally:
            # A decoder takes a fault of the machine for the end of the file, or for damage.
            if pieces.error is not None:
                raise pieces.error


class _Refused(Exception):
    """Why libsndfile does not read a file."""

    def __init__(self, reason: str, seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.seconds = seconds
        """What the header promises; 0 where it does not say."""


def _soundfile(name: Any) -> Decoded:
    try:
        file = soundfile.SoundFile(name)
    except soundfile.LibsndfileError as error:
        _raise_of_machine(error)
        raise _Refused(error.error_string) from error
    with file:
        if file.frames >= UNKNOWN:
            raise _Refused("the length is unknown")
        check(file.frames / max(file.samplerate, 1), file.samplerate)
        blocks = []
        try:
            # A header that lies must not take the memory that it promises to fill.
            while len(block := file.read(BLOCK // file.channels, dtype="float32", always_2d=True)):
                blocks.append(block)
        except soundfile.LibsndfileError as error:
            _raise_of_machine(error)
            raise _Refused(error.error_string, file.frames / file.samplerate) from error
        blocks = blocks or [np.zeros((0, file.channels), dtype=np.float32)]
        waveform = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
        # MP3 headers estimate; the others count.
        if len(waveform) < file.frames and file.format != "MP3":
            raise AudioProblem("truncated", f"{len(waveform)} of {file.frames} samples can be read")
        return Decoded([Stretch(waveform, file.samplerate)], {file.format})


def _raise_of_machine(error: soundfile.LibsndfileError) -> None:
    for said, code in MACHINE.items():
        if said in error.error_string:
            raise OSError(code, said) from error


def _av(readable: Any, refusal: str) -> Decoded:
    import av

    av.logging.set_level(av.logging.PANIC)
    chunks: list[tuple[tuple[int, int], np.ndarray]] = []
    try:
        # FFmpeg takes some names for addresses, so it is given none.
        with av.open(readable, options={"format_whitelist": FFMPEG_FORMATS}) as container:
            if not container.streams.audio or container.streams.audio[0].codec_context is None:
                raise AudioProblem("unreadable", "no audio stream that FFmpeg can decode")
            check((container.duration or 0) / 1_000_000)
            for chunk in _chunks(container, container.streams.audio[0]):
                chunks.append(chunk)
            names = set(container.format.name.split(","))
    # PyAV raises IndexError where a damaged file has streams that it does not list.
    except (av.FFmpegError, OSError, ValueError, OverflowError, IndexError) as error:
        reason = "truncated" if chunks else "unreadable"
        said = getattr(error, "strerror", None) or error
        raise AudioProblem(reason, f"libsndfile: {refusal.rstrip('. ')}; FFmpeg: {said}") from error
    stretches = [
        Stretch(np.concatenate([samples for _, samples in group]), rate)
        for (rate, _), group in groupby(chunks, key=lambda chunk: chunk[0])
    ]
    return Decoded(stretches, names)


def _chunks(container: Any, stream: Any) -> Iterator[tuple[tuple[int, int], np.ndarray]]:
    """Decode a frame at a time: its rate in Hz and number of channels, and its samples, ``(T, channels)`` float32."""
    seconds = 0.0
    for frame in _frames(container, stream):
        check(seconds, frame.sample_rate)
        seconds += frame.samples / frame.sample_rate
        # A header may promise less than there is, or another rate: each frame tells its own.
        yield (frame.sample_rate, frame.layout.nb_channels), _floats(frame, frame.layout.nb_channels)


def _frames(container: Any, stream: Any) -> Iterator[Any]:
    from av import BlockingIOError as Behind

    # FFmpeg asks to try again where it finds no more packets behind a stream's end.
    with contextlib.suppress(Behind):
        yield from container.decode(stream)


def _floats(frame: Any, channels: int) -> np.ndarray:
    samples: np.ndarray = frame.to_ndarray()
    samples = samples.T if frame.format.is_planar else samples.reshape(-1, channels)
    # What is beyond 32 bits becomes infinite, and is found later.
    with np.errstate(over="ignore", invalid="ignore"):
        floats = samples.astype(np.float32)
    if samples.dtype.kind == "u":
        floats -= 128
    if samples.dtype.kind in "iu":
        floats /= 2.0 ** (8 * samples.dtype.itemsize - 1)
    return floats


def check(seconds: float, rate: int = SAMPLE_RATES[0]) -> None:
    """Refuse what no recording is, before it takes the memory of one."""
    if rate not in SAMPLE_RATES:
        raise AudioProblem("unreadable", f"the header says {rate} Hz")
    if seconds > MAX_SECONDS:
        hours = seconds / 3600
        raise AudioProblem("unreadable", f"the header promises {hours:.0f} hours, more than the 24 that are read")
