"""Lengths of real clips, for benchmarks that use noise as sound."""

from collections.abc import Mapping

import numpy as np

# fmt: off
QUANTILES: Mapping[str, tuple[float, ...]] = {
    "human_voice": (0.98, 1.04, 1.07, 1.10, 1.11, 1.14, 1.16, 1.18, 1.20, 1.23, 1.27, 1.34),
    "donate_a_cry": (6.66, 6.78, 6.86, 6.90, 6.92, 6.94, 6.96, 7.00, 7.00, 7.00, 7.00, 7.04),
    "baby_cry_detection": (5.00, 5.00, 5.00, 5.00, 5.00, 5.00, 5.00, 5.00, 5.00, 5.00, 5.01, 5.01),
    "spoken_digits": (0.24, 0.29, 0.33, 0.36, 0.38, 0.41, 0.43, 0.46, 0.49, 0.53, 0.58, 0.68),
}
# fmt: on
"""Twelve quantiles of the lengths in seconds, by corpus: HumanVoiceDataset, Donate-a-Cry, baby_cry_detection, Free
Spoken Digit Dataset."""


def spread(clips: int) -> dict[str, np.ndarray]:
    """Return the seconds of this many clips, divided evenly among the corpora and interpolated between quantiles."""
    counts = (clips + np.arange(len(QUANTILES))[::-1]) // len(QUANTILES)
    return {
        name: np.interp(np.linspace(0, 1, count), np.linspace(0, 1, len(seconds)), seconds)
        for (name, seconds), count in zip(QUANTILES.items(), counts.tolist(), strict=True)
    }
