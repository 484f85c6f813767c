"""Decodes any audio file to 16-bit samples at 16 kHz, mono, and names everything that is wrong with it."""

import io
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile

from nonverbal.data.index import SAMPLE_RATE
from nonverbal.data.reading.archives import as_file
from nonverbal.data.reading.containers import parts
from nonverbal.data.reading.decoders import BLOCK, Decoded, Stretch, check, decode
from nonverbal.data.reading.formats import EXTENSIONS, mislabelled
from nonverbal.data.reading.problems import AudioProblem

__all__ = ["EXTENSIONS", "Audio", "AudioProblem", "encode", "load"]

CANCELLED = 0.1
"""Channels cancel in a second if their mean has less than this share of the power that it would have if they were
independent: for two of equal loudness, at a correlation below -0.9. A file's channels cancel if such seconds have more
than this share of its power."""

HOT = 16.0
"""Peak, relative to full scale, up to which a file counts as mixed too loud."""

HEARD = 3e-4
"""Smallest level of a scaled file, as a share of the peak: ten steps of 16-bit samples."""

BRIEF = 0.02
"""Smallest duration of a sound in seconds, unlike a damaged sample."""


@dataclass(frozen=True)
class Audio:
    """A decoded file."""

    samples: np.ndarray
    """``(T,)`` int16, 16 kHz, mono."""
    sample_rate: int
    """Sample rate of the file in Hz; if it changes, the first one."""
    seconds: float
    """Length of the file."""
    notes: list[str] = field(default_factory=list)
    """What was done to it: downmixed; out_of_phase (its channels cancel, and the loudest was used); resampled; scaled
    (its peak was above full scale); mislabelled."""


def load(path: Path) -> Audio:
    """Decode all recordings of a file, one after another, and convert them to 16 kHz, mono, 16 bits.

    The file may be in a zip archive: see ``nonverbal.data.reading.archives``.

    Raises:
        AudioProblem: the file gives no sound, or not all of it.
        OSError: the file does not exist, or cannot or must not be read.
    """
    with as_file(path) as file:
        return _judged(file)


def _judged(path: Path) -> Audio:
    try:
        return _load(path)
    except AudioProblem:
        # A decoder mistakes a read error of a failing disk for the end of the file; here it is an OSError.
        if stat.S_ISREG(path.stat().st_mode):
            with open(path, "rb") as file:
                while file.read(BLOCK):
                    pass
        raise


def _load(path: Path) -> Audio:
    if not stat.S_ISREG(path.stat().st_mode):
        raise AudioProblem("unreadable", "not a regular file")
    if not path.stat().st_size:
        raise AudioProblem("unreadable", "the file has no bytes")
    decoded = _decoded(path)
    stretches = [stretch for one in decoded for stretch in one.stretches if len(stretch.waveform)]
    if not stretches:
        raise AudioProblem("empty", "no samples")
    extension = path.suffix.lower().lstrip(".")
    notes = dict.fromkeys(["mislabelled"] if any(mislabelled(extension, one.formats) for one in decoded) else [])
    peak = _peak([stretch.waveform for stretch in stretches])
    if peak > HOT:
        stretches = _quietened(stretches, peak)
        notes["scaled"] = None
    mono = [_mono(stretch, notes) for stretch in stretches]
    whole = mono[0] if len(mono) == 1 else np.concatenate(mono)
    peak = _peak([whole]) if len(whole) else 0.0
    if peak > 1:
        whole = whole / peak
        notes["scaled"] = None
    scaled = whole * np.float32(32768)
    samples = np.clip(np.round(scaled, out=scaled), -32768, 32767, out=scaled).astype("<i2")
    seconds = sum(stretch.seconds for stretch in stretches)
    if len(samples) and int(samples.max()) - int(samples.min()) <= 2:
        raise AudioProblem("silent", f"{seconds:.2f} s without a sound")
    return Audio(samples, stretches[0].rate, seconds, list(notes))


def _decoded(path: Path) -> list[Decoded]:
    decoded: list[Decoded] = []
    for part in parts(path):
        decoded.append(decode(path, part))
        check(sum(one.seconds for one in decoded))
    return decoded


def _peak(waveforms: Sequence[np.ndarray]) -> float:
    """Return the highest absolute value, relative to full scale."""
    # Two passes are faster than a copy of absolute values.
    extremes = [float(value) for waveform in waveforms for value in (waveform.max(), waveform.min())]
    if not np.isfinite(extremes).all():
        count = sum(np.count_nonzero(~np.isfinite(waveform)) for waveform in waveforms)
        raise AudioProblem("not_finite", f"{count} values are NaN or infinite")
    return max(map(abs, extremes))


def _quietened(stretches: Sequence[Stretch], peak: float) -> list[Stretch]:
    """Scale sound whose peak is far above full scale, such as integers that were stored as floats.

    Raises:
        AudioProblem: little besides the peak would be left.
    """
    if max(_level(stretch) for stretch in stretches) < peak * HEARD:
        raise AudioProblem("overloaded", f"a peak of {peak:.2g} times full scale, beside which the rest is silence")
    return [Stretch(stretch.waveform / np.float32(peak), stretch.rate) for stretch in stretches]


def _level(stretch: Stretch) -> float:
    """Return the level of the loudest moment, the highest median of its channels, which ignores single samples."""
    size = min(round(BRIEF * stretch.rate), len(stretch.waveform))
    moments = np.abs(stretch.waveform[: len(stretch.waveform) // size * size]).reshape(
        -1, size, stretch.waveform.shape[1]
    )
    return float(np.median(moments, axis=1).max())


def _mono(stretch: Stretch, notes: dict[str, None]) -> np.ndarray:
    """Mix down and resample, ``(T, channels)`` -> ``(T,)``, and note what was done."""
    mono = stretch.waveform[:, 0]
    if stretch.waveform.shape[1] > 1:
        notes["downmixed"] = None
        # (T, channels) -> (channels, T): sums over T are several times as fast.
        channels = np.ascontiguousarray(stretch.waveform.T)
        mono = channels.mean(axis=0)
        if _cancel(channels, mono, stretch.rate):
            notes["out_of_phase"] = None
            mono = channels[channels.var(axis=1).argmax()]
    if stretch.rate != SAMPLE_RATE:
        import soxr

        mono = soxr.resample(mono, stretch.rate, SAMPLE_RATE, quality="VHQ")
        notes["resampled"] = None
    return mono


def _cancel(channels: np.ndarray, mono: np.ndarray, rate: int) -> bool:
    """Whether the sound in channels ``(channels, T)`` is lost in their mean, ``(T,)``, at any time."""
    cancelled = power = 0.0
    for start in range(0, len(mono), rate):
        second = channels[:, start : start + rate]
        alone = float(second.var(axis=1).sum()) * second.shape[1] / len(channels) ** 2
        power += alone
        if float(mono[start : start + rate].var()) * second.shape[1] < CANCELLED * alone:
            cancelled += alone
    return cancelled > CANCELLED * power


def encode(samples: np.ndarray) -> bytes:
    """Return int16 samples at 16 kHz as a FLAC file."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()
