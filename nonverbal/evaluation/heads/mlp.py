"""Two linear layers with ReLU, as voc2vec (ICASSP 2025) puts them on openSMILE's and emotion2vec's features."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn
from torch.nn.functional import relu

from nonverbal.evaluation.heads.layers import MeanHead, dropped, standardised_by
from nonverbal.evaluation.heads.training import Network


class MlpNetwork(Network):
    """``dim`` values, ``width`` hidden ones, classes."""

    def __init__(self, training: Tensor, width: int, classes: int) -> None:
        super().__init__()
        self.dropped = [width]
        self.standardised = standardised_by(training)
        self.hidden = nn.Linear(training.shape[1], width)
        self.output = nn.Linear(width, classes)

    def forward(self, inputs: tuple[Tensor, ...], kept: Sequence[Tensor] | None) -> Tensor:
        """Return logits ``(clips, classes)`` of features ``(clips, dim)``."""
        hidden = relu(self.hidden(self.standardised(inputs[0])))
        logits: Tensor = self.output(dropped(hidden, kept, 0))
        return logits


@dataclass(frozen=True)
class Mlp(MeanHead):
    """voc2vec's two layers, trained as it fine-tunes: class-weighted cross entropy (its code's), Adam."""

    width: int = 256
    """Hidden values. The paper does not state them; this is the width of the cross-lingual paper's probes."""
    rate: float = 1e-4
    """Learning rate after the warm-up, the paper's."""
    batch: int = 16
    """Clips a step, the paper's."""
    epochs: int = 50
    """The most epochs, the paper's. How many are taken is chosen between the inner folds."""
    patience: int = 5
    """Epochs without a higher UAR on the inner folds after which no more are tried. The number is the paper's, whose
    code watches macro F1 of the fold that it reports."""
    dropout: float = 0.0
    """Share of hidden values that a step sets to zero. The paper mentions none."""
    weigh_classes: bool = True
    """All classes weigh alike in the loss, as in the paper's code."""
    warmup_steps: int = 500
    """Steps of linear warm-up from 0 to `rate`, the paper's."""
    decay: bool = True
    """The rate decays linearly to 0 after the warm-up, over the rest of `epochs`, as in the paper."""

    def network(self, features: Tensor, rows: np.ndarray, classes: int) -> MlpNetwork:
        """Return a new network."""
        return MlpNetwork(features[rows], self.width, classes)
