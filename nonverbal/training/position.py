"""How far a run has come."""

from dataclasses import dataclass
from typing import Any


@dataclass
class Position:
    """The state of a run besides weights and moments. There is no random state: randomness depends on the step."""

    step: int = 0
    """Number of completed steps."""
    epoch: int = 0
    batch: int = 0
    """The run continues with micro-batch ``batch`` of epoch ``epoch``."""
    updates: int = 0
    """Number of steps whose gradient was applied, which are all but the skipped ones."""
    skipped_in_a_row: int = 0
    """Number of steps since the last update that were skipped because a loss or gradient was not finite."""
    best_step: int | None = None
    best_value: float | None = None
    """The best validation value so far of the metric that the objective names, and its step."""
    without_improvement: int = 0
    """Number of validation passes since the last improvement."""

    @classmethod
    def of(cls, kept: dict[str, Any]) -> "Position":
        """Return the position in a checkpoint's ``state.json``.

        Raises:
            TypeError: it has unknown fields.
        """
        # Older checkpoints may call it best_loss.
        return cls(**{"best_value" if name == "best_loss" else name: value for name, value in kept.items()})

    def judge(self, improved: bool, value: float) -> None:
        """Record a validation pass at the current step."""
        self.without_improvement = 0 if improved else self.without_improvement + 1
        if improved:
            self.best_step, self.best_value = self.step, value
