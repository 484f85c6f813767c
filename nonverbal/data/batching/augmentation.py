"""Changes to the audio of training clips, drawn anew each time: gain, noise, speed. All are off by default.

The processes that read ahead make them. Values are not clipped: after a gain, they may lie beyond [-1, 1].
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from nonverbal.errors import UserError

FASTEST = 4.0
"""Largest factor by which a clip may be sped up or slowed down."""


class Change(NamedTuple):
    """The changes to one clip."""

    speed: float = 1.0
    """Factor on the speed."""
    gain_db: float = 0.0
    noise_snr_db: float | None = None
    """None: no noise."""


@dataclass(frozen=True)
class Augmentation:
    """Changes to training clips. Each is drawn uniformly from a range: lowest and highest value, which may be equal."""

    gain_db: tuple[float, float] | None = None
    """Gain, in dB. Recordists, microphones and distances differ, and loudness should not reveal the class. No effect on
    encoders that normalise the waveform (wav2vec 2.0 and similar)."""
    noise_snr_db: tuple[float, float] | None = None
    """Signal-to-noise ratio, in dB: power of the clip over that of the added noise. Clips of one class often share a
    room or a source, whose noise would reveal the class. Silent clips stay silent."""
    noise: Literal["white", "pink"] = "white"
    """Kind of noise: equal power at all frequencies (white), or in all octaves (pink), as in rooms and traffic."""
    speed: tuple[float, float] | None = None
    """Factor on the speed, by resampling, which also shifts pitch and formants, as if another person had been recorded
    (Ko et al., 2015: 0.9 to 1.1). Leave it out if pitch or duration determines the class."""

    def __post_init__(self) -> None:
        """Refuse impossible ranges."""
        for name in ("gain_db", "noise_snr_db", "speed"):
            bounds = getattr(self, name)
            if bounds is not None and not (np.isfinite(bounds).all() and bounds[0] <= bounds[1]):
                raise UserError(f"augmentation.{name} must be the lowest and the highest value, but is {list(bounds)}")
        if self.speed is not None and not 1 / FASTEST <= self.speed[0] <= self.speed[1] <= FASTEST:
            raise UserError(
                f"augmentation.speed must lie between {1 / FASTEST:g} and {FASTEST:g}, but is {list(self.speed)}"
            )

    @property
    def is_on(self) -> bool:
        """Whether anything is changed; waveforms are then float32."""
        return any(bounds is not None for bounds in (self.gain_db, self.noise_snr_db, self.speed))

    @property
    def speeds(self) -> tuple[float, float]:
        """The lowest and the highest speed that may be drawn."""
        return (1.0, 1.0) if self.speed is None else self.speed

    @property
    def slowest(self) -> float:
        """The lowest speed that may be drawn."""
        return self.speeds[0]

    def draw(self, clips: int, random: np.random.Generator) -> list[Change]:
        """Draw the changes of ``clips`` clips. What one setting draws does not depend on the others."""
        speed, gain, snr = random.random((3, clips))
        return [
            Change(
                1.0 if self.speed is None else _between(self.speed, float(speed[i])),
                0.0 if self.gain_db is None else _between(self.gain_db, float(gain[i])),
                None if self.noise_snr_db is None else _between(self.noise_snr_db, float(snr[i])),
            )
            for i in range(clips)
        ]

    def changed(self, samples: np.ndarray, length: int, change: Change, random: np.random.Generator) -> np.ndarray:
        """Return a clip with its changes: first its speed, then added noise, then a gain on both.

        Args:
            samples: ``(T,)`` int16, as read.
            length: samples of the result: T divided by the speed, rounded.
            change: as drawn.
            random: draws the noise.

        Returns:
            ``(length,)`` float32.
        """
        waveform = samples.astype(np.float32) * np.float32(2.0**-15)
        if change.speed != 1.0:
            waveform = resampled(waveform, length)
        if change.noise_snr_db is not None:
            waveform = with_noise(waveform, change.noise_snr_db, self.noise, random)
        return waveform * np.float32(10 ** (change.gain_db / 20))


def resampled(waveform: np.ndarray, length: int) -> np.ndarray:
    """Return a waveform ``(T,)`` float32 resampled so that the same sound takes ``length`` samples."""
    import soxr

    if not len(waveform):
        return np.zeros(length, dtype=np.float32)
    sped: np.ndarray = soxr.resample(waveform, float(len(waveform)), float(length), quality="HQ")
    # soxr rounds the number of samples in its own way.
    exact = np.zeros(length, dtype=np.float32)
    exact[: len(sped)] = sped[:length]
    return exact


def with_noise(
    waveform: np.ndarray, snr_db: float, kind: Literal["white", "pink"], random: np.random.Generator
) -> np.ndarray:
    """Return a waveform ``(T,)`` float32 with noise whose power is exactly ``snr_db`` dB below its own."""
    noise = random.standard_normal(len(waveform))
    if kind == "pink":
        noise = _pink(noise)
    power, own = float(np.mean(np.square(waveform, dtype=np.float64))), float(np.mean(noise**2))
    if own == 0:
        return waveform
    noisy: np.ndarray = waveform + np.sqrt(power / own) * 10 ** (-snr_db / 20) * noise
    return noisy.astype(np.float32)


def _pink(white: np.ndarray) -> np.ndarray:
    """Return white noise ``(T,)`` filtered so that its power falls as 1 / frequency, with none at 0 Hz."""
    spectrum = np.fft.rfft(white)
    spectrum[0] = 0
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
    pink: np.ndarray = np.fft.irfft(spectrum, len(white))
    return pink


def _between(bounds: tuple[float, float], share: float) -> float:
    return bounds[0] + share * (bounds[1] - bounds[0])
