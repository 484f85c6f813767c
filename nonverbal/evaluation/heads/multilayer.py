"""The multi-layer probe of "Large speech models for cross-lingual emotion" (CLiC-it 2024)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nonverbal.evaluation.heads.base import Frames
from nonverbal.evaluation.heads.frames import FrameClips
from nonverbal.evaluation.heads.nonlinear import Nonlinear, NonlinearNetwork
from nonverbal.evaluation.heads.training import Network


class MultilayerNetwork(NonlinearNetwork):
    """Weights of layers, in [0, 1] with sum 1, and the layers of the non-linear probe on the weighted sum."""

    def __init__(self, clips: FrameClips, rows: np.ndarray, width: int, classes: int) -> None:
        super().__init__(clips, rows, width, classes)
        self.balance = nn.Parameter(torch.zeros(len(self.standardised.centre)))

    def forward(self, inputs: tuple[Tensor, ...], kept: Sequence[Tensor] | None) -> Tensor:
        """Return logits for frames ``(clips, layers, frames, dim)`` and their numbers ``(clips,)``."""
        frames, lengths = inputs
        summed = torch.einsum("l,nltd->ntd", self.balance.softmax(dim=0), self.standardised(frames))
        logits: Tensor = self.layers(summed, lengths, kept)
        return logits

    def details(self) -> dict[str, Any]:
        """Return the weights of the layers, from the output of the first transformer block to that of the last."""
        return {"layer_weights": self.balance.detach().softmax(dim=0).tolist()}


@dataclass(frozen=True)
class Multilayer(Nonlinear):
    """The paper's multi-layer probe: the non-linear probe on a weighted sum of all transformer layers.

    The weights are learned. They are equal at first, and the layers are standardised before they are summed; the paper
    states neither. The input of the first layer is not included, unless the encoder has only one layer.
    """

    def layers(self, frames: Frames) -> slice:
        """Return all but the input of the first block."""
        return slice(1 if len(frames[0]) > 1 else 0, None)

    def network(self, features: FrameClips, rows: np.ndarray, classes: int) -> Network:
        """Return a new network."""
        return MultilayerNetwork(features, rows, self.width, classes)
