"""RENO's fully connected head (2025): dense layers on the mean over frames of the last layer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor, nn
from torch.nn.functional import relu

from nonverbal.evaluation.heads.layers import dropped, standardised_by
from nonverbal.evaluation.heads.reno import RenoHead
from nonverbal.evaluation.heads.training import Network

WIDTHS = (512, 128)
"""Numbers of hidden values of the dense layers in both of RENO's heads."""


class Dense(nn.Module):
    """RENO's dense layers: 512 values, 128, classes, with ReLU and dropout in between."""

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        self.first = nn.Linear(dim, WIDTHS[0])
        self.second = nn.Linear(*WIDTHS)
        self.output = nn.Linear(WIDTHS[1], classes)

    def forward(self, values: Tensor, kept: Sequence[Tensor] | None) -> Tensor:
        """Return logits ``(clips, classes)`` for values ``(clips, dim)``."""
        hidden = dropped(relu(self.first(values)), kept, 0)
        hidden = dropped(relu(self.second(hidden)), kept, 1)
        logits: Tensor = self.output(hidden)
        return logits


class FcnNetwork(Network):
    """Only the dense layers."""

    dropped = WIDTHS

    def __init__(self, training: Tensor, classes: int) -> None:
        super().__init__()
        self.standardised = standardised_by(training)
        self.dense = Dense(training.shape[1], classes)

    def forward(self, inputs: tuple[Tensor, ...], kept: Sequence[Tensor] | None) -> Tensor:
        """Return logits ``(clips, classes)`` for features ``(clips, dim)``."""
        logits: Tensor = self.dense(self.standardised(inputs[0]), kept)
        return logits


@dataclass(frozen=True)
class Fcn(RenoHead):
    """RENO's FCN. Its stated size is that for an encoder with about 1300 values; 768 values give half of it."""

    stated: ClassVar[str] = "0.7 to 1 M"

    def network(self, features: Tensor, rows: np.ndarray, classes: int) -> FcnNetwork:
        """Return a new network."""
        return FcnNetwork(features[rows], classes)
