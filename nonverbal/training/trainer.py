"""The training loop, for every objective."""

import math
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import Any, Literal, Protocol, cast

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from nonverbal.errors import UserError
from nonverbal.objectives.base import Batch, Loss, Objective
from nonverbal.seeding import Stream, torch_seed
from nonverbal.training import checkpoint
from nonverbal.training.checkpoint import Position
from nonverbal.training.log import Log
from nonverbal.training.metrics import Means
from nonverbal.training.optimizer import OptimizerSettings, build_optimizer, learning_rate
from nonverbal.training.processes import Processes
from nonverbal.training.progress import Reporter
from nonverbal.training.run_folder import RunFolder
from nonverbal.training.watchdog import Watchdog, WatchdogSettings

MAX_SKIPPED = 10
"""Steps in a row whose gradient is not finite, after which a run stops."""


@dataclass(frozen=True)
class TrainerSettings:
    """How long, how precisely, and what is kept."""

    steps: int = 400_000
    """Optimizer steps of the whole run."""
    precision: Literal["bf16", "fp32"] = "bf16"
    """bf16 runs matrix products in bfloat16 (autocast); weights, optimizer and losses stay float32."""
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
        if self.workers < 0:
            raise UserError(f"trainer.workers must be at least 0, but is {self.workers}")


FREE_SETTINGS = {
    f"trainer.{name}"
    for name in ("checkpoint_every", "keep_checkpoints", "log_every", "workers", "processes", "watchdog")
}
"""Settings that may differ when a run is continued: they change neither the weights nor which are best."""


class BatchSource(Protocol):
    """An iterable of batches that knows where the stream stands after each step."""

    def __iter__(self) -> Iterator[Batch]: ...

    def after(self, step: int) -> tuple[int, int]:
        """Return the (epoch, micro-batch) at which the stream goes on after ``step``."""


class TrainingData(Protocol):
    """Where batches come from."""

    batches_per_step: int

    def training(self, steps: range, epoch: int, batch: int, rank: int, world: int) -> BatchSource:
        """Return this process's micro-batches of ``steps``, from a position of the stream on."""

    def validation(self, rank: int, world: int) -> Iterable[Batch]:
        """Return this process's validation batches, the same at every call."""


