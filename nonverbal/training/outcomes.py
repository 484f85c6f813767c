"""The outcome of each step: applied or skipped. It is read from the device when the host need not wait for it."""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nonverbal.batch import Loss
from nonverbal.errors import UserError
from nonverbal.training.log import Log
from nonverbal.training.optimizer import OptimizerSettings
from nonverbal.training.position import Position
from nonverbal.training.progress import Reporter

MAX_SKIPPED = 10
"""Number of steps in a row with a gradient that is not finite, after which a run stops."""


class Sent:
    """A scalar that is being copied from its device to the host."""

    def __init__(self, value: Tensor) -> None:
        # From a GPU, this copies to page-locked memory without waiting.
        self.host = value.detach().to("cpu", non_blocking=True)
        self.arrived = torch.cuda.Event() if value.is_cuda else None  # type: ignore[no-untyped-call]
        if self.arrived is not None:
            self.arrived.record()  # type: ignore[no-untyped-call]

    def read(self) -> float:
        """Return the value. This waits for everything that was queued on the device before it, but nothing after it."""
        if self.arrived is not None:
            self.arrived.synchronize()
        return float(self.host)


@dataclass(frozen=True)
class _Taken:
    step: int
    losses: Sequence[Loss]
    rate: float
    norm: Sent


class Outcomes:
    """Counts the steps that were applied and those that were skipped, and stops a run that skips every step.

    A GPU works on a step while the host queues the next one, so an outcome is read one step late. Before a row of
    metrics, a checkpoint, or the end, all remaining outcomes are read.
    """

    def __init__(self, position: Position, log: Log, report: Reporter, settings: OptimizerSettings) -> None:
        self.position, self.log, self.report, self.settings = position, log, report, settings
        self.taken: deque[_Taken] = deque()

    def add(self, step: int, losses: Sequence[Loss], rate: float, norm: Tensor) -> None:
        """Add a step: its losses without their graph, its learning rate, and the norm of its gradient."""
        self.taken.append(_Taken(step, losses, rate, Sent(norm)))

    def read(self, late: int) -> None:
        """Read all outcomes except the last ``late``.

        Raises:
            UserError: ten steps in a row were not finite.
        """
        while len(self.taken) > late:
            taken = self.taken.popleft()
            norm = taken.norm.read()
            if math.isfinite(norm):
                self.position.updates += 1
                self.position.skipped_in_a_row = 0
                self.log.add(taken.losses, lr=taken.rate, grad_norm=norm)
            else:
                self._skip(taken)

    def _skip(self, taken: _Taken) -> None:
        self.position.skipped_in_a_row += 1
        bad = "a gradient (but no loss)" if all(torch.isfinite(loss.sum) for loss in taken.losses) else "a loss"
        self.report.say(f"step {taken.step + 1} skipped: {bad} is not finite", style="yellow")
        if self.position.skipped_in_a_row >= MAX_SKIPPED:
            raise UserError(
                f"stopped at step {taken.step + 1}: {MAX_SKIPPED} steps in a row had a loss or gradient that is not "
                f"finite; usual causes: a learning rate that is too high (peak {self.settings.lr:g}), a warm-up that "
                f"is too short ({self.settings.warmup_steps} steps), or a temperature of the objective that is too "
                "low; the checkpoints before these steps are kept"
            )
