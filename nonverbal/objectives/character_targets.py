"""The characters of clips as targets.

Shapes: C clips, one a row; L characters of all clips of a micro-batch.
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

    Tensors: ``characters`` ``(L,)`` int64, clip after clip; ``frames`` ``(C,)`` int64; masks.
    """

    lengths: list[int]
    """Characters of each clip."""
    frames: list[int]
    """Frames of each row."""


class Shown(NamedTuple):
    """What becomes of clips in training."""

    frames: Callable[[np.ndarray], np.ndarray]
    """Samples of rows to their frames."""
    limits: RowLimits
    """What lengths rows may have."""
    speeds: tuple[float, float]
    """How many times as fast clips are played, at least and at most."""


@dataclass(frozen=True)
class Characters(ClipTargets):
    """What is said in each clip; the count of a micro-batch is that of its characters."""

    encoded: Sequence[np.ndarray]
    """Of each clip of the task its tokens, ``(characters,)`` int64."""
    frames: Callable[[np.ndarray], np.ndarray]
    """Samples of rows to their frames."""
    masking: Masking | None = None

    def __call__(
        self, clips: np.ndarray, rows: Rows, clip: np.ndarray, random: np.random.Generator | None
    ) -> CharacterTargets:
        """Return the characters of ``clips``, each of which is one row, and what is masked of them in training."""
        assert len(clip) == len(clips), "a text is that of a whole clip, but a clip is shown in several windows"
        encoded = [self.encoded[place] for place in clips.tolist()]
        frames, lengths = self.frames(rows.lengths), [len(one) for one in encoded]
        tensors = {"characters": torch.from_numpy(np.concatenate(encoded)), "frames": torch.from_numpy(frames)}
        if random is not None and self.masking is not None:
            tensors |= self.masking.draw(rows.lengths, random)
        return CharacterTargets(sum(lengths), tensors, lengths, frames.tolist())


def check_lengths(clips: Sequence[str], encoded: Sequence[np.ndarray], samples: np.ndarray, shown: Shown) -> None:
    """Refuse clips that are not shown whole, and texts that their clips are too short for.

    Args:
        clips: ids.
        encoded: of each the tokens that are said.
        samples: of each, ``(clips,)`` int64.
        shown: what becomes of clips in training.

    Raises:
        UserError: says how many there are, names the first, and what to do.
    """
    longest, slowest = shown.limits.longest / SAMPLE_RATE, samples / shown.speeds[0] / SAMPLE_RATE
    if len(long := np.flatnonzero(slowest > longest)):
        name = "pad_to" if shown.limits.first else "max_seconds"
        raise UserError(
            f"{len(long)} of {len(clips)} clips are longer than the {longest:g} s that are shown of one, and their "
            f"texts are of all that is said; the first is {clips[long[0]]}, of {slowest[long[0]]:.1f} s: raise "
            f"batches.{name} to {math.ceil(slowest.max())}, or prepare the corpus without them"
        )
    fastest = (samples / shown.speeds[1]).astype(np.int64)
    frames, needed = shown.frames(shown.limits.lengths(fastest)), np.array([frames_needed(one) for one in encoded])
    if len(short := np.flatnonzero(frames < needed)):
        first = short[0]
        raise UserError(
            f"{len(short)} of {len(clips)} clips are too short for their texts, by whose characters CTC needs a frame "
            f"each, and one more between two that are the same; the first is {clips[first]}, whose {frames[first]} "
            f"frames are fewer than the {needed[first]} that its text needs: correct the texts or prepare the corpus "
            "without these clips"
        )
