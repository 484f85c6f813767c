"""How RENO (2025) trains: the settings that its FCN and its CNN share."""

from dataclasses import dataclass

from nonverbal.evaluation.heads.layers import MeanHead


@dataclass(frozen=True)
class RenoHead(MeanHead):
    """Settings of RENO's training."""

    rate: float = 1e-3
    """Learning rate, that of the paper."""
    batch: int = 32
    """Clips per step, as in the paper."""
    epochs: int = 20
    """Maximum number of epochs, that of the paper. The number that is used is chosen on the inner folds: the paper
    stops early, but has no validation part."""
    patience: int = 5
    """Number of epochs without a higher UAR on the inner folds after which training stops. The paper does not state it;
    voc2vec uses 5."""
    dropout: float = 0.3
    """Share of the values of each dense layer that each step sets to zero. The paper has dropout but does not state the
    share; 0.3 lies between the 0.1 of encoders and the 0.5 that is usual for dense layers."""
