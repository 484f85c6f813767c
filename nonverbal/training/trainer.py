"""The training loop, for every objective."""

import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn, Protocol

import torch
from torch import Tensor

from nonverbal.batch import Batch, Loss
from nonverbal.curves import write_panels
from nonverbal.errors import UserError
from nonverbal.objectives.base import Objective
from nonverbal.seeding import Stream, torch_seed
from nonverbal.signals import ENDING, Interrupted, Signals, name_of
from nonverbal.system import keep_freed_memory
from nonverbal.training import checkpoint
from nonverbal.training.log import PANELS, Log
from nonverbal.training.metrics import Means
from nonverbal.training.optimizer import build_optimizer, learning_rate
from nonverbal.training.outcomes import Outcomes
from nonverbal.training.position import Position
from nonverbal.training.precision import choose_precision
from nonverbal.training.processes import Processes
from nonverbal.training.progress import Reporter
from nonverbal.training.resuming import Resumed, resume
from nonverbal.training.run_folder import RunFolder
from nonverbal.training.settings import TrainerSettings
from nonverbal.training.spread import spread
from nonverbal.training.strategy import check_buffers
from nonverbal.training.watchdog import Watchdog
from nonverbal.training.zero import check_zero

LATE = 1
"""Number of steps after which the outcome of a step on a GPU is read, so that the next step is queued meanwhile."""


class TrainingData(Protocol):
    """The batches of a run."""

    batches_per_step: int

    def training(self, steps: range, epoch: int, batch: int, rank: int, world: int) -> Iterator[Batch]:
        """Return this process's micro-batches of ``steps``, beginning with micro-batch ``batch`` of ``epoch``."""

    def validation(self, rank: int, world: int) -> Iterable[Batch]:
        """Return this process's validation batches, the same at every call."""


@dataclass(frozen=True)
class Step:
    """A completed optimizer step; on a GPU, a queued one."""

    number: int
    """Number of completed steps, including this one."""
    seconds: float
    """Seconds from the request for the first batch to the last operation, without validation and checkpoints."""
    waited: float
    """How many of these seconds it waited for data."""
    largest: int
    """Samples in this process's largest micro-batch, including padding."""