class Interrupted(KeyboardInterrupt):
    """A signal ended the run between two steps, with everything saved."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.signal = number


class Trainer:
    """Trains an objective on batches, in a run folder that can be continued at any time."""

    def __init__(
        self, objective: Objective, data: TrainingData, settings: TrainerSettings, run: RunFolder, seed: int
    ) -> None:
        self.processes = Processes(settings.processes)
        unused = DistributedDataParallelKwargs(find_unused_parameters=objective.drops_layers)
        self.accelerator = Accelerator(cpu=not torch.cuda.is_available(), kwargs_handlers=[unused])
        self.rank, self.world = self.accelerator.process_index, self.accelerator.num_processes
        if self.world > data.batches_per_step:
            raise UserError(
                f"{self.world} processes share the {data.batches_per_step} micro-batches of a step, so some would have "
                "none; start fewer, or raise batches.batches_per_step and lower batches.batch_seconds"
            )
        self.objective, self.data, self.settings, self.run, self.seed = objective, data, settings, run, seed
        self.module = cast(nn.Module, objective)
        optimizer = build_optimizer(self.module, settings.steps, settings.optimizer)
        self.model, self.optimizer = self.accelerator.prepare(self.module, optimizer)
        self.parameters = [parameter for parameter in self.module.parameters() if parameter.requires_grad]
        self.watchdog = Watchdog(settings.watchdog, objective.symptoms, settings.optimizer.warmup_steps, settings.steps)
        self.position = Position()
        self.report = Reporter(settings.steps, self.accelerator.is_main_process)
        self.signal = 0

    def train(self) -> None:
        """Run to the last step, from the last checkpoint on.

        Raises:
            Interrupted: SIGINT, SIGTERM or SIGUSR1 came; the run is saved, and continues when started again.
            UserError: ten steps in a row were not finite, or there are checkpoints but none can be read.
        """
        self._resume()
        steps = range(self.position.step, self.settings.steps)
        source = self.data.training(steps, self.position.epoch, self.position.batch, self.rank, self.world)
        with self._catching_signals(), self.report.running(steps.start), self._log(steps.start) as self.log:
            batches = iter(source)
            for step in steps:
                started = time.perf_counter()
                local = [next(batches) for _ in range(self.rank, self.data.batches_per_step, self.world)]
                waited = time.perf_counter() - started
                self._step(step, local)
                self.log.time(time.perf_counter() - started, waited, local)
                self.position.step = step + 1
                self.position.epoch, self.position.batch = source.after(step)
                self._after_step()

    def _step(self, step: int, batches: list[Batch]) -> None:
        """Take one optimizer step on the mean loss over all targets of the step, on all processes."""
        count = self._agree(sum(batch.targets.count for batch in batches))
        losses = []
        for batch in batches:
            last = batch is batches[-1]
            with nullcontext() if last else self.accelerator.no_sync(self.model):
                loss = self._forward(batch)
                # DDP averages over processes; the step's gradient is a sum over all its targets, divided once.
                self.accelerator.backward(loss.sum * (self.world / count))
            losses.append(Loss(loss.sum.detach(), loss.count, loss.metrics))
        self._update(step, losses)

    def _forward(self, batch: Batch) -> Loss:
        torch.manual_seed(torch_seed(self.seed, Stream.NOISE, batch.step, batch.position))
        device = self.accelerator.device
        with torch.autocast(device.type, torch.bfloat16, enabled=self.settings.precision == "bf16"):
            loss: Loss = self.model(_to_device(batch, device))
        return loss

    def _update(self, step: int, losses: list[Loss]) -> None:
        for parameter in self.parameters:
            if parameter.grad is None:
                # A layer that is dropped in a step has a gradient of zero there: its moments decay like all others.
                parameter.grad = torch.zeros_like(parameter)
        gradients = [cast(Tensor, parameter.grad) for parameter in self.parameters]
        norm = get_total_norm(gradients, foreach=True)
        rate = learning_rate(step, self.settings.steps, self.settings.optimizer)
        if torch.isfinite(norm):
            if self.settings.optimizer.clip_norm is not None:
                clip_grads_with_norm_(self.parameters, self.settings.optimizer.clip_norm, norm, foreach=True)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            self.optimizer.step()
            self.position.updates += 1
            self.position.skipped_in_a_row = 0
            self.log.add(losses, lr=rate, grad_norm=float(norm))
        else:
            self._skip(step, losses)
        self.optimizer.zero_grad()

    def _skip(self, step: int, losses: list[Loss]) -> None:
        self.position.skipped_in_a_row += 1
        bad = "a loss" if not all(torch.isfinite(loss.sum) for loss in losses) else "a gradient, but no loss,"
        self.report.say(f"step {step + 1} skipped: {bad} is not finite", style="yellow")
        if self.position.skipped_in_a_row >= MAX_SKIPPED:
            raise UserError(
                f"stopped at step {step + 1}: {MAX_SKIPPED} steps in a row had a loss or gradient that is not finite; "
                f"usual causes are a learning rate that is too high (peak {self.settings.optimizer.lr:g}) or a warm-up "
                f"that is too short ({self.settings.optimizer.warmup_steps} steps); checkpoints before them are kept"
            )

    def _after_step(self) -> None:
        settings, step = self.settings, self.position.step
        last = step == settings.steps
        if step % settings.log_every == 0 or step == 1 or last:
            row = self.log.write(step, self.position.step - self.position.updates)
            self.report.metrics(row, step)
            if warning := self.watchdog.read(row, step):
                self.report.say(warning, style="yellow")
        self.report.step(step)
        improved = False
        if step % settings.validate_every == 0 or last:
            improved = self._validate()
        stopping = self._agree(self.signal) and not last
        if step % settings.checkpoint_every == 0 or improved or stopping or last:
            self._save(improved)
        if stopping:
            self._leave()

    def _validate(self) -> bool:
        """Measure the validation loss, for each corpus too. Returns whether it is the lowest so far."""
        means = Means()
        self.model.eval()
        with torch.no_grad():
            for batch in self.data.validation(self.rank, self.world):
                loss = self._forward(batch)
                means.add(loss)
                means.add(loss, f"corpora.{batch.corpus}.")
        self.model.train()
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
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            folder = self.run.checkpoints
            path = checkpoint.save(folder, self.module, self.optimizer, self.position)
            if improved or self.position.best_step is None:
                checkpoint.point(folder, "best", path)
                self.run.replace_encoder(self.objective.export)
            checkpoint.prune(folder, self.settings.keep_checkpoints, self.position.best_step)
        self.accelerator.wait_for_everyone()

    def _resume(self) -> None:
        saved = checkpoint.saved(self.run.checkpoints)
        for path in reversed(saved):
            try:
                self.position = checkpoint.load(path, self.module, self.optimizer)
            except UserError as error:
                self.report.say(f"{error}; taking the checkpoint before it", style="yellow")
                continue
            self.report.say(f"continuing from {path}")
            break
        else:
            if saved:
                raise UserError(
                    f"none of the checkpoints in {self.run.checkpoints} can be read; start with another --out"
                )
        if self.accelerator.is_main_process:
            self.run.cut_metrics(self.position.step)
            self.run.marker.unlink(missing_ok=True)

    def _leave(self) -> None:
        name = signal.Signals(self.signal).name if self.signal else "a signal to another process"
        if self.accelerator.is_main_process:
            self.run.mark_interrupted(name, self.position.step)
        message = f"{name}: saved at step {self.position.step}; run the same command again to continue"
        raise Interrupted(self.signal or signal.SIGTERM, message)

    def _agree(self, number: int) -> int:
        """Return the sum of ``number`` over all processes."""
        if self.world == 1:
            return number
        tensor = torch.tensor(number, device=self.accelerator.device)
        return int(self.accelerator.reduce(tensor, reduction="sum"))

    def _log(self, step: int) -> Log:
        return Log(self.run, step, self.accelerator.is_main_process)

    def _catching_signals(self) -> AbstractContextManager[None]:
        return _Signals(self)


class _Signals(AbstractContextManager[None]):
    """Lets a run finish its step on SIGINT, SIGTERM and SIGUSR1; a second SIGINT ends it at once."""

    NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer

    def __enter__(self) -> None:
        self.before = {number: signal.signal(number, self.handle) for number in self.NUMBERS}

    def __exit__(self, *_: Any) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def handle(self, number: int, _: FrameType | None) -> None:
        if number == signal.SIGINT and self.trainer.signal == signal.SIGINT:
            raise KeyboardInterrupt
        self.trainer.signal = number


def _to_device(batch: Batch, device: torch.device) -> Batch:
    if device.type == "cpu":
        return batch
    tensors = {name: tensor.to(device, non_blocking=True) for name, tensor in batch.targets.tensors.items()}
    return replace(
        batch,
        waveforms=batch.waveforms.to(device, non_blocking=True),
        lengths=batch.lengths.to(device, non_blocking=True),
        targets=replace(batch.targets, tensors=tensors),
    )
