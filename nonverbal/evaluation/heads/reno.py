"""How RENO (2025) trains: the settings that its FCN and its CNN have in common."""

from dataclasses import dataclass

from nonverbal.evaluation.heads.layers import MeanHead


@dataclass(frozen=True)
class RenoHead(MeanHead):
    """Settings of RENO's training."""

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
