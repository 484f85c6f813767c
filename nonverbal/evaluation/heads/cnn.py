"""RENO's convolutional head (2025): convolutions over the values of the last layer's mean over frames."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor

from nonverbal.evaluation.heads.convolution import FILTERS, ConvolutionalBlock
from nonverbal.evaluation.heads.fcn import WIDTHS, Dense
from nonverbal.evaluation.heads.layers import standardised_by
from nonverbal.evaluation.heads.reno import RenoHead
from nonverbal.evaluation.heads.training import Network


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
    """Number of positions after the second max-pool, whatever the encoder's width; the first halves the length. The
    paper states two max-pools, but not their sizes: pools of 2 would give 6 to 31 M parameters; 28 positions give 1 M,
    which the paper states for encoders of 768 to 3840 values."""

    def network(self, features: Tensor, rows: np.ndarray, classes: int) -> CnnNetwork:
        """Return a new network."""
        return CnnNetwork(features[rows], self.length, classes)
