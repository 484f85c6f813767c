"""RENO's convolutional head (2025): convolutions over the values of the last layer's mean over frames."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor, nn
from torch.nn.functional import adaptive_max_pool1d, max_pool1d, relu

from nonverbal.evaluation.heads.fcn import WIDTHS, Dense
from nonverbal.evaluation.heads.layers import MeanHead, standardised_by
from nonverbal.evaluation.heads.training import Network

FILTERS = (32, 64)
KERNEL = 3


class CnnNetwork(Network):
    """Two blocks of convolution, ReLU and max-pool, then RENO's dense layers."""

    dropped = WIDTHS

    def __init__(self, training: Tensor, length: int, classes: int) -> None:
        super().__init__()
        self.length = length
        self.standardised = standardised_by(training)
        self.first = nn.Conv1d(1, FILTERS[0], KERNEL, padding="same")
        self.second = nn.Conv1d(*FILTERS, KERNEL, padding="same")
        self.dense = Dense(FILTERS[1] * length, classes)

    def forward(self, inputs: tuple[Tensor, ...], kept: Sequence[Tensor] | None) -> Tensor:
        """Return logits ``(clips, classes)`` of features ``(clips, dim)``."""
        values = self.standardised(inputs[0])[:, None]  # (clips, dim) -> (clips, 1, dim)
        values = max_pool1d(relu(self.first(values)), 2)  # (clips, 32, dim / 2)
        values = adaptive_max_pool1d(relu(self.second(values)), self.length)  # (clips, 64, length)
        logits: Tensor = self.dense(values.flatten(1), kept)
        return logits


@dataclass(frozen=True)
class Cnn(MeanHead):
    """RENO's CNN."""

    stated: ClassVar[str] = "0.9 to 1.1 M"

    length: int = 28
    """Positions that the second max-pool leaves, whatever the encoder's width; the first halves. The paper states two
    max-pools and not their sizes: pools of 2 would give 6 to 31 M parameters, and 28 positions give 1 M, as it states
    for encoders of 768 to 3840 values."""
    rate: float = 1e-3
    """Learning rate, the paper's."""
    batch: int = 32
    """Clips a step, the paper's."""
    epochs: int = 20
    """The most epochs, the paper's. How many are taken is chosen between the inner folds: the paper stops early and
    has no validation part."""
    patience: int = 5
    """Epochs without a higher UAR on the inner folds after which no more are tried. The paper does not state them;
    voc2vec's are 5."""
    dropout: float = 0.3
    """Share of the values of each dense layer that a step sets to zero. The paper has dropout and does not state the
    share; 0.3 lies between the 0.1 of encoders and the 0.5 that is usual for dense layers."""

    def network(self, features: Tensor, rows: np.ndarray, classes: int) -> CnnNetwork:
        """Return a new network."""
        return CnnNetwork(features[rows], self.length, classes)
