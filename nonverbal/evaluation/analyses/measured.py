"""Shares of clips, with intervals over the units of the clips, by the same statistics as in scores."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nonverbal.evaluation.results import estimate
from nonverbal.evaluation.tables import bounds, short
from nonverbal.tasks.statistics.confusions import ACCURACY, confusion_counts


@dataclass(frozen=True)
class Measured:
    """A value measured on some clips."""

    value: float
    low: float | None
    """Lower bound of the .95 interval over units; None if only one unit has clips."""
    high: float | None
    clips: float
    """Number of clips that it was measured on; a mean over seeds."""

    @property
    def cells(self) -> list[str]:
        """Return the cells of a table: the value, and its interval."""
        return [short(self.value), self.interval]

    @property
    def interval(self) -> str:
        """Return the interval; empty if there is none."""
        return bounds(self.low, self.high, "")

    @property
    def text(self) -> str:
        """Return the value with its interval."""
        return f"{short(self.value)} {self.interval}".rstrip()


def cells_of(measured: Measured | None) -> list[str]:
    """Return the cells of a value, which are empty if there is none."""
    return ["", ""] if measured is None else measured.cells


def words_of(measured: Measured | None) -> str:
    """Return a value with its interval, or say that there is none."""
    return "unknown" if measured is None else measured.text


def share(seeds: Sequence[tuple[np.ndarray, np.ndarray]]) -> Measured | None:
    """Return the share of clips for which something holds, with its group-jackknife interval over units.

    Args:
        seeds: for each seed, whether it holds for each clip, ``(clips,)`` bool, and the clips' units, ``(clips,)``
            int64 from 0, numbered in the same way for all. Seeds are averaged: they are not further evidence.

    Returns:
        None if there are no clips.
    """
    clips = float(np.mean([len(holds) for holds, _ in seeds]))
    if not clips:
        return None
    size = max(int(units.max(initial=-1)) for _, units in seeds) + 1
    counts = np.stack([_counts(holds, units, size) for holds, units in seeds])
    found = estimate(counts, ACCURACY)
    return Measured(found.value, found.low, found.high, clips)


def _counts(holds: np.ndarray, units: np.ndarray, size: int) -> np.ndarray:
    """Return ``(units, 2, 2)``, whose accuracy is the share: all clips should hold, and do or do not."""
    counts = np.zeros((size, 2, 2), dtype=np.int64)
    if len(holds):
        counts[np.unique(units)] = confusion_counts(np.ones(len(holds), int), holds.astype(int), units, [0, 1])
    return counts
