"""The characters of clips as targets.

Shapes: C clips, one a row; L characters of all clips of a micro-batch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from nonverbal.batch import Rows, Targets
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


class Lengths(NamedTuple):
    """What clips may be as long as."""

    frames: np.ndarray
    """``(clips,)`` of each."""
    longest: float
    """Seconds that are shown at once."""


def check_lengths(clips: Sequence[str], encoded: Sequence[np.ndarray], samples: np.ndarray, lengths: Lengths) -> None:
    """Refuse clips that are not shown whole, and texts that their clips are too short for.

    Args:
        clips: ids.
        encoded: of each the tokens that are said.
        samples: of each, ``(clips,)``.
        lengths: of each the frames, and how many seconds are shown.

    Raises:
        UserError: says how many there are, names the first, and what to do.
    """
    if len(long := np.flatnonzero(samples > lengths.longest * SAMPLE_RATE)):
        raise UserError(
            f"{len(long)} of {len(clips)} clips are longer than the {lengths.longest:g} s that are shown of one, and "
            f"their texts are of all that is said; the first is {clips[long[0]]}, of "
            f"{samples[long[0]] / SAMPLE_RATE:.1f} s: raise batches.max_seconds above "
            f"{samples.max() / SAMPLE_RATE:.1f}, or prepare the corpus without them"
        )
    needed = np.array([frames_needed(one) for one in encoded])
    if len(short := np.flatnonzero(lengths.frames < needed)):
        first = short[0]
        raise UserError(
            f"{len(short)} of {len(clips)} clips are too short for their texts, by whose characters CTC needs a frame "
            f"each, and one more between two that are the same; the first is {clips[first]}, whose "
            f"{lengths.frames[first]} frames are fewer than the {needed[first]} that its text needs: correct the texts "
            "or prepare the corpus without these clips"
        )
