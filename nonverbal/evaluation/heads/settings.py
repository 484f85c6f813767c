"""Settings that all neural heads have."""

from dataclasses import dataclass

from nonverbal.errors import UserError


@dataclass(frozen=True)
class NeuralSettings:
    """How a neural head is trained. Each head has its own defaults, and states which of them its paper gives."""

    rate: float = 1e-3
    """Learning rate of Adam."""
    batch: int = 32
    """Clips per step; the last step of an epoch takes the remaining clips."""
    epochs: int = 20
    """Maximum number of epochs. The number that is used is chosen on the inner folds."""
    patience: int = 5
    """Number of epochs without a higher UAR on the inner folds after which training stops."""
    dropout: float = 0.0
    """Share of hidden values that each step sets to zero."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay rates of the running means of the gradient and of its square."""
    eps: float = 1e-8
    """Added to the root of the mean squared gradient."""
    weight_decay: float = 0.0
    """Multiple of the weights that is added to their gradient, as in PyTorch's Adam."""
    weigh_classes: bool = False
    """Whether all classes have equal weight in the loss, however many clips they have."""
    warmup_steps: int = 0
    """Steps of linear warm-up from 0 to `rate`."""
    decay: bool = False
    """Whether the rate decays linearly to 0 after the warm-up, over the rest of `epochs`."""

    def __post_init__(self) -> None:
        """Refuse settings that no training can have."""
        for name in ("batch", "epochs", "patience"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} of a head must be at least 1, but is {getattr(self, name)}")
        if not (self.rate > 0 and self.eps > 0 and self.weight_decay >= 0 and self.warmup_steps >= 0):
            raise UserError(
                "a head needs a rate and eps above 0, and weight_decay and warmup_steps of at least 0, but has "
                f"{self.rate}, {self.eps}, {self.weight_decay} and {self.warmup_steps}"
            )
        if not (0 <= self.dropout < 1 and all(0 <= beta < 1 for beta in self.betas)):
            raise UserError(
                f"dropout and betas of a head must be at least 0 and below 1, but are {self.dropout} and {self.betas}"
            )

    def rate_of(self, step: int, steps: int) -> float:
        """Return the learning rate of step ``step`` (from 0) in a training run of ``steps`` steps."""
        if step < self.warmup_steps:
            return self.rate * (step + 1) / self.warmup_steps
        if not self.decay:
            return self.rate
        return self.rate * (steps - step) / max(steps - self.warmup_steps, 1)
