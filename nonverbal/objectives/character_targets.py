"""The characters of clips as targets.

Shapes: C clips, one per row; L characters of all clips of a micro-batch.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from nonverbal.batch import Rows, Targets
from nonverbal.data.batching.clip_rows import RowLimits
from nonverbal.data.batching.clips import ClipTargets
from nonverbal.data.index import SAMPLE_RATE
from nonverbal.data.transcripts import frames_needed
from nonverbal.errors import UserError
from nonverbal.objectives.class_targets import Masking


@dataclass
class CharacterTargets(Targets):
    """The characters of a micro-batch. Lengths stay on the host, where the loss needs them.

    Tensors: ``characters`` ``(L,)`` int64, concatenated over clips; ``frames`` ``(C,)`` int64; masks.
    """

    lengths: list[int]
    """Number of characters of each clip."""
    frames: list[int]
    """Number of frames of each row."""


class Shown(NamedTuple):
    """How clips are used in training."""

    frames: Callable[[np.ndarray], np.ndarray]
    """Returns numbers of frames for numbers of samples."""
    limits: RowLimits
    """Shortest and longest rows."""
    speeds: tuple[float, float]
    """Slowest and fastest speed at which clips are played, as factors."""


@dataclass(frozen=True)
class Characters(ClipTargets):
    """The text of each clip; the count of a micro-batch is its number of characters."""

    encoded: Sequence[np.ndarray]
    """The tokens of each clip of the task, ``(characters,)`` int64."""
    frames: Callable[[np.ndarray], np.ndarray]
    """Returns numbers of frames for numbers of samples."""
    masking: Masking | None = None

    def __call__(
        self, clips: np.ndarray, rows: Rows, clip: np.ndarray, random: np.random.Generator | None
    ) -> CharacterTargets:
        """Return the characters of ``clips``, each of which is one row, and in training the masks."""
        assert len(clip) == len(clips), "a text belongs to a whole clip, but a clip is divided into several windows"
        encoded = [self.encoded[place] for place in clips.tolist()]
        frames, lengths = self.frames(rows.lengths), [len(one) for one in encoded]
        tensors = {"characters": torch.from_numpy(np.concatenate(encoded)), "frames": torch.from_numpy(frames)}
        if random is not None and self.masking is not None:
            tensors |= self.masking.draw(rows.lengths, random)
        return CharacterTargets(sum(lengths), tensors, lengths, frames.tolist())


def check_lengths(clips: Sequence[str], encoded: Sequence[np.ndarray], samples: np.ndarray, shown: Shown) -> None:
    """Refuse clips that would be cropped, and clips that are too short for their texts.

    Args:
        clips: their ids.
        encoded: the tokens of each clip.
        samples: number of samples of each clip, ``(clips,)`` int64.
        shown: how clips are used in training.

    Raises:
        UserError: gives the number of such clips, the first of them, and the remedy.
    """
    longest, slowest = shown.limits.longest / SAMPLE_RATE, samples / shown.speeds[0] / SAMPLE_RATE
    if len(long := np.flatnonzero(slowest > longest)):
        name = "pad_to" if shown.limits.first else "max_seconds"
        raise UserError(
            f"{len(long)} of {len(clips)} clips are longer than the limit of {longest:g} s, but cannot be cropped, "
            f"because their texts are for whole clips; the first is {clips[long[0]]} with {slowest[long[0]]:.1f} s; "
            f"raise batches.{name} to {math.ceil(slowest.max())}, or prepare the corpus without them"
        )
    fastest = (samples / shown.speeds[1]).astype(np.int64)
    frames, needed = shown.frames(shown.limits.lengths(fastest)), np.array([frames_needed(one) for one in encoded])
    if len(short := np.flatnonzero(frames < needed)):
        first = short[0]
        raise UserError(
            f"{len(short)} of {len(clips)} clips are too short for their texts: CTC needs a frame for each character, "
            f"and one more between two that are the same; the first is {clips[first]} with {frames[first]} frames, but "
            f"its text needs {needed[first]}; correct the texts, or prepare the corpus without these clips"
        )
