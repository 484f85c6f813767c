"""Decoding: any audio file to 16-bit samples at 16 kHz, mono, and a name for everything that is wrong with it."""

import io
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from nonverbal.data.archives import as_file
from nonverbal.data.containers import ends_early
from nonverbal.data.index import SAMPLE_RATE

MAX_SECONDS = 24 * 3600
"""Longest file that is read; a header that claims more is taken for damaged."""

SAMPLE_RATES = range(1_000, 1_000_001)
"""Hz that are taken for sound."""

BLOCK = 1 << 20
"""Samples that are read at once, whatever a header promises."""

FORMATS = {
    "wav": {"WAV", "WAVEX", "RF64", "W64"},
    "flac": {"FLAC"},
    "ogg": {"OGG"},
    "oga": {"OGG"},
    "opus": {"OGG"},
    "mp3": {"MP3"},
    "aiff": {"AIFF"},
    "aif": {"AIFF"},
    "au": {"AU"},
    "caf": {"CAF"},
}
"""Extension to libsndfile's names of the containers that it may stand for."""

EXTENSIONS = frozenset([*FORMATS, "3gp", "m4a", "mp4", "aac", "webm", "mka", "wma", "amr"])
"""What counts as an audio file where a folder says no more."""

ALIASES = {"mka": "matroska", "wma": "asf"}

FFMPEG_FORMATS = "mov,matroska,asf,caf,aac,amr,amrnb,amrwb,ogg,mp3,flac,wav,w64,aiff,au"
"""No playlists, which name other files and addresses."""


class AudioProblem(Exception):
    """Why a file gives no clip."""

    REASONS = ("unreadable", "truncated", "empty", "not_finite", "silent")

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        """One of ``REASONS``."""
        self.detail = detail


@dataclass(frozen=True)
class Audio:
    """A decoded file."""

    samples: np.ndarray
    """``(T,)`` int16, 16 kHz, mono."""
    sample_rate: int
    """Of the file, in Hz."""
    seconds: float
    """Length of the file."""
    notes: list[str] = field(default_factory=list)
    """What was done to it: downmixed, resampled, scaled (its peak was above full scale), mislabelled."""


def load(path: Path) -> Audio:
    """Decode a file with libsndfile, or where that refuses with FFmpeg, and bring it to 16 kHz, mono, 16 bits.

    The file may lie in a zip archive: see ``nonverbal.data.archives``.

    Raises:
        AudioProblem: the file gives no sound, or not all of it.
        OSError: there is no such file, or it may not or cannot be read.
    """
    with as_file(path) as file:
        return _judged(file)


def _judged(path: Path) -> Audio:
    try:
        return _load(path)
    except AudioProblem:
        # To a decoder, what a failing disk does not give looks like the end of the file; here it is an OSError.
        if stat.S_ISREG(path.stat().st_mode):
            with open(path, "rb") as file:
                while file.read(BLOCK):
                    pass
        raise


def _load(path: Path) -> Audio:
    if not stat.S_ISREG(path.stat().st_mode):
        raise AudioProblem("unreadable", "not a regular file")
    if ends_early(path):
        raise AudioProblem("truncated", "the file ends before its container does")
    try:
        waveform, rate, notes = _soundfile(path)
    except soundfile.LibsndfileError as error:
        waveform, rate, notes = _av(path, error.error_string)
    if not len(waveform):
        raise AudioProblem("empty", "no samples")
    if not np.isfinite(waveform).all():
        raise AudioProblem("not_finite", f"{np.count_nonzero(~np.isfinite(waveform))} values are NaN or infinite")
    seconds = len(waveform) / rate
    if waveform.shape[1] > 1:
        notes.append("downmixed")
    # (T, channels) -> (T,); a mean over one is slow
    mono = waveform[:, 0] if waveform.shape[1] == 1 else waveform.mean(axis=1, dtype=np.float32)
    if rate != SAMPLE_RATE:
        import soxr

        mono = soxr.resample(mono, rate, SAMPLE_RATE, quality="VHQ")
        notes.append("resampled")
    peak = float(np.abs(mono).max(initial=0))
    if peak > 1:
        mono = mono / peak
        notes.append("scaled")
    samples = np.clip(np.round(mono * 32768), -32768, 32767).astype("<i2")
    if len(samples) and int(samples.max()) - int(samples.min()) <= 2:
        raise AudioProblem("silent", f"{seconds:.2f} s without a sound")
    return Audio(samples, rate, seconds, notes)


