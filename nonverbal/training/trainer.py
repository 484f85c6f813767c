"""The training loop, for every objective."""

import math
import platform
import signal
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, NoReturn, Protocol, cast

import torch
from torch import Tensor, nn

from nonverbal.batch import Batch, Loss
from nonverbal.errors import UserError
from nonverbal.objectives.base import Objective
from nonverbal.seeding import Stream, torch_seed
from nonverbal.system import keep_freed_memory
from nonverbal.training import checkpoint
from nonverbal.training.checkpoint import Position
from nonverbal.training.log import Log
from nonverbal.training.metrics import Means
from nonverbal.training.optimizer import OptimizerSettings, build_optimizer, learning_rate
from nonverbal.training.outcomes import Outcomes
from nonverbal.training.precision import choose_precision
from nonverbal.training.processes import Processes
from nonverbal.training.progress import Reporter
from nonverbal.training.run_folder import RunFolder
from nonverbal.training.signals import Interrupted, Signals
from nonverbal.training.strategy import Autocast, Divided, Strategy, Whole, check_buffers, check_zero
from nonverbal.training.watchdog import Watchdog, WatchdogSettings

LATE = 1
"""Steps after which a GPU's outcome of a step is read: while it is, the next is queued."""


@dataclass(frozen=True)
class TrainerSettings:
    """How long, how precisely, and what is kept."""

    steps: int = 400_000
    """Optimizer steps of the whole run."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """bf16 runs matrix products in bfloat16 (autocast); weights, optimizer and losses stay float32. auto: bf16 on a GPU
    or processor that has units for it, else fp32; the run's recipe.yaml says which, and the run keeps it."""
    validate_every: int = 5_000
    """Steps between validation passes; the lowest validation loss makes the best checkpoint."""
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
        if self.processes is not None and self.processes < 1:
            raise UserError(f"trainer.processes must be at least 1, but is {self.processes}")
        if self.timeout_minutes <= 0:
            raise UserError(f"trainer.timeout_minutes must be above 0, but is {self.timeout_minutes}")
        if self.offload and not self.zero:
            raise UserError("trainer.offload moves what ZeRO has divided: set trainer.zero to 1, 2 or 3 as well")
        if self.workers < 0:
            raise UserError(f"trainer.workers must be at least 0, but is {self.workers}")


