"""The micro-batches of an epoch, as a few arrays."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class MicroBatch:
    """Rows that go through the model together; each row is one clip, or several short ones joined."""

    clips: list[np.ndarray]
    """For each row, its clips, as indices into the ``ClipTable``."""
    lengths: np.ndarray
    """``(rows,)`` int64: samples of each row, multiples of 0.1 s."""


@dataclass(frozen=True)
class EpochRows:
    """Rows of an epoch, as a few arrays: a million objects would take seconds and hundreds of MB."""

    clips: np.ndarray
    """``(clips,)`` int64, the clips of all rows, row after row, as indices into the ``ClipTable``."""
    ends: np.ndarray
    """``(rows,)`` int64: where the clips of each row end."""
    lengths: np.ndarray
    """``(rows,)`` int64: samples of each row."""

    def take(self, order: np.ndarray, lengths: np.ndarray) -> "EpochRows":
        """Return the rows ``order``, with new lengths."""
        starts = np.append(0, self.ends[:-1])[order]
        counts = self.ends[order] - starts
        ends = np.cumsum(counts)
        # For each clip: its place in its row, added to where that row starts.
        clips = self.clips[np.arange(len(self.clips)) + np.repeat(starts - ends + counts, counts)]
        return EpochRows(clips, ends, lengths)


@dataclass(frozen=True)
class Epoch:
    """The micro-batches of an epoch, in order: a sequence of ``MicroBatch``."""

    rows: EpochRows
    starts: np.ndarray
    stops: np.ndarray
    """``(micro-batches,)`` int64, as ``starts``: the row after each micro-batch's last, which is its longest."""

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, number: int) -> MicroBatch:
        start, stop = int(self.starts[number]), int(self.stops[number])
        ends = self.rows.ends[start:stop]
        first = int(self.rows.ends[start - 1]) if start else 0
        clips = self.rows.clips[first : int(ends[-1])]
        return MicroBatch(np.split(clips, ends[:-1] - first), self.rows.lengths[start:stop])

    def __iter__(self) -> Iterator[MicroBatch]:
        return (self[number] for number in range(len(self)))


def concatenated(parts: list[Epoch]) -> Epoch:
    """Return several plans, one after the other, as one."""
    clips_before = np.cumsum([0, *(len(part.rows.clips) for part in parts[:-1])])
    rows_before = np.cumsum([0, *(len(part.rows.ends) for part in parts[:-1])])
    rows = EpochRows(
        np.concatenate([part.rows.clips for part in parts]),
        np.concatenate([part.rows.ends + before for part, before in zip(parts, clips_before, strict=True)]),
        np.concatenate([part.rows.lengths for part in parts]),
    )
    starts = np.concatenate([part.starts + before for part, before in zip(parts, rows_before, strict=True)])
    stops = np.concatenate([part.stops + before for part, before in zip(parts, rows_before, strict=True)])
    return Epoch(rows, starts, stops)
