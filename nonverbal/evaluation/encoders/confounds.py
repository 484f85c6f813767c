"""Confounds: what should not distinguish classes, and may explain a good number.

Nothing is learned, and the sound itself is not used: only how long a clip is, how loud it is, and at what rate its file
was sampled. If one of them scores well, any encoder may do so for the same reason: classes that were recorded in
different ways, or cut to different lengths.

`rate` is that of the file before nonverbal prepare made it 16 kHz; an encoder recognises it by where the spectrum ends.
"""

import math

import numpy as np

from nonverbal.data.index import SAMPLE_RATE
from nonverbal.data.manifest import Clip
from nonverbal.evaluation.encoders.base import Kind, ManifestEncoder, Size

QUIETEST = -100.0
"""Level of silence in decibels relative to full scale: the rounding of 16 bits is at -101."""


class _OfTheWhole:
    """One value for the whole clip."""

    layers = dimensions = shortest = 1
    max_seconds = math.inf
    one_frame = True


class Duration(_OfTheWhole):
    """Duration in seconds."""

    name = kind = key = "duration"

    def frames(self, waveform: np.ndarray) -> np.ndarray:
        """Return ``(1, 1, 1)`` float32 of a waveform ``(T,)`` at 16 kHz."""
        return np.full((1, 1, 1), len(waveform) / SAMPLE_RATE, dtype=np.float32)


class Loudness(_OfTheWhole):
    """Root mean square in decibels relative to full scale."""

    name = kind = "loudness"
    key = f"loudness-dB-rms-{QUIETEST}"

    def frames(self, waveform: np.ndarray) -> np.ndarray:
        """Return ``(1, 1, 1)`` float32 of a waveform ``(T,)``, float32 in [-1, 1]."""
        power = float(np.mean(np.square(waveform, dtype=np.float64)))
        return np.full((1, 1, 1), max(10 * math.log10(power), QUIETEST) if power else QUIETEST, dtype=np.float32)


def rate() -> ManifestEncoder:
    """Return the encoder that gives the sample rate of a clip's file, in Hz."""
    return ManifestEncoder("rate", "rate", "rate", 1, _rate)


def _rate(clip: Clip) -> tuple[float, ...]:
    return (float(clip.sample_rate),)


_ONE = Size(1, 1)

KINDS = (
    Kind("duration", "confound: seconds", lambda _: Duration(), size=_ONE, notes=__doc__),
    Kind("loudness", "confound: level of the whole clip, dB", lambda _: Loudness(), size=_ONE, notes=__doc__),
    Kind("rate", "confound: sample rate of the file, Hz", lambda _: rate(), size=_ONE, notes=__doc__),
)
