"""The linear probe of "Large speech models for cross-lingual emotion" (CLiC-it 2024)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from nonverbal.evaluation.heads.cross_lingual import CrossLingual
from nonverbal.evaluation.heads.layers import MeanHead, standardised_by
from nonverbal.evaluation.heads.training import Network


class LinearNetwork(Network):
    """A linear layer to ``width`` values, and a linear layer to the classes."""

    def __init__(self, training: Tensor, width: int, classes: int) -> None:
        super().__init__()
        self.standardised = standardised_by(training)
        self.shared = nn.Linear(training.shape[1], width)
        self.output = nn.Linear(width, classes)

    def forward(self, inputs: tuple[Tensor, ...], kept: Sequence[Tensor] | None) -> Tensor:
        """Return logits ``(clips, classes)`` for means over frames, ``(clips, dim)``."""
        logits: Tensor = self.output(self.shared(self.standardised(inputs[0])))
        return logits


@dataclass(frozen=True)
class Linear(CrossLingual, MeanHead):
    """The paper's linear probe of the last layer: a linear layer on each frame, the mean over frames, a linear layer.

    The mean of linear functions of frames is the linear function of their mean, so reading means over frames gives the
    same result. The classifier is linear; it differs from ``logistic`` in the optimizer and the number of epochs.
    """

    def network(self, features: Tensor, rows: np.ndarray, classes: int) -> LinearNetwork:
        """Return a new network."""
        return LinearNetwork(features[rows], self.width, classes)
