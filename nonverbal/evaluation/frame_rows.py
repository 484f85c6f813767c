"""Frames of clips in any order, read when they are needed."""

from collections.abc import Mapping, Sequence
from typing import overload

import numpy as np


class FrameRows(Sequence[np.ndarray]):
    """The frames of some clips; an array of rows selects clips, as for an array."""

    def __init__(self, kept: Mapping[int, np.ndarray], clips: np.ndarray) -> None:
        """Take stored frames, and which of their clips to use in which order, ``(clips,)`` int64."""
        self._kept, self._clips = kept, clips

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self._clips)

    @overload
    def __getitem__(self, place: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, place: np.ndarray | slice) -> "FrameRows": ...

    def __getitem__(self, place: int | slice | np.ndarray) -> "np.ndarray | FrameRows":
        """Read a clip's frames ``(layers, frames, dim)``, or select clips."""
        if isinstance(place, int | np.integer):
            return self._kept[int(self._clips[place])]
        return FrameRows(self._kept, self._clips[place])
