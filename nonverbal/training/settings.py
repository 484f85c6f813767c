"""The settings of a run: how long, how precisely, and what is kept."""

from dataclasses import dataclass, field
from typing import Literal

from nonverbal.errors import UserError
from nonverbal.training.optimizer import OptimizerSettings
from nonverbal.training.watchdog import WatchdogSettings


@dataclass(frozen=True)
class TrainerSettings:
    """How long, how precisely, and what is kept."""

    steps: int = 400_000
    """Optimizer steps of the whole run."""
    stop_after: int | None = None
    """Steps after which the run ends, its learning rate being that of a run of `steps`. Unset: after all of them."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """bf16 runs matrix products in bfloat16 (autocast); weights, optimizer and losses stay float32. auto: bf16 on a GPU
    or processor that has units for it, else fp32; the run's recipe.yaml says which, and the run keeps it."""
    validate_every: int = 5_000
    """Steps between validation passes; the best of them (pretraining: of the lowest loss) makes the best checkpoint."""
    patience: int | None = None
    """Validation passes in a row without a better one after which the run ends. Unset: it runs to its last step."""
    checkpoint_every: int = 5_000
    """Steps between checkpoints."""
    keep_checkpoints: int = 2
    """Last checkpoints that are kept, besides the best."""
    log_every: int = 50
    """Steps between rows of metrics."""
    workers: int = 1
    """Processes that read audio ahead, for each training process."""
    processes: int | None = None
    """Training processes that the launcher is asked for; a run on any other number is refused. Unset: any number."""
    zero: Literal[0, 1, 2, 3] = 0
    """DeepSpeed's ZeRO: each process keeps only its part of the optimizer (1), of the gradients too (2), of the weights
    too (3). 0: everything in each process, which is fastest where it fits."""
    offload: bool = False
    """Keep what ZeRO has divided in main memory instead of the GPU's."""
    timeout_minutes: float = 10.0
    """Longest that processes wait for one another before the run ends; it can be continued."""
    watchdog: WatchdogSettings = field(default_factory=WatchdogSettings)
    """What is done about a run that has stopped learning."""
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    """AdamW and its learning rate."""

    def __post_init__(self) -> None:
        """Refuse counts that no run can have."""
        for name in ("steps", "validate_every", "checkpoint_every", "keep_checkpoints", "log_every"):
            if getattr(self, name) < 1:
                raise UserError(f"trainer.{name} must be at least 1, but is {getattr(self, name)}")
        if self.stop_after is not None and not 1 <= self.stop_after <= self.steps:
            raise UserError(f"trainer.stop_after must be 1 to {self.steps}, the steps, but is {self.stop_after}")
        if self.processes is not None and self.processes < 1:
            raise UserError(f"trainer.processes must be at least 1, but is {self.processes}")
        if self.patience is not None and self.patience < 1:
            raise UserError(
                f"trainer.patience must be at least 1, but is {self.patience}; unset, the run never ends early"
            )
        if self.timeout_minutes <= 0:
            raise UserError(f"trainer.timeout_minutes must be above 0, but is {self.timeout_minutes}")
        if self.offload and not self.zero:
            raise UserError("trainer.offload moves what ZeRO has divided: set trainer.zero to 1, 2 or 3 as well")
        if self.workers < 0:
            raise UserError(f"trainer.workers must be at least 0, but is {self.workers}")

    @property
    def last(self) -> int:
        """The step with which the run ends, where it does not end earlier for want of patience."""
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
"""Settings that may differ when a run is continued: no step takes other weights by them. With more patience, a run that
ended early goes on."""
