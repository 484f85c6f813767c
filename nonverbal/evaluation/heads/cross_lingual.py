"""How the probes of "Large speech models for cross-lingual emotion" (CLiC-it 2024) are trained."""

from dataclasses import dataclass

from nonverbal.evaluation.heads.settings import NeuralSettings


@dataclass(frozen=True)
class CrossLingual(NeuralSettings):
    """What the linear, the non-linear and the multi-layer probe have in common."""

    width: int = 256
    """Values of each hidden layer: the 256 that the paper states for its linear probe."""
    rate: float = 5e-4
    """Learning rate, the paper's."""
    batch: int = 32
    """Clips a step. The paper does not state them; 32 is what RENO, with corpora of the same size, takes."""
    epochs: int = 30
    """The most epochs, the paper's. How many are taken is chosen between the inner folds: the paper has a validation
    part, and does not say what it chooses."""
    patience: int = 30
    """Epochs without a higher UAR on the inner folds after which no more are tried: all are, since the paper does not
    speak of stopping early."""
    betas: tuple[float, float] = (0.9, 0.98)
    """Decay of the running mean of the gradient and of its square, the paper's."""
    weight_decay: float = 1e-4
    """Adds so much of the weights to their gradient, the paper's."""