def encode(samples: np.ndarray) -> bytes:
    """Return int16 samples at 16 kHz as a FLAC file."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def _soundfile(path: Path) -> tuple[np.ndarray, int, list[str]]:
    with soundfile.SoundFile(path) as file:
        _check(file.frames, file.samplerate)
        if _shortened(file.extra_info):
            raise AudioProblem("truncated", "the header promises more audio than the file holds")
        blocks = []
        try:
            # A header that lies must not take the memory that it promises to fill.
            while len(block := file.read(BLOCK // file.channels, dtype="float32", always_2d=True)):
                blocks.append(block)
        except soundfile.LibsndfileError as error:
            raise AudioProblem("truncated", error.error_string) from error
        waveform = np.concatenate([np.zeros((0, file.channels), dtype=np.float32), *blocks])
        # MP3 headers estimate; the others count.
        if len(waveform) < file.frames and file.format != "MP3":
            raise AudioProblem("truncated", f"{len(waveform)} of {file.frames} samples can be read")
        expected = FORMATS.get(_extension(path))
        notes = ["mislabelled"] if expected is None or file.format not in expected else []
        return waveform, file.samplerate, notes


def _shortened(log: str) -> bool:
    """Whether libsndfile found a chunk shorter than its header says; streamed files say 0 or the largest number."""
    return any(
        "should be" in line and not any(f": {size} " in line for size in (0, 0xFFFFFFFF, 0x7FFFFFFF, 0xFFFFFFFE))
        for line in log.splitlines()
        if line.strip().startswith(("data", "SSND", "Data"))
    )


def _av(path: Path, refusal: str) -> tuple[np.ndarray, int, list[str]]:
    import av

    av.logging.set_level(av.logging.PANIC)
    chunks: list[np.ndarray] = []
    try:
        # FFmpeg takes some names for addresses, so it is given none.
        with open(path, "rb") as file, av.open(file, options={"format_whitelist": FFMPEG_FORMATS}) as container:
            if not container.streams.audio or container.streams.audio[0].codec_context is None:
                raise AudioProblem("unreadable", "no audio stream that FFmpeg can decode")
            stream = container.streams.audio[0]
            rate, names = stream.codec_context.sample_rate, container.format.name.split(",")
            _check((container.duration or 0) * rate // 1_000_000, rate)
            for chunk in _frames(container, stream):
                chunks.append(chunk)
                _check(sum(map(len, chunks)) if len(chunks) % 1000 == 0 else 0, rate)
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = "truncated" if chunks else "unreadable"
        said = getattr(error, "strerror", None) or error
        raise AudioProblem(reason, f"libsndfile: {refusal} FFmpeg: {said}") from error
    extension = _extension(path)
    notes = [] if ALIASES.get(extension, extension) in names else ["mislabelled"]
    waveform = np.concatenate(chunks) if chunks else np.zeros((0, 1), dtype=np.float32)
    return waveform, rate, notes


def _frames(container: Any, stream: Any) -> Iterator[np.ndarray]:
    """Decode, ``(T, channels)`` float32 at a time."""
    from av import AudioResampler

    resampler = AudioResampler(format="fltp")
    for frame in container.decode(stream):
        yield from (part.to_ndarray().T for part in resampler.resample(frame))
    yield from (part.to_ndarray().T for part in resampler.resample(None))


def _check(samples: int, rate: int) -> None:
    """Refuse what no recording is, before it takes the memory of one."""
    if rate not in SAMPLE_RATES:
        raise AudioProblem("unreadable", f"the header says {rate} Hz")
    if samples / rate > MAX_SECONDS:
        hours = samples / rate / 3600
        raise AudioProblem("unreadable", f"the header promises {hours:.0f} hours, more than the 24 that are read")


def _extension(path: Path) -> str:
    return path.suffix.lower().lstrip(".")
