"""The rows of whole clips: how long each is, and which samples of the clip it contains. No audio is read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from nonverbal.batch import Piece
from nonverbal.data.batching.rows import first_sample, stretch
from nonverbal.data.index import ShardFolder
from nonverbal.data.windows import equal_windows


class ClipRow(NamedTuple):
    """One row of a micro-batch of clips."""

    pieces: list[Piece]
    """The pieces that are read and joined: a stretch of one clip, without empty pieces."""
    held: int
    """Number of the row's samples that belong to the clip, after a change of its speed."""
    length: int
    """Length of the row in samples: those beyond ``held`` are zeros, which count as sound."""


@dataclass(frozen=True)
class RowLimits:
    """Allowed lengths of rows, in samples. If both are the same, all rows are padded or cropped to that length."""

    shortest: int
    """Shorter clips are padded to it with zeros."""
    longest: int
    """Longer clips are cropped to it."""
    first: bool = False
    """Whether only the beginning of a longer clip is used; else a random stretch in training, and windows elsewhere."""

    def row(self, pieces: list[Piece], speed: float, crop: float) -> ClipRow:
        """Return the row of a clip in training.

        Args:
            pieces: of the whole clip.
            speed: factor on its speed.
            crop: in [0, 1), the share of the excess that precedes the stretch.
        """
        samples = samples_of(pieces)
        sped = sped_samples(samples, speed)
        held = min(sped, self.longest)
        wanted = samples if held == sped else min(round(held * speed), samples)
        first = 0 if self.first else first_sample(samples, wanted, crop)
        return self._of(pieces, slice(first, first + wanted), held)

    def windows(self, pieces: list[Piece]) -> list[ClipRow]:
        """Return the rows of a clip in validation and testing: all of it in equal windows, or its beginning."""
        return [self._of(pieces, cut, cut.stop - cut.start) for cut in self.cuts(samples_of(pieces))]

    def cuts(self, samples: int) -> list[slice]:
        """Return the windows of a clip of ``samples`` samples."""
        return [slice(0, min(samples, self.longest))] if self.first else equal_windows(samples, self.longest)

    def lengths(self, samples: np.ndarray) -> np.ndarray:
        """Return the lengths of the rows of clips in training at their original speed, ``(clips,)``."""
        clipped: np.ndarray = samples.clip(self.shortest, self.longest)
        return clipped

    def _of(self, pieces: list[Piece], cut: slice, held: int) -> ClipRow:
        kept = [piece for piece in stretch(pieces, cut.start, cut.stop) if piece.start < piece.stop]
        return ClipRow(kept, held, max(held, self.shortest))


def sped_samples(samples: int, speed: float) -> int:
    """Return the number of samples of a clip whose speed is multiplied by ``speed``: at least 1."""
    return max(round(samples / speed), 1)


def whole_pieces(shards: ShardFolder, clips: np.ndarray) -> list[list[Piece]]:
    """Return for each clip, a row of the manifest, the pieces that it consists of, in folder 0."""
    samples = shards.table["samples"]
    return [[Piece(0, int(part), 0, int(samples[part])) for part in parts] for parts in shards.parts(clips)]


def samples_of(pieces: Sequence[Piece]) -> int:
    """Return the number of samples of joined pieces."""
    return sum(piece.stop - piece.start for piece in pieces)
