"""The classes of clips as targets: how much each clip counts, what of it is masked, and what is mixed into it.

Shapes: C clips, N rows, S frames, M values of a frame.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nonverbal.batch import Rows, Targets
from nonverbal.data.batching.clips import ClipTargets
from nonverbal.errors import UserError
from nonverbal.objectives.masking import loose_mask

UNIT = 2.0**-16
"""Weights of classes are multiples of it, so that their sums are exact, and the same in any order."""

SHARES = 256
"""Shares of clips that are mixed are multiples of 1 / 256, so that the sums of their weights are exact too."""


@dataclass(frozen=True)
class Masking:
    """Spans of frames, and of their values, that are hidden in training."""

    time: float
    """Share of a row's frames that its spans would cover if they did not overlap."""
    time_length: int
    """Frames in a span."""
    feature: float
    """Share of a frame's values that the row's spans would cover if they did not overlap."""
    feature_length: int
    """Values in a span."""
    width: int
    """M."""
    frames: Callable[[np.ndarray], np.ndarray]
    """Samples of rows to their frames."""

    def draw(self, lengths: np.ndarray, random: np.random.Generator) -> dict[str, Tensor]:
        """Return ``time_mask`` ``(N, S)`` and ``feature_mask`` ``(N, M)`` bool, of rows of ``lengths`` samples."""
        masks = {}
        if self.time:
            masks["time_mask"] = loose_mask(self.frames(lengths), self.time, self.time_length, random)
        if self.feature:
            widths = np.full(len(lengths), self.width)
            masks["feature_mask"] = loose_mask(widths, self.feature, self.feature_length, random)
        return {name: torch.from_numpy(mask) for name, mask in masks.items()}


@dataclass(frozen=True)
class ClassTargets(ClipTargets):
    """The class of each clip, and how much it counts."""

    labels: np.ndarray
    """``(clips,)`` int64, of all clips of the task."""
    weights: np.ndarray
    """``(classes,)`` float32, how much a clip of each class counts."""
    masking: Masking | None = None
    mixup: float = 0.0
    """Both parameters of the beta distribution that shares are drawn from; 0 mixes nothing."""

    def __call__(self, clips: np.ndarray, rows: Rows, clip: np.ndarray, random: np.random.Generator | None) -> Targets:
        """Return ``labels`` ``(C,)`` int64 and ``weights`` ``(C,)`` float32, whose sum is the count.

        In training, where there is a source of randomness and each row is a clip, also what ``Masking.draw`` gives, and
        where clips are mixed ``partner`` ``(C,)`` int64, the row that is mixed into each; ``share`` ``(C,)`` float32,
        the clip's own, at least a half; and ``other_labels`` and ``other_weights``, those of the partner.
        """
        labels = self.labels[clips]
        arrays = {"labels": labels, "weights": self.weights[labels]}
        masks: dict[str, Tensor] = {}
        if random is not None:
            lengths = rows.lengths
            if self.mixup:
                arrays |= self._mixed(labels, random)
                lengths = np.maximum(lengths, lengths[arrays["partner"]])
            masks = self.masking.draw(lengths, random) if self.masking else {}
        counted = [value for name, value in arrays.items() if name.endswith("weights")]
        tensors = {name: torch.from_numpy(value) for name, value in arrays.items()}
        return Targets(sum(float(value.sum(dtype=np.float64)) for value in counted), tensors | masks)

    def _mixed(self, labels: np.ndarray, random: np.random.Generator) -> dict[str, np.ndarray]:
        """Draw a partner and a share of each clip.

        As the partner is drawn too, taking the larger of both shares for the clip's own changes nothing but that each
        clip is the larger one of one mixture.
        """
        partner = random.permutation(len(labels))
        drawn = random.beta(self.mixup, self.mixup, len(labels))
        share = (np.round(np.maximum(drawn, 1 - drawn) * SHARES) / SHARES).astype(np.float32)
        other = labels[partner]
        return {
            "weights": share * self.weights[labels],
            "partner": partner,
            "share": share,
            "other_labels": other,
            "other_weights": (1 - share) * self.weights[other],
        }


def class_weights(labels: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Return how much a clip of each class counts for all classes to count alike, ``(classes,)`` float32.

    n / (k n_c) of n clips, n_c of class c, in k classes, as scikit-learn's ``balanced``, to the next multiple of
    2**-16, at least one.

    Args:
        labels: ``(n,)`` positions in ``classes``, of the clips that are fitted.
        classes: names of the classes.

    Raises:
        UserError: a class has no clips.
    """
    counts = np.bincount(labels, minlength=len(classes))
    if lacking := [repr(name) for name, count in zip(classes, counts, strict=True) if not count]:
        raise UserError(
            f"there are no clips of {', '.join(lacking)} to train on, so it cannot be weighed; leave the class "
            "out, divide otherwise, or set head.class_weights to none"
        )
    exact = len(labels) / (len(classes) * counts)
    return (np.maximum(np.round(exact / UNIT), 1) * UNIT).astype(np.float32)
