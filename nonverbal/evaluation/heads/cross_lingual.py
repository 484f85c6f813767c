"""How the probes of "Large speech models for cross-lingual emotion" (CLiC-it 2024) are trained."""

from dataclasses import dataclass

from nonverbal.evaluation.heads.settings import NeuralSettings


@dataclass(frozen=True)
class CrossLingual(NeuralSettings):
    """What the linear, the non-linear and the multi-layer probe share."""

    width: int = 256
    """Number of values of each hidden layer: the 256 that the paper states for its linear probe."""
    rate: float = 5e-4
    """Learning rate, that of the paper."""
    batch: int = 32
    """Clips per step. The paper does not state it; 32 is the value of RENO, with corpora of the same size."""
    epochs: int = 30
    """Maximum number of epochs, that of the paper. The number that is used is chosen on the inner folds: the paper has
    a validation part, but does not say what is chosen on it."""
    patience: int = 30
    """Number of epochs without a higher UAR on the inner folds after which training stops: all, because the paper does
    not mention early stopping."""
    betas: tuple[float, float] = (0.9, 0.98)
    """Decay rates of the running means of the gradient and of its square, those of the paper."""
    weight_decay: float = 1e-4
    """Multiple of the weights that is added to their gradient, that of the paper."""