class Trainer:
    """Trains an objective on batches, in a run folder from which training can be continued."""

    def __init__(
        self,
        objective: Objective,
        data: TrainingData,
        settings: TrainerSettings,
        run: RunFolder,
        seed: int,
        quiet: bool = False,
    ) -> None:
        """Connect to the other processes, and check that the objective can be trained.

        Args:
            objective: the model with its loss.
            data: its batches.
            settings: of the run.
            run: the run folder.
            seed: of the noise, such as dropout.
            quiet: whether to print nothing.
        """
        self.processes = Processes(settings.processes, settings.timeout_minutes, run.folder)
        self.rank, self.world = self.processes.rank, self.processes.world
        with self.processes.in_contact():
            self.precision = choose_precision(settings.precision, run.precision(), self.processes)
        settings = replace(settings, precision=self.precision.value)
        if self.world > data.batches_per_step:
            raise UserError(
                f"{self.world} processes share the {data.batches_per_step} micro-batches of a step, so some would have "
                "none; start fewer, or raise batches.batches_per_step (in pretraining, also lower "
                "batches.batch_seconds)"
            )
        check_zero(settings.zero, self.world, data.batches_per_step)
        check_buffers(objective)
        self.objective, self.data, self.settings, self.run, self.seed = objective, data, settings, run, seed
        # This refuses a warm-up that is longer than the run, before anything is loaded.
        self.optimizer = build_optimizer(objective, settings.steps, settings.optimizer)
        self.watchdog = Watchdog(settings.watchdog, objective.symptoms, settings.optimizer.warmup_steps, settings.steps)
        self.position = Position()
        self.report = Reporter(settings.last, objective.shown, quiet or not self.processes.is_first)
        self.saved: int | None = None
        """Step of the last checkpoint that has been written."""
        if self.processes.device.type == "cpu":
            keep_freed_memory()

    @property
    def late(self) -> int:
        """Number of steps after which the outcome of a step is read."""
        return 0 if self.processes.device.type == "cpu" else LATE

    @property
    def finished(self) -> bool:
        """Whether the run has ended, at its last step or because of its patience."""
        patience = self.settings.patience
        out_of_patience = patience is not None and self.position.without_improvement >= patience
        return out_of_patience or self.position.step >= self.settings.last

    def train(self) -> None:
        """Train from the last checkpoint to the end.

        Raises:
            Interrupted: SIGINT, SIGTERM or SIGUSR1 came. The run has been saved, and continues when started again.
            UserError: ten steps in a row were not finite, a symptom of the watchdog lasts, no checkpoint can be read,
                a process lacks the checkpoint that the first has chosen, or another process does not answer.
        """
        with closing(self.steps(Signals())) as steps:
            for _ in steps:
                pass

    def steps(self, signals: Signals | None = None) -> Generator[Step]:
        """Continue the run, and yield each step after its validation and checkpoint.

        If the generator is closed early, it ends the processes that read audio, and the run is left as if it had been
        killed: the steps since the last checkpoint are lost.

        Args:
            signals: at which the run is saved and ``Interrupted`` raised. None: signals are not handled.

        Raises:
            UserError, Interrupted: as in ``train``.
        """
        with self.processes.in_contact():
            self._begin()
            yield from self._steps(signals)

    def _begin(self) -> None:
        """Load the last checkpoint. After this method its moments are freed, because the optimizer has copies."""
        resumed = resume(
            self.run.checkpoints, self.objective, self.processes, lambda text: self.report.say(text, "yellow")
        )
        self._take_up(resumed)
        device, updates = self.processes.device, self.position.updates
        self.strategy = spread(self.objective, self.optimizer, self.settings, device, resumed.moments, updates)

    def _take_up(self, resumed: Resumed) -> None:
        """Set the position to that of the checkpoint, and bring the run folder to the same state."""
        self.position = resumed.position
        if not self.processes.is_first:
            return
        if resumed.checkpoint is not None:
            path = self.run.checkpoints / resumed.checkpoint
            self.report.say(f"continuing from {path}")
            # The run was killed after it wrote this checkpoint and before it wrote the encoder.
            if self.position.best_step in (None, self.position.step) and not self.run.has_encoder_of(path.name):
                self._export(path, self.objective.state_dict())
        self.run.cut_metrics(self.position.step)
        self.run.marker.unlink(missing_ok=True)
        write_panels(self.run.folder, [*self.objective.panels, *PANELS])

    def _steps(self, signals: Signals | None) -> Generator[Step]:
        position = self.position
        steps = range(position.step, position.step if self.finished else self.settings.last)
        batches = self.data.training(steps, position.epoch, position.batch, self.rank, self.world)
        # All processes check the free shared memory before the first `next` starts workers, which use it. Workers end
        # with their iterator, which ends with this frame; after an error `workers_watched` kills them, as one may hang.
        self.processes.wait()
        with (
            signals or nullcontext(),
            self.report.running(steps.start),
            Log(self.run, steps.start, self.objective.finish, self.processes.is_first) as self.log,
        ):
            self.outcomes = Outcomes(position, self.log, self.report, self.settings.optimizer)
            for step in steps:
                started = time.perf_counter()
                local = [next(batches) for _ in range(self.rank, self.data.batches_per_step, self.world)]
                waited = time.perf_counter() - started
                came = signals.came if signals else 0
                # One all-reduce per step, of numbers that the host knows.
                count, stopping = self.processes.add(sum(batch.targets.count for batch in local), came)
                if stopping and step > steps.start:
                    self._leave(came)
                self.take(step, local, count)
                self.outcomes.read(0 if self._is_row(step + 1) else self.late)
                seconds = time.perf_counter() - started
                self.log.time(seconds, waited, local)
                position.step = step + 1
                position.epoch, position.batch = local[0].after
                self._after_step(local[0])
                yield Step(step + 1, seconds, waited, max(batch.waveforms.numel() for batch in local))
                if self.finished:
                    break
        if position.step < self.settings.last:
            than = "whose value was not finite, or that showed a symptom of the watchdog"
            if position.best_step is not None:
                than = f"without a better value than that of step {position.best_step}"
            self.report.say(
                f"ended at step {position.step} of {self.settings.last} after {position.without_improvement} "
                f"validations {than} (trainer.patience)"
            )

    def take(self, step: int, batches: list[Batch], count: float) -> None:
        """Take an optimizer step on the mean loss over all processes; ``count`` is their total number of targets.

        Nothing here reads a value from a device, for which a GPU would first have to finish everything in its queue.
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
        loss: Loss = self.strategy.model(batch.to(self.processes.device))
        return loss

    def _is_row(self, step: int) -> bool:
        """Return whether a row of metrics is written after ``step`` steps."""
        return step % self.settings.log_every == 0 or step in (1, self.settings.last)

    def _after_step(self, batch: Batch) -> None:
        settings, step = self.settings, self.position.step
        if self._is_row(step):
            self._write_row()
        self.report.step(step)
        improved = False
        if step % settings.validate_every == 0 or step == settings.last:
            improved = self._validate(batch)
        if self.finished and not self._is_row(step):
            # Patience may end a run between two rows.
            self.outcomes.read(0)
            self._write_row()
        if step % settings.checkpoint_every == 0 or improved or self.finished:
            self._save(improved)

    def _write_row(self) -> None:
        step = self.position.step
        row = self.log.write(step, step - self.position.updates)
        self.report.metrics(row, step)
        if warning := self.watchdog.read(row, step):
            self.report.say(warning, style="yellow")

    def _validate(self, filler: Batch) -> bool:
        """Measure validation metrics, also for each corpus. Return whether they are the best so far.

        Args:
            filler: batch that this process computes in vain while others have batches left, because ZeRO 3 gathers each
                weight from all processes, which must all take part.
        """
        means = Means(self.objective.finish)
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
        best = self.objective.best
        assert best.metric in row, f"validation has not measured {best.metric}, by which the best checkpoint is chosen"
        value = row[best.metric]
        self.report.say(f"validation at step {self.position.step}: {best.metric} {value:.3f}")
        # A collapsed model may have a low loss, but is never the best.
        improved = best.improves(value, self.position.best_value) and self.watchdog.healthy(values)
        self.position.judge(improved, value)
        return improved

    def _save(self, improved: bool) -> None:
        """Write a checkpoint, and also the encoder if the checkpoint is the best, or if there is no best one."""
        self.outcomes.read(0)
        weights = self.strategy.weights(wanted=self.processes.is_first)
        moments = self.strategy.moments(wanted=self.processes.is_first)
        if self.processes.is_first:
            folder = self.run.checkpoints
            # After a power loss, a run that continues from this checkpoint must find the rows before it.
            self.run.sync_metrics()
            path = checkpoint.save(folder, weights, moments, self.position)
            if improved or self.position.best_step is None:
                self._export(path, weights)
            checkpoint.prune(folder, self.settings.keep_checkpoints, self.position)
        self.saved = self.position.step
        self.processes.wait()

    def _export(self, path: Path, weights: Mapping[str, Tensor]) -> None:
        """Write the encoder of the checkpoint ``path`` to ``encoder/``, and then its name to ``best``."""
        self.run.replace_encoder(lambda new: self.objective.export(new, weights))
        checkpoint.point(self.run.checkpoints, "best", path)

    def _leave(self, came: int) -> NoReturn:
        """Save the run, and end it. ``came`` is the signal that this process has received, 0 if only others have."""
        if self.saved != self.position.step:
            self._save(improved=False)
        # The same signal may reach some processes a step later, but all must end with the same exit code.
        received = self.processes.add(*(came == number for number in ENDING))
        cause = next(number for number, count in zip(ENDING, received, strict=True) if count)
        name = name_of(cause)
        if self.processes.is_first:
            self.run.mark_interrupted(name, self.position.step)
        # srun ends all processes when one has ended, so all wait until the marker has been written.
        self.processes.wait()
        message = f"{name}: saved at step {self.position.step}; run the same command again to continue"
        raise Interrupted(cause, message)
