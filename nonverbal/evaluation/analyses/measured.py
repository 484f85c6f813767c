"""Shares of clips with intervals over the units that clips belong to, by the statistics that scores have."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nonverbal.evaluation.results import estimate
from nonverbal.evaluation.tables import bounds, short
from nonverbal.tasks.statistics.confusions import ACCURACY, confusion_counts


@dataclass(frozen=True)
class Measured:
    """A number of some clips."""

    value: float
    low: float | None
    """Of the .95 interval over units; None where one unit alone has clips."""
    high: float | None
    clips: float
    """That it is of; a mean over seeds."""

    @property
    def cells(self) -> list[str]:
        """Of a table: the number, and its interval."""
        return [short(self.value), self.interval]

    @property
    def interval(self) -> str:
        """The interval; empty where there is none."""
        return bounds(self.low, self.high, "")

    @property
    def text(self) -> str:
        """The number with its interval."""
        return f"{short(self.value)} {self.interval}".rstrip()


def cells_of(measured: Measured | None) -> list[str]:
    """Return the cells of a number, which are empty where there is none."""
    return ["", ""] if measured is None else measured.cells


def words_of(measured: Measured | None) -> str:
    """Return a number with its interval, or that there is none."""
    return "unknown" if measured is None else measured.text


def share(seeds: Sequence[tuple[np.ndarray, np.ndarray]]) -> Measured | None:
    """Return the share of clips for which something holds, with its group-jackknife interval over units.

    Args:
        seeds: of each seed, whether it holds of each clip, ``(clips,)`` bool, and the clips' units, ``(clips,)`` int64
            from 0, of one numbering. Seeds are averaged: they are no further evidence.

    Returns:
        None where there are no clips.
    """
    clips = float(np.mean([len(holds) for holds, _ in seeds]))
    if not clips:
        return None
    size = max(int(units.max(initial=-1)) for _, units in seeds) + 1
    counts = np.stack([_counts(holds, units, size) for holds, units in seeds])
    found = estimate(counts, ACCURACY)
    return Measured(found.value, found.low, found.high, clips)


def _counts(holds: np.ndarray, units: np.ndarray, size: int) -> np.ndarray:
    """Return ``(units, 2, 2)`` of clips that should hold, and do or not: the accuracy is the share."""
    counts = np.zeros((size, 2, 2), dtype=np.int64)
    if len(holds):
        counts[np.unique(units)] = confusion_counts(np.ones(len(holds), int), holds.astype(int), units, [0, 1])
    return counts
