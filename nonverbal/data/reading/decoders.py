"""Decodes with libsndfile, or with FFmpeg if that refuses: stretches with one rate and one number of channels."""

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
"""Longest file that is read; a file whose header claims more counts as damaged."""

SAMPLE_RATES = range(1_000, 1_000_001)
"""Sample rates, in Hz, that count as sound."""

BLOCK = 1 << 20
"""Number of samples that are read at once, whatever a header claims."""

UNKNOWN = 1 << 62
"""libsndfile's count is at least this if it does not know the length."""

ROUNDING = 0.002
"""Seconds by which a count may be wrong."""

MACHINE = {os.strerror(code): code for code in (errno.EIO, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT, errno.ENXIO)}
"""libsndfile's messages for faults that are not the file's."""


@dataclass(frozen=True)
class Stretch:
    """Sound of one rate and number of channels."""

    waveform: np.ndarray
    """``(T, channels)`` float32."""
    rate: int
    """In Hz."""

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return len(self.waveform) / self.rate


@dataclass(frozen=True)
class Decoded:
    """The output of a decoder."""

    stretches: list[Stretch]
    formats: set[str]
    """The decoder's names of the container."""

    @property
    def seconds(self) -> float:
        """Length in seconds."""
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
        # An MP3 decoder uses an estimate if the header has no count.
        refusal = f"{decoded.seconds:.2f} of {seconds:.2f} s can be read"
    except _Refused as refused:
        refusal, seconds = str(refused), max(seconds, refused.seconds)
    try:
        decoded = _by(lambda file: _av(file, refusal), path, part)
    except AudioProblem as problem:
        # If libsndfile recognised sound, the file is of no other kind.
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
            # A decoder mistakes a fault of the machine for the end of the file, or for damage.
            if pieces.error is not None:
                raise pieces.error


class _Refused(Exception):
    """The reason why libsndfile does not read a file."""

    def __init__(self, reason: str, seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.seconds = seconds
        """Length according to the header; 0 if it does not say."""


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
            # A false header must not cause as much memory to be allocated as it claims.
            while len(block := file.read(BLOCK // file.channels, dtype="float32", always_2d=True)):
                blocks.append(block)
        except soundfile.LibsndfileError as error:
            _raise_of_machine(error)
            raise _Refused(error.error_string, file.frames / file.samplerate) from error
        blocks = blocks or [np.zeros((0, file.channels), dtype=np.float32)]
        waveform = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
        # MP3 headers give an estimate, the others a count.
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
        # FFmpeg treats some names as addresses, so it is given none.
        with av.open(readable, options={"format_whitelist": FFMPEG_FORMATS}) as container:
            if not container.streams.audio or container.streams.audio[0].codec_context is None:
                raise AudioProblem("unreadable", "no audio stream that FFmpeg can decode")
            check((container.duration or 0) / 1_000_000)
            for chunk in _chunks(container, container.streams.audio[0]):
                chunks.append(chunk)
            names = set(container.format.name.split(","))
    # PyAV raises IndexError if a damaged file has streams that it does not list.
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
    """Decode frame by frame: yield (rate in Hz, number of channels) and samples, ``(T, channels)`` float32."""
    seconds = 0.0
    for frame in _frames(container, stream):
        check(seconds, frame.sample_rate)
        seconds += frame.samples / frame.sample_rate
        # A header may claim less than there is, or another rate, so each frame's own values count.
        yield (frame.sample_rate, frame.layout.nb_channels), _floats(frame, frame.layout.nb_channels)


def _frames(container: Any, stream: Any) -> Iterator[Any]:
    from av import BlockingIOError as Behind

    # FFmpeg asks to try again if it finds no more packets after a stream's end.
    with contextlib.suppress(Behind):
        yield from container.decode(stream)


def _floats(frame: Any, channels: int) -> np.ndarray:
    samples: np.ndarray = frame.to_ndarray()
    samples = samples.T if frame.format.is_planar else samples.reshape(-1, channels)
    # Values beyond 32 bits become infinite, and are found later.
    with np.errstate(over="ignore", invalid="ignore"):
        floats = samples.astype(np.float32)
    if samples.dtype.kind == "u":
        floats -= 128
    if samples.dtype.kind in "iu":
        floats /= 2.0 ** (8 * samples.dtype.itemsize - 1)
    return floats


def check(seconds: float, rate: int = SAMPLE_RATES[0]) -> None:
    """Refuse impossible lengths and rates before memory is allocated for them."""
    if rate not in SAMPLE_RATES:
        raise AudioProblem("unreadable", f"the header says {rate} Hz")
    if seconds > MAX_SECONDS:
        hours = seconds / 3600
        raise AudioProblem("unreadable", f"the header promises {hours:.0f} hours, more than the 24 that are read")
