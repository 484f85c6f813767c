"""Bags of audio words: codebooks from a fold's training side, and how often each of their words occurs in each clip.

Paper: openXBOW (Schmitt and Schuller, 2017). Of its options we use the simplest: words are frames of the training side,
each drawn with the same probability (``-c random``; k-means would take many times longer in every fold of every null,
and ``random++`` draws outliers first, of which there are many among descriptors). Each frame counts for the one nearest
word (``-a 1``, its default). A count n becomes log(1 + n) (``-log``). Before that, frames are standardised by the mean
and standard deviation of those of the training side (``-standardizeInput``).

Shapes: S frames, M values per frame.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nonverbal.evaluation.frame_rows import FrameRows
from nonverbal.evaluation.heads.base import Pooled
from nonverbal.evaluation.heads.frames import FrameClips
from nonverbal.seeding import Stream, generator
from nonverbal.tasks.folds import Fold

WORDS = 500
"""Number of words of each codebook."""

BOOKS = 2
"""Number of codebooks, each for an equal share of a frame's values: descriptors and deltas."""


@dataclass(frozen=True)
class Codebook:
    """Words over some of the values of a frame."""

    centre: np.ndarray
    """Mean of the values over the frames of the training side, ``(M,)`` float32."""
    scale: np.ndarray
    """Their standard deviation, ``(M,)`` float32."""
    words: np.ndarray
    """Standardised frames, ``(words, M)`` float32."""

    def counts(self, frames: np.ndarray) -> np.ndarray:
        """Return for how many frames, ``(S, M)`` float32, each word is the nearest: ``(WORDS,)`` int64.

        If several words are equally near, the first is used. If the training side has fewer frames than ``WORDS``,
        there are fewer words: the last counts are then 0.
        """
        standard = (frames - self.centre) / self.scale
        # The part of the squared distance that depends on the word, halved: |w|^2 / 2 - x w.
        nearest = (self.lengths - standard @ self.words.T).argmin(axis=1)
        return np.bincount(nearest, minlength=WORDS)

    @cached_property
    def lengths(self) -> np.ndarray:
        """Half the squared length of each word, ``(words,)``."""
        halves: np.ndarray = np.square(self.words).sum(axis=1) / 2
        return halves


class Bags:
    """Bags of clips, as ``FoldFeatures``: each fold has its own codebooks."""

    def __init__(self, frames: FrameRows, as_frames: bool) -> None:
        """Take the finite frames of all clips, ``(1, S, 2 x M)`` each; the head may read frames, then one per bag."""
        self.clips, self.as_frames = FrameClips(frames, slice(None)), as_frames

    def of(self, fold: Fold, training: np.ndarray, seed: int) -> Pooled:
        """Return log(1 + n) of the counts, ``(clips, 1, 2 x WORDS)`` or ``(clips, 1, 1, 2 x WORDS)`` float32.

        See ``FoldFeatures``.
        """
        books = self.codebooks(training, seed)
        bags = []
        for row in range(len(self.clips)):
            parts = np.split(self.clips.of(row)[0], BOOKS, axis=1)
            bags.append(np.concatenate([book.counts(part) for book, part in zip(books, parts, strict=True)]))
        weighed = np.log1p(np.array(bags, dtype=np.float32))
        return weighed[:, None, None] if self.as_frames else weighed[:, None]

    def codebooks(self, training: np.ndarray, seed: int) -> list[Codebook]:
        """Return the codebooks of the clips in these rows, the only ones that are read; words are drawn by ``seed``."""
        standard = self.clips.standardised(training)
        moments = zip(*(np.split(part.numpy()[0, 0], BOOKS) for part in (standard.centre, standard.scale)), strict=True)
        return [
            Codebook(
                centre, scale, (np.split(self._drawn(training, seed, number), BOOKS, axis=1)[number] - centre) / scale
            )
            for number, (centre, scale) in enumerate(moments)
        ]

    def _drawn(self, training: np.ndarray, seed: int, number: int) -> np.ndarray:
        """Return frames ``(words, 2 x M)`` of some clips, drawn without replacement: every frame is equally likely."""
        ends = self.clips.counts[training].cumsum()
        random = generator(seed, Stream.WORDS, number)
        drawn = np.sort(random.choice(ends[-1], min(WORDS, ends[-1]), replace=False))
        clips = np.searchsorted(ends, drawn, side="right")
        words = []
        for clip in np.unique(clips):
            frames = self.clips.of(int(training[clip]))[0]
            words.append(frames[drawn[clips == clip] - ends[clip]])  # counted from the clip's end
        return np.concatenate(words)
