"""RENO's convolutional head (2025): convolutions over the values of the last layer's mean over frames."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor, nn
from torch.nn.functional import adaptive_max_pool1d, max_pool1d, relu

from nonverbal.evaluation.heads.fcn import WIDTHS, Dense
from nonverbal.evaluation.heads.layers import standardised_by
from nonverbal.evaluation.heads.reno import RenoHead
from nonverbal.evaluation.heads.training import Network

FILTERS = (32, 64)
KERNEL = 3


class ConvolutionalBlock(nn.Module):
    """RENO's two convolutions over the values of an encoder, with ReLU and max-pool after each."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = length
        self.first = nn.Conv1d(1, FILTERS[0], KERNEL, padding="same")
        self.second = nn.Conv1d(*FILTERS, KERNEL, padding="same")

    def forward(self, values: Tensor) -> Tensor:
        """Return ``(clips, 64, length)`` of values ``(clips, dim)``, at least 2 of each clip."""
        # The maximum of what ReLU leaves is what ReLU leaves of the maximum, and ReLU of half the values is quicker.
        values = relu(max_pool1d(self.first(values[:, None]), 2))  # (clips, 32, dim / 2)
        return relu(adaptive_max_pool1d(self.second(values), self.length))


class CnnNetwork(Network):
    """The convolutional block, then RENO's dense layers."""

    dropped = WIDTHS

    def __init__(self, training: Tensor, length: int, classes: int) -> None:
        super().__init__()
        self.standardised = standardised_by(training)
        self.block = ConvolutionalBlock(length)
        self.dense = Dense(FILTERS[1] * length, classes)

    def forward(self, inputs: tuple[Tensor, ...], kept: Sequence[Tensor] | None) -> Tensor:
        """Return logits ``(clips, classes)`` of features ``(clips, dim)``."""
        logits: Tensor = self.dense(self.block(self.standardised(inputs[0])).flatten(1), kept)
        return logits


@dataclass(frozen=True)
class Cnn(RenoHead):
    """RENO's CNN."""

    stated: ClassVar[str] = "0.9 to 1.1 M"

    length: int = 28
    """Positions that the second max-pool leaves, whatever the encoder's width; the first halves. The paper states two
    max-pools and not their sizes: pools of 2 would give 6 to 31 M parameters, and 28 positions give 1 M, as it states
    for encoders of 768 to 3840 values."""

    def network(self, features: Tensor, rows: np.ndarray, classes: int) -> CnnNetwork:
        """Return a new network."""
        return CnnNetwork(features[rows], self.length, classes)
