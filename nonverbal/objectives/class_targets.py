"""The classes of clips as targets, with the weight of each clip, masks, and mixup.

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
"""Class weights are multiples of it, so that their sums are exact, and the same in any order."""

SHARES = 256
"""Shares of mixup are multiples of 1 / 256, so that sums of weights stay exact."""


@dataclass(frozen=True)
class Masking:
    """Spans of frames, and of values of frames, that are masked in training."""

    time: float
    """Share of a row's frames that its spans would cover if they did not overlap."""
    time_length: int
    """Number of frames in a span."""
    feature: float
    """Share of a frame's values that the row's spans would cover if they did not overlap."""
    feature_length: int
    """Number of values in a span."""
    width: int
    """M."""
    frames: Callable[[np.ndarray], np.ndarray]
    """Returns numbers of frames for numbers of samples."""

    def draw(self, lengths: np.ndarray, random: np.random.Generator) -> dict[str, Tensor]:
        """Return ``time_mask`` ``(N, S)`` and ``feature_mask`` ``(N, M)`` bool for rows of ``lengths`` samples."""
        masks = {}
        if self.time:
            masks["time_mask"] = loose_mask(self.frames(lengths), self.time, self.time_length, random)
        if self.feature:
            widths = np.full(len(lengths), self.width)
            masks["feature_mask"] = loose_mask(widths, self.feature, self.feature_length, random)
        return {name: torch.from_numpy(mask) for name, mask in masks.items()}


@dataclass(frozen=True)
class ClassTargets(ClipTargets):
    """The class and the weight of each clip."""

    labels: np.ndarray
    """``(clips,)`` int64, of all clips of the task."""
    weights: np.ndarray
    """``(classes,)`` float32, weight of the clips of each class."""
    masking: Masking | None = None
    mixup: float = 0.0
    """Both parameters of the beta distribution from which shares are drawn; 0: no mixup."""

    def __call__(self, clips: np.ndarray, rows: Rows, clip: np.ndarray, random: np.random.Generator | None) -> Targets:
        """Return ``labels`` ``(C,)`` int64 and ``weights`` ``(C,)`` float32, whose sum is the count.

        In training, where ``random`` is given and each row is a clip, also the result of ``Masking.draw``. With mixup,
        also ``partner`` ``(C,)`` int64, the row that is mixed into each; ``share`` ``(C,)`` float32, the share of the
        clip itself, at least a half; and the labels and weights of the partner, ``other_labels`` and ``other_weights``.
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
        """Draw a partner and a share for each clip.

        The clip itself gets the larger of the two shares. Because the partner is random, the only effect is that each
        clip has the larger share in exactly one mixture.
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
    """Return weights of clips by class, ``(classes,)`` float32, with which all classes have the same total weight.

    n / (k n_c) for n clips in k classes, n_c of them in class c, as with scikit-learn's ``balanced``, rounded to a
    multiple of 2**-16, at least one such unit.

    Args:
        labels: ``(n,)`` positions in ``classes`` of the training clips.
        classes: names of the classes.

    Raises:
        UserError: a class has no clips.
    """
    counts = np.bincount(labels, minlength=len(classes))
    if lacking := [repr(name) for name, count in zip(classes, counts, strict=True) if not count]:
        raise UserError(
            f"there are no training clips of {', '.join(lacking)}, so it cannot get a weight; leave the class out, use "
            "another division into folds, or set head.class_weights to none"
        )
    exact = len(labels) / (len(classes) * counts)
    return (np.maximum(np.round(exact / UNIT), 1) * UNIT).astype(np.float32)
