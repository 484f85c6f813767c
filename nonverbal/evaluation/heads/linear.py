"""The linear probe of "Large speech models for cross-lingual emotion" (CLiC-it 2024)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from nonverbal.evaluation.heads.layers import MeanHead, standardised_by
from nonverbal.evaluation.heads.training import Network


class LinearNetwork(Network):
    """A linear layer to ``width`` values, and a linear layer to classes."""

    def __init__(self, training: Tensor, width: int, classes: int) -> None:
        super().__init__()
        self.standardised = standardised_by(training)
        self.shared = nn.Linear(training.shape[1], width)
        self.output = nn.Linear(width, classes)

    def forward(self, inputs: tuple[Tensor, ...], kept: Sequence[Tensor] | None) -> Tensor:
        """Return logits ``(clips, classes)`` of means over frames, ``(clips, dim)``."""
        logits: Tensor = self.output(self.shared(self.standardised(inputs[0])))
        return logits


@dataclass(frozen=True)
class Linear(MeanHead):
    """The paper's linear probe of the last layer: on each frame a linear layer, the mean over frames, a linear layer.

    The mean of linear functions of frames is the linear function of their mean, so that this reads means over frames
    and is the same. The decisions are those that a straight line could make; the optimiser and the number of epochs
    tell it from ``logistic``.
    """

    width: int = 256
    """Values after the first layer, the paper's."""
    rate: float = 5e-4
    """Learning rate, the paper's."""
    batch: int = 32
    """Clips a step. The paper does not state them; 32 is what RENO, with corpora of the same size, takes."""
    epochs: int = 30
    """The most epochs, the paper's. How many are taken is chosen between the inner folds: the paper has a validation
    part, and does not say what it chooses."""
    patience: int = 30
    """Epochs without a higher UAR on the inner folds after which no more are tried: all are, since the paper does not
    speak of stopping early."""
    betas: tuple[float, float] = (0.9, 0.98)
    """Decay of the running mean of the gradient and of its square, the paper's."""
    weight_decay: float = 1e-4
    """Adds so much of the weights to their gradient, the paper's."""

    def network(self, features: Tensor, rows: np.ndarray, classes: int) -> LinearNetwork:
        """Return a new network."""
        return LinearNetwork(features[rows], self.width, classes)
