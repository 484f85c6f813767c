"""Where a run stands."""

from dataclasses import dataclass
from typing import Any


@dataclass
class Position:
    """Where a run stands, besides its weights. There is no random state: randomness is a function of the step."""

    step: int = 0
    """Steps done."""
    epoch: int = 0
    batch: int = 0
    """The stream of micro-batches goes on at micro-batch ``batch`` of epoch ``epoch``."""
    updates: int = 0
    """Steps whose gradient was applied: all but the skipped ones."""
    skipped_in_a_row: int = 0
    """Steps skipped since the last update, because a loss or gradient was not finite."""
    best_step: int | None = None
    best_value: float | None = None
    """The best value of a validation pass so far, of the metric that the objective names, and its step."""
    without_improvement: int = 0
    """Validation passes in a row, up to the last, that were no better than the best."""

    @classmethod
    def of(cls, kept: dict[str, Any]) -> "Position":
        """Return the position that a checkpoint keeps.

        Raises:
            TypeError: it has fields that no position has.
        """
        # state.json of an older checkpoint may call it best_loss.
        return cls(**{"best_value" if name == "best_loss" else name: value for name, value in kept.items()})

    def judge(self, improved: bool, value: float) -> None:
        """Take note of a validation pass at the present step."""
        self.without_improvement = 0 if improved else self.without_improvement + 1
        if improved:
            self.best_step, self.best_value = self.step, value
