"""From frames to an embedding: windows of a clip, and mean and standard deviation over the frames of all windows.

Shapes: S frames, M values per frame.
"""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from nonverbal.data.index import SAMPLE_RATE
from nonverbal.data.windows import equal_windows


def windows(waveform: np.ndarray, max_seconds: float) -> list[np.ndarray]:
    """Return a clip in the form that an encoder is given: whole, or in equal windows of at most ``max_seconds``.

    If the number of samples is not divisible, the first windows are one sample longer than the last.
    """
    longest = None if math.isinf(max_seconds) else math.floor(max_seconds * SAMPLE_RATE)
    return [waveform[window] for window in equal_windows(len(waveform), longest)]


class Pool:
    """Mean and population standard deviation over the frames of a clip, window by window.

    Means and squared deviations are merged (Chan et al., 1979), so a long clip does not need more memory.
    """

    def __init__(self, one_frame: bool = False) -> None:
        """Start without frames.

        Args:
            one_frame: whether a clip is one frame, which has no standard deviation.
        """
        self.one_frame = one_frame
        self.count = 0
        self.mean: Any = 0.0
        self.squares: Any = 0.0

    def add(self, frames: Any) -> None:
        """Add the frames of a window, ``(layers, S, M)``, an array or a tensor, which is pooled on its device."""
        wide = frames.astype(np.float64) if isinstance(frames, np.ndarray) else frames.double()
        own_mean = wide.mean(1)  # (layers, S, M) -> (layers, M)
        own_squares = ((wide - own_mean[:, None]) ** 2).sum(1)
        total = self.count + wide.shape[1]
        gap = own_mean - self.mean
        self.mean = self.mean + gap * (wide.shape[1] / total)
        self.squares = self.squares + own_squares + gap**2 * (self.count * wide.shape[1] / total)
        self.count = total

    def result(self) -> np.ndarray:
        """Return ``(layers, 2 x M)`` float32, means before standard deviations; for one frame ``(layers, M)``."""
        assert self.count, "a clip without frames"
        mean, squares = (x if isinstance(x, np.ndarray) else x.cpu().numpy() for x in (self.mean, self.squares))
        if self.one_frame:
            assert self.count == 1
            return mean.astype(np.float32)
        return np.concatenate([mean, np.sqrt(squares / self.count)], axis=1).astype(np.float32)


def pool(parts: Iterable[np.ndarray]) -> np.ndarray:
    """Pool the frames of all windows of a clip, ``(layers, S, M)`` each, to ``(layers, 2 x M)`` float32."""
    pooled = Pool()
    for part in parts:
        pooled.add(part)
    return pooled.result()
