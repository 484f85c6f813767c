"""The settings of a run: its length and precision, and what is kept."""

from dataclasses import dataclass, field
from typing import Literal

from nonverbal.errors import UserError
from nonverbal.training.optimizer import OptimizerSettings
from nonverbal.training.watchdog import WatchdogSettings


@dataclass(frozen=True)
class TrainerSettings:
    """Length, precision, checkpoints and processes of a run."""

    steps: int = 400_000
    """Number of optimizer steps of the whole run."""
    stop_after: int | None = None
    """Step after which the run ends early; the learning rate still follows `steps`. Unset: after the last step."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """bf16 computes matrix products in bfloat16 (autocast); weights, optimizer and losses stay in float32. auto: bf16
    on a GPU or processor with units for it, otherwise fp32; the run's recipe.yaml records it, and the run keeps it."""
    validate_every: int = 5_000
    """Steps between validation passes. The best pass (pretraining: with the lowest loss) gives the best checkpoint."""
    patience: int | None = None
    """Number of validation passes without improvement after which the run ends. Unset: it runs to its last step."""
    checkpoint_every: int = 5_000
    """Steps between checkpoints."""
    keep_checkpoints: int = 2
    """Number of most recent checkpoints that are kept, besides the best."""
    log_every: int = 50
    """Steps between rows of metrics."""
    workers: int = 1
    """Number of processes that read audio ahead, for each training process."""
    processes: int | None = None
    """Number of training processes. Without another launcher, the command starts them; under one (torchrun, srun), any
    other number is refused. Unset: one, or as many as the launcher starts."""
    zero: Literal[0, 1, 2, 3] = 0
    """Stage of DeepSpeed's ZeRO: each process keeps only its part of the optimizer (1), also of the gradients (2), also
    of the weights (3). 0: each process keeps everything, which is fastest if it fits."""
    offload: bool = False
    """Keep what ZeRO partitions in main memory instead of GPU memory."""
    timeout_minutes: float = 10.0
    """Time that a process waits for another, or for a batch, before the run ends. The run can then be continued."""
    watchdog: WatchdogSettings = field(default_factory=WatchdogSettings)
    """What happens if the run stops learning."""
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    """AdamW and its learning rate."""

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        for name in ("steps", "validate_every", "checkpoint_every", "keep_checkpoints", "log_every"):
            if getattr(self, name) < 1:
                raise UserError(f"trainer.{name} must be at least 1, but is {getattr(self, name)}")
        if self.stop_after is not None and not 1 <= self.stop_after <= self.steps:
            raise UserError(f"trainer.stop_after must be 1 to {self.steps} (trainer.steps), but is {self.stop_after}")
        if self.processes is not None and self.processes < 1:
            raise UserError(f"trainer.processes must be at least 1, but is {self.processes}")
        if self.patience is not None and self.patience < 1:
            raise UserError(
                f"trainer.patience must be at least 1, but is {self.patience}; unset, the run never ends early"
            )
        if self.timeout_minutes <= 0:
            raise UserError(f"trainer.timeout_minutes must be above 0, but is {self.timeout_minutes}")
        if self.offload and not self.zero:
            raise UserError("trainer.offload moves what ZeRO partitions: set trainer.zero to 1, 2 or 3 as well")
        if self.workers < 0:
            raise UserError(f"trainer.workers must be at least 0, but is {self.workers}")

    @property
    def last(self) -> int:
        """The last step of the run, unless `patience` ends it earlier."""
        return self.steps if self.stop_after is None else self.stop_after


FREE_SETTINGS = {
    f"trainer.{name}"
    for name in (
        "patience",
        "stop_after",
        "checkpoint_every",
        "keep_checkpoints",
        "log_every",
        "workers",
        "processes",
        "zero",
        "offload",
        "timeout_minutes",
        "watchdog",
    )
}
"""Settings that may differ when a run is continued, because they do not change the weights after a step. With more
patience, a run that ended early continues."""
