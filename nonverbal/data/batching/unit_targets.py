"""Units as targets: for each frame of a row, the unit of the sample in its middle."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nonverbal.batch import AddingSampler, Piece, Rows
from nonverbal.data.batching.units import Units, frame_at, frame_count, frame_places


@dataclass(frozen=True)
class UnitSampler(AddingSampler):
    """Adds the units of a row's frames to the targets of another sampler."""

    units: list[Units]
    """The units of each shard folder."""

    def added(self, rows: Rows) -> dict[str, Tensor]:
        """Return ``units``, ``(N, S)`` int64; 0 beyond a row's frames."""
        units = np.zeros((len(rows.lengths), frame_count(int(rows.lengths.max()))), dtype=np.int64)
        for i, (pieces, length) in enumerate(zip(rows.pieces, rows.lengths.tolist(), strict=True)):
            frames = frame_count(length)
            units[i, :frames] = self._of_row(pieces, frames)
        return {"units": torch.from_numpy(units)}

    def _of_row(self, pieces: Sequence[Piece], frames: int) -> np.ndarray:
        ends = np.cumsum([piece.stop - piece.start for piece in pieces])
        # Rows that are too short are repeated.
        places = frame_places(frames) % ends[-1]
        which = np.searchsorted(ends, places, side="right")
        units = np.empty(frames, dtype=np.int64)
        for j, piece in enumerate(pieces):
            here = np.flatnonzero(which == j)
            # From samples of the row to samples of the part.
            own = self.units[piece.folder].of(piece.part)
            units[here] = own[frame_at(places[here] + piece.stop - int(ends[j]), len(own))]
        return units