FREE_SETTINGS = {
    f"trainer.{name}"
    for name in (
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
"""Settings that may differ when a run is continued: they change neither the weights nor which are best."""


class TrainingData(Protocol):
    """Where batches come from."""

    batches_per_step: int

    def training(self, steps: range, epoch: int, batch: int, rank: int, world: int) -> Iterator[Batch]:
        """Return this process's micro-batches of ``steps``, from a position of the stream on."""

    def validation(self, rank: int, world: int) -> Iterable[Batch]:
        """Return this process's validation batches, the same at every call."""


class Trainer:
    """Trains an objective on batches, in a run folder that can be continued at any time."""

    def __init__(
        self, objective: Objective, data: TrainingData, settings: TrainerSettings, run: RunFolder, seed: int
    ) -> None:
        self.processes = Processes(settings.processes, settings.timeout_minutes, run.folder)
        self.rank, self.world = self.processes.rank, self.processes.world
        with self.processes.in_contact():
            self.precision = choose_precision(settings.precision, run.precision(), self.processes)
        settings = replace(settings, precision=self.precision.value)
        if self.world > data.batches_per_step:
            raise UserError(
                f"{self.world} processes share the {data.batches_per_step} micro-batches of a step, so some would have "
                "none; start fewer, or raise batches.batches_per_step and lower batches.batch_seconds"
            )
        check_zero(settings.zero, self.world, data.batches_per_step)
        check_buffers(cast(nn.Module, objective))
        self.objective, self.data, self.settings, self.run, self.seed = objective, data, settings, run, seed
        self.module = cast(nn.Module, objective)
        # Before anything is loaded: a warm-up longer than the run is refused.
        self.optimizer = build_optimizer(self.module, settings.steps, settings.optimizer)
        self.watchdog = Watchdog(settings.watchdog, objective.symptoms, settings.optimizer.warmup_steps, settings.steps)
        self.position = Position()
        self.report = Reporter(settings.steps, self.processes.is_first)
        self.late = 0 if self.processes.device.type == "cpu" else LATE
        self.saved: int | None = None
        """The step of the last checkpoint that was written."""
        if self.processes.device.type == "cpu":
            keep_freed_memory()

    def train(self) -> None:
        """Run to the last step, from the last checkpoint on.

        Raises:
            Interrupted: SIGINT, SIGTERM or SIGUSR1 came; the run is saved, and continues when started again.
            UserError: ten steps in a row were not finite, there are checkpoints but none can be read, a process lacks
                the one that the first has chosen, or another process of the run is gone.
        """
        with self.processes.in_contact():
            self.strategy = self._spread(self._resume())
            self._train()

    def _train(self) -> None:
        steps = range(self.position.step, self.settings.steps)
        batches = self.data.training(steps, self.position.epoch, self.position.batch, self.rank, self.world)
        # All have seen how much shared memory is free before anyone's workers, which `next` starts, take of it.
        self.processes.wait()
        with Signals() as self.signals, self.report.running(steps.start), self._log(steps.start) as self.log:
            self.outcomes = Outcomes(self.position, self.log, self.report, self.settings.optimizer)
            for step in steps:
                started = time.perf_counter()
                local = [next(batches) for _ in range(self.rank, self.data.batches_per_step, self.world)]
                waited = time.perf_counter() - started
                # One exchange a step, of numbers that the host has.
                count, stopping = self.processes.add(sum(batch.targets.count for batch in local), self.signals.came)
                if stopping and step > steps.start:
                    self._leave()
                self._step(step, local, count)
                self.outcomes.read(0 if self._is_row(step + 1) else self.late)
                self.log.time(time.perf_counter() - started, waited, local)
                self.position.step = step + 1
                self.position.epoch, self.position.batch = local[0].after
                self._after_step(local[0])

    def _step(self, step: int, batches: list[Batch], count: int) -> None:
        """Take one optimizer step on the mean loss over all ``count`` targets of the step, on all processes.

        Nothing here asks a device for a value: a GPU would have to finish all that is queued.
        """
        losses = []
        for batch in batches:
            with self.strategy.micro_batch(last=batch is batches[-1]):
                loss = self._forward(batch)
                self.strategy.backward(loss.sum / count)
            losses.append(Loss(loss.sum.detach(), loss.metrics))
        rate = learning_rate(step, self.settings.steps, self.settings.optimizer)
        self.outcomes.add(step, losses, rate, self.strategy.update(rate, step))

    def _forward(self, batch: Batch) -> Loss:
        torch.manual_seed(torch_seed(self.seed, Stream.NOISE, batch.step, batch.position))
        return cast(Loss, self.strategy.model(batch.to(self.processes.device)))

    def _is_row(self, step: int) -> bool:
        """Whether a row of metrics is written when ``step`` steps are done."""
        return step % self.settings.log_every == 0 or step in (1, self.settings.steps)

    def _after_step(self, batch: Batch) -> None:
        settings, step = self.settings, self.position.step
        last = step == settings.steps
        if self._is_row(step):
            row = self.log.write(step, self.position.step - self.position.updates)
            self.report.metrics(row, step)
            if warning := self.watchdog.read(row, step):
                self.report.say(warning, style="yellow")
        self.report.step(step)
        improved = False
        if step % settings.validate_every == 0 or last:
            improved = self._validate(batch)
        if step % settings.checkpoint_every == 0 or improved or last:
            self._save(improved)

    def _validate(self, filler: Batch) -> bool:
        """Measure the validation loss, for each corpus too. Returns whether it is the lowest so far.

        Args:
            filler: what this process computes for nothing while others have batches left: ZeRO 3 gathers each weight
                from all processes, so all must come for it.
        """
        means = Means()
        own = iter(self.data.validation(self.rank, self.world))
        self.strategy.model.eval()
        with torch.no_grad():
            while self.processes.add(int((batch := next(own, None)) is not None))[0]:
                loss = self._forward(filler if batch is None else batch)
                if batch is not None:
                    means.add(loss)
                    means.add(loss, f"corpora.{batch.corpus}.")
        self.strategy.model.train()
        values = means.read()
        if not values:
            return False
        row = self.log.validation(self.position.step, values)
        self.report.say(f"validation at step {self.position.step}: {row['loss']:.3f}")
        # A collapsed model has a low loss, and is the best at nothing.
        counts = math.isfinite(values["loss"]) and self.watchdog.healthy(values)
        improved = counts and (self.position.best_loss is None or values["loss"] < self.position.best_loss)
        if improved:
            self.position.best_step, self.position.best_loss = self.position.step, values["loss"]
        return improved

    def _save(self, improved: bool) -> None:
        """Write a checkpoint; where it is the best, or where there is no validation to say so, the encoder too."""
        self.outcomes.read(0)
        weights = self.strategy.weights(wanted=self.processes.is_first)
        moments = self.strategy.moments(wanted=self.processes.is_first)
        if self.processes.is_first:
            folder = self.run.checkpoints
            path = checkpoint.save(folder, weights, moments, self.position)
            if improved or self.position.best_step is None:
                self._export(path, weights)
            checkpoint.prune(folder, self.settings.keep_checkpoints, self.position)
        self.saved = self.position.step
        self.processes.wait()

    def _export(self, path: Path, weights: Mapping[str, Tensor]) -> None:
        """Make ``encoder/`` that of the checkpoint ``path``, and then ``best`` say so."""
        self.run.replace_encoder(lambda new: self.objective.export(new, weights))
        checkpoint.point(self.run.checkpoints, "best", path)

    def _spread(self, moments: Mapping[str, Tensor]) -> Strategy:
        settings, device = self.settings, self.processes.device
        model = Autocast(self.module, device.type, settings.precision == "bf16").to(device).train()
        what = (model, self.optimizer, settings.optimizer.clip_norm, moments, self.position.updates)
        if settings.zero:
            return Divided(*what, settings.zero, settings.offload)
        return Whole(*what)

    def _resume(self) -> Mapping[str, Tensor]:
        """Take up the last checkpoint that the first process can read, on all. Returns the optimizer's moments."""
        name, moments = self._newest() if self.processes.is_first else (None, {})
        name = self.processes.of_first(name)
        if self.world > 1 and name is not None:
            moments = self._same(name, moments)
        if self.processes.is_first:
            self.run.cut_metrics(self.position.step)
            self.run.marker.unlink(missing_ok=True)
        return moments

    def _newest(self) -> tuple[str | None, Mapping[str, Tensor]]:
        """Take up the last checkpoint that can be read, where there is one. Returns its name and its moments."""
        saved = checkpoint.saved(self.run.checkpoints)
        for path in reversed(saved):
            try:
                self.position, moments = checkpoint.load(path, self.module)
            except UserError as error:
                self.report.say(f"{error}; taking the checkpoint before it", style="yellow")
                continue
            self.report.say(f"continuing from {path}")
            # Killed after this checkpoint, and before its encoder was written.
            if self.position.best_step in (None, self.position.step) and not self.run.has_encoder_of(path.name):
                self._export(path, self.module.state_dict())
            return path.name, moments
        if saved:
            raise UserError(f"none of the checkpoints in {self.run.checkpoints} can be read; start with another --out")
        return None, {}

    def _same(self, name: str, moments: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Take up the checkpoint that the first process has chosen, or stop all of them. Returns its moments."""
        path, trouble = self.run.checkpoints / name, None
        if not self.processes.is_first:
            try:
                self.position, moments = checkpoint.load(path, self.module)
            except (UserError, OSError) as error:
                trouble = f"process {self.rank} on {platform.node()} cannot ({error})"
        if troubles := [said for said in self.processes.of_each(trouble) if said is not None]:
            raise UserError(
                f"the first process continues from {path}, but {'; '.join(troubles)}; --out must be one folder that "
                "all machines of the run share, and show each of them the same checkpoints"
            )
        return moments

    def _leave(self) -> NoReturn:
        if self.saved != self.position.step:
            self._save(improved=False)
        came = self.signals.came
        name = signal.Signals(came).name if came else "a signal to another process"
        if self.processes.is_first:
            self.run.mark_interrupted(name, self.position.step)
        # srun ends all processes when one has ended: not before the marker is there.
        self.processes.wait()
        message = f"{name}: saved at step {self.position.step}; run the same command again to continue"
        raise Interrupted(came or signal.SIGTERM, message)

    def _log(self, step: int) -> Log:
        return Log(self.run, step, self.processes.is_first)
