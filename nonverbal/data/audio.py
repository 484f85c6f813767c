"""Decoding: any audio file to 16-bit samples at 16 kHz, mono, and a name for everything that is wrong with it."""

import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile

from nonverbal.data.index import SAMPLE_RATE

MAX_SECONDS = 24 * 3600
"""Longest file that is read; a header that claims more is taken for damaged."""

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

    Raises:
        AudioProblem: the file gives no sound, or not all of it.
    """
    try:
        waveform, rate, notes = _soundfile(path)
    except soundfile.LibsndfileError as error:
        waveform, rate, notes = _av(path, str(error))
    if not len(waveform):
        raise AudioProblem("empty", "no samples")
    if not np.isfinite(waveform).all():
        raise AudioProblem("not_finite", f"{np.count_nonzero(~np.isfinite(waveform))} values are NaN or infinite")
    seconds = len(waveform) / rate
    if waveform.shape[1] > 1:
        notes.append("downmixed")
    # (T, channels) -> (T,)
    mono = waveform.mean(axis=1, dtype=np.float32)
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
        _check_length(file.frames / file.samplerate)
        if _shortened(file.extra_info):
            raise AudioProblem("truncated", "the header promises more audio than the file holds")
        try:
            waveform = file.read(dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise AudioProblem("truncated", str(error)) from error
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
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise AudioProblem("unreadable", "no audio stream")
            _check_length((container.duration or 0) / 1_000_000)
            stream = container.streams.audio[0]
            rate, names = stream.rate, container.format.name.split(",")
            resampler = av.AudioResampler(format="fltp")
            for frame in container.decode(stream):
                chunks += [part.to_ndarray() for part in resampler.resample(frame)]
            chunks += [part.to_ndarray() for part in resampler.resample(None)]
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = "truncated" if chunks else "unreadable"
        raise AudioProblem(reason, f"libsndfile: {refusal}; FFmpeg: {error}") from error
    extension = _extension(path)
    notes = [] if ALIASES.get(extension, extension) in names else ["mislabelled"]
    waveform = np.concatenate(chunks, axis=1).T if chunks else np.zeros((0, 1), dtype=np.float32)
    return waveform.astype(np.float32), rate, notes


def _check_length(seconds: float) -> None:
    if seconds > MAX_SECONDS:
        raise AudioProblem(
            "unreadable", f"the header promises {seconds / 3600:.0f} hours, more than the 24 that are read"
        )


def _extension(path: Path) -> str:
    return path.suffix.lower().lstrip(".")
