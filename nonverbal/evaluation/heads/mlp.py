"""Two linear layers with ReLU, which voc2vec (ICASSP 2025) uses on features of openSMILE and emotion2vec."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn
from torch.nn.functional import relu

from nonverbal.evaluation.heads.layers import MeanHead, dropped, standardised_by
from nonverbal.evaluation.heads.training import Network


class MlpNetwork(Network):
    """``dim`` values, ``width`` hidden values, classes."""

    def __init__(self, training: Tensor, width: int, classes: int) -> None:
        super().__init__()
        self.dropped = [width]
        self.standardised = standardised_by(training)
        self.hidden = nn.Linear(training.shape[1], width)
        self.output = nn.Linear(width, classes)

    def forward(self, inputs: tuple[Tensor, ...], kept: Sequence[Tensor] | None) -> Tensor:
        """Return logits ``(clips, classes)`` for features ``(clips, dim)``."""
        hidden = relu(self.hidden(self.standardised(inputs[0])))
        logits: Tensor = self.output(dropped(hidden, kept, 0))
        return logits


@dataclass(frozen=True)
class Mlp(MeanHead):
    """voc2vec's two layers, trained like its fine-tuning: class-weighted cross entropy (as in its code), Adam."""

    width: int = 256
    """Number of hidden values. The paper does not state it; this is the width of the cross-lingual paper's probes."""
    rate: float = 1e-4
    """Learning rate after the warm-up, that of the paper."""
    batch: int = 16
    """Clips per step, as in the paper."""
    epochs: int = 50
    """Maximum number of epochs, that of the paper. The number that is used is chosen on the inner folds."""
    patience: int = 5
    """Number of epochs without a higher UAR on the inner folds after which training stops. The number is that of the
    paper, whose code uses macro F1 on the fold that it reports."""
    dropout: float = 0.0
    """Share of hidden values that each step sets to zero. The paper mentions no dropout."""
    weigh_classes: bool = True
    """All classes have equal weight in the loss, as in the paper's code."""
    warmup_steps: int = 500
    """Steps of linear warm-up from 0 to `rate`, as in the paper."""
    decay: bool = True
    """The rate decays linearly to 0 after the warm-up, over the rest of `epochs`, as in the paper."""

    def network(self, features: Tensor, rows: np.ndarray, classes: int) -> MlpNetwork:
        """Return a new network."""
        return MlpNetwork(features[rows], self.width, classes)
