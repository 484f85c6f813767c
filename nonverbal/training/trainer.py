"""The training loop, for every objective."""

import signal
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
from nonverbal.training.signals import Interrupted, Signals
from nonverbal.training.strategy import check_buffers, check_zero, spread
from nonverbal.training.watchdog import Watchdog

LATE = 1
"""Steps after which a GPU's outcome of a step is read: while it is, the next is queued."""


class TrainingData(Protocol):
    """Where batches come from."""

    batches_per_step: int

    def training(self, steps: range, epoch: int, batch: int, rank: int, world: int) -> Iterator[Batch]:
        """Return this process's micro-batches of ``steps``, from a position of the stream on."""

    def validation(self, rank: int, world: int) -> Iterable[Batch]:
        """Return this process's validation batches, the same at every call."""


@dataclass(frozen=True)
class Step:
    """An optimizer step that is done: queued, on a GPU."""

    number: int
    """Steps done, this one among them."""
    seconds: float
    """From the request for its first batch to its last operation, validation and checkpoints left out."""
    waited: float
    """Seconds of these in which it waited for data."""
    largest: int
    """Samples of this process's largest micro-batch, padding included."""


class Trainer:
    """Trains an objective on batches, in a run folder that can be continued at any time."""

    def __init__(
        self,
        objective: Objective,
        data: TrainingData,
        settings: TrainerSettings,
        run: RunFolder,
        seed: int,
        quiet: bool = False,
    ) -> None:
        """Meet the other processes, and refuse what cannot be trained.

        Args:
            objective: what is trained.
            data: on what.
            settings: how.
            run: the folder.
            seed: of the noise.
            quiet: whether to show nobody how the run goes.
        """
        self.processes = Processes(settings.processes, settings.timeout_minutes, run.folder)
        self.rank, self.world = self.processes.rank, self.processes.world
        with self.processes.in_contact():
            self.precision = choose_precision(settings.precision, run.precision(), self.processes)
        settings = replace(settings, precision=self.precision.value)
        if self.world > data.batches_per_step:
            raise UserError(
                f"{self.world} processes share the {data.batches_per_step} micro-batches of a step, so some would have "
                "none; start fewer, or raise batches.batches_per_step (and lower batches.batch_seconds, of pretraining)"
            )
        check_zero(settings.zero, self.world, data.batches_per_step)
        check_buffers(objective)
        self.objective, self.data, self.settings, self.run, self.seed = objective, data, settings, run, seed
        # Before anything is loaded: a warm-up longer than the run is refused.
        self.optimizer = build_optimizer(objective, settings.steps, settings.optimizer)
        self.watchdog = Watchdog(settings.watchdog, objective.symptoms, settings.optimizer.warmup_steps, settings.steps)
        self.position = Position()
        self.report = Reporter(settings.last, objective.shown, quiet or not self.processes.is_first)
        self.saved: int | None = None
        """The step of the last checkpoint that was written."""
        if self.processes.device.type == "cpu":
            keep_freed_memory()

    @property
    def late(self) -> int:
        """Steps after which the outcome of a step is read."""
        return 0 if self.processes.device.type == "cpu" else LATE

    @property
    def finished(self) -> bool:
        """Whether the run has come to its end: its last step, or that of its patience."""
        patience = self.settings.patience
        out_of_patience = patience is not None and self.position.without_improvement >= patience
        return out_of_patience or self.position.step >= self.settings.last

    def train(self) -> None:
        """Run to the end, from the last checkpoint on.

        Raises:
            Interrupted: SIGINT, SIGTERM or SIGUSR1 came; the run is saved, and continues when started again.
            UserError: ten steps in a row were not finite, there are checkpoints but none can be read, a process lacks
                the one that the first has chosen, or another process of the run is gone.
        """
        with closing(self.steps(Signals())) as steps:
            for _ in steps:
                pass

    def steps(self, signals: Signals | None = None) -> Generator[Step]:
        """Take up the run, and yield each step when it is done, its validation and checkpoint too.

        Closed early, it ends the processes that read audio and leaves the run as if it had been killed there: the steps
        since the last checkpoint are lost.

        Args:
            signals: at which the run is saved and ends, with ``Interrupted``. None: signals are not listened for.

        Raises:
            UserError, Interrupted: as ``train`` says.
        """
        with self.processes.in_contact():
            self._begin()
            yield from self._steps(signals)

    def _begin(self) -> None:
        """Take up the last checkpoint. Its moments are let go of here: the optimizer has its own from now on."""
        resumed = resume(
            self.run.checkpoints, self.objective, self.processes, lambda text: self.report.say(text, "yellow")
        )
        self._take_up(resumed)
        device, updates = self.processes.device, self.position.updates
        self.strategy = spread(self.objective, self.optimizer, self.settings, device, resumed.moments, updates)

    def _take_up(self, resumed: Resumed) -> None:
        """Go on from where the run stands, and bring its folder to that state."""
        self.position = resumed.position
        if not self.processes.is_first:
            return
        if resumed.checkpoint is not None:
            path = self.run.checkpoints / resumed.checkpoint
            self.report.say(f"continuing from {path}")
            # Killed after this checkpoint, and before its encoder was written.
            if self.position.best_step in (None, self.position.step) and not self.run.has_encoder_of(path.name):
                self._export(path, self.objective.state_dict())
        self.run.cut_metrics(self.position.step)
        self.run.marker.unlink(missing_ok=True)
        write_panels(self.run.folder, [*self.objective.panels, *PANELS])

    def _steps(self, signals: Signals | None) -> Generator[Step]:
        position = self.position
        steps = range(position.step, position.step if self.finished else self.settings.last)
        batches = self.data.training(steps, position.epoch, position.batch, self.rank, self.world)
        # All have seen how much shared memory is free before anyone's workers, which `next` starts, take of it. They
        # end with the iterator, which goes with this frame; after an error `workers_watched` ends them: one may hang.
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
                # One exchange a step, of numbers that the host has.
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
            than = "not finite, or of a collapsed model"
            if position.best_step is not None:
                than = f"no better than that of step {position.best_step}"
            self.report.say(
                f"ended at step {position.step} of {self.settings.last}: {position.without_improvement} validations "
                f"in a row {than} (trainer.patience)"
            )

    def take(self, step: int, batches: list[Batch], count: float) -> None:
        """Take one optimizer step on the mean loss of all processes, ``count`` being the sum of their batches' counts.

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
        loss: Loss = self.strategy.model(batch.to(self.processes.device))
        return loss

    def _is_row(self, step: int) -> bool:
        """Whether a row of metrics is written when ``step`` steps are done."""
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
        """Measure validation metrics, for each corpus too. Returns whether they are the best so far.

        Args:
            filler: what this process computes for nothing while others have batches left: ZeRO 3 gathers each weight
                from all processes, so all must come for it.
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
        assert best.metric in row, f"the best checkpoint is chosen by {best.metric}, which validation has not measured"
        value = row[best.metric]
        self.report.say(f"validation at step {self.position.step}: {best.metric} {value:.3f}")
        # A collapsed model has a low loss, and is the best at nothing.
        improved = best.improves(value, self.position.best_value) and self.watchdog.healthy(values)
        self.position.judge(improved, value)
        return improved

    def _save(self, improved: bool) -> None:
        """Write a checkpoint; where it is the best, or where there is no validation to say so, the encoder too."""
        self.outcomes.read(0)
        weights = self.strategy.weights(wanted=self.processes.is_first)
        moments = self.strategy.moments(wanted=self.processes.is_first)
        if self.processes.is_first:
            folder = self.run.checkpoints
            # A checkpoint promises the rows before it, and `best` the encoder.
            self.run.sync_metrics()
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

    def _leave(self, came: int) -> NoReturn:
        """Save the run, and end it; ``came`` is the signal to this process, 0 where another had it."""
        if self.saved != self.position.step:
            self._save(improved=False)
        name = signal.Signals(came).name if came else "a signal to another process"
        if self.processes.is_first:
            self.run.mark_interrupted(name, self.position.step)
        # srun ends all processes when one has ended: not before the marker is there.
        self.processes.wait()
        message = f"{name}: saved at step {self.position.step}; run the same command again to continue"
        raise Interrupted(came or signal.SIGTERM, message)
