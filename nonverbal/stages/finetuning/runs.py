"""One run of a fine-tuning: its training, and the test of its best weights."""

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from nonverbal.data.batching.clips import ClipData
from nonverbal.errors import UserError
from nonverbal.files import whole
from nonverbal.stages.finetuning.folds import FINAL, FoldRun
from nonverbal.stages.finetuning.kept import Chosen, is_done, keep_fold, keep_reading
from nonverbal.stages.finetuning.learner import Learner, Trained
from nonverbal.stages.finetuning.settings import FREE, trainer_for
from nonverbal.stages.running import run_held, say_start
from nonverbal.training import checkpoint
from nonverbal.training.run_folder import RunFolder
from nonverbal.training.trainer import Trainer

MODEL = "model"
"""Folder of the final model, in the run folder."""

NOBODY = np.array([], dtype=np.int64)
"""No clips."""


def data_of(
    learner: Learner[Trained], objective: Trained, train: np.ndarray, validation: np.ndarray, seed: int
) -> ClipData:
    """Return the batches of a run whose clips are at the positions ``train`` and ``validation`` of the task."""
    settings, task, encoder = learner.settings, learner.task, learner.encoder_of(objective)
    return ClipData(
        task.shards,
        task.rows,
        train,
        validation,
        learner.targets(objective, train),
        settings.batches,
        settings.augmentation,
        seed,
        encoder.shortest,
        encoder.longest,
        settings.trainer.workers,
        60 * settings.trainer.timeout_minutes,
    )


@contextlib.contextmanager
def trained(
    folder: Path,
    learner: Learner[Trained],
    seed: int,
    train: np.ndarray,
    validation: np.ndarray = NOBODY,
    share: float | None = None,
) -> Iterator[tuple[Trainer, ClipData, int]]:
    """Train a run, or the rest of it, and keep its folder locked while the block uses its weights.

    Args:
        folder: of the run.
        learner: builds the objective.
        seed: of everything random.
        train: positions of the training clips.
        validation: positions of the clips on which the best epoch is chosen; if empty, the last weights are used.
        share: share of the steps after which the run ends; see ``trainer_for``.

    Yields:
        The trainer, the data, and the step of the weights in ``encoder/``.

    Raises:
        UserError: as in ``Trainer.train``; the folder holds another run; or another command has meanwhile trained
            this one.
        Interrupted: the run is saved, and continues when it is started again.
    """
    settings, run = learner.settings, RunFolder(folder)
    objective = learner.build(seed)
    data = data_of(learner, objective, train, validation, seed)
    in_steps = trainer_for(settings, data.steps_per_epoch, share, chooses=bool(len(validation)))
    trainer = Trainer(objective, data, in_steps, run, seed)
    recorded = replace(settings, trainer=replace(settings.trainer, precision=trainer.precision.value))
    with run_held(trainer, recorded, FREE, data.contents):
        # The other command has deleted the checkpoints, so training would start again and overwrite the tested weights.
        if is_done(folder):
            raise UserError(f"another command has meanwhile trained and tested {folder}; run the same command again")
        trainer.report.say(f"{folder}: {data.describe()}")
        say_start(objective.account, trainer.report)
        trainer.train()
        yield trainer, data, int(run.best.removeprefix("step-"))


def run_fold(learner: Learner[Trained], fold: FoldRun, folder: Path, status: str) -> None:
    """Train a fold, test it, and write its score and predictions to its folder.

    Args:
        learner: builds and tests the objective.
        fold: its clips.
        folder: of the fold.
        status: the leak status of the encoder that the fold starts from.
    """
    with trained(
        folder if fold.refitted is None else folder / "inner", learner, fold.seed, fold.train, fold.validation
    ) as (trainer, data, step):
        chosen = Chosen(step / data.steps_per_epoch, step / trainer.settings.steps)
        if fold.refitted is None:
            _test(learner, fold, trainer, data, chosen, status)
            return
    with trained(folder, learner, fold.seed, fold.refitted, share=chosen.share) as (trainer, data, _):
        _test(learner, fold, trainer, data, chosen, status)


def _test(
    learner: Learner[Trained], fold: FoldRun, trainer: Trainer, data: ClipData, chosen: Chosen, status: str
) -> None:
    """Test the best weights of a fold, and write its score and predictions."""
    processes, folder = trainer.processes, trainer.run.folder
    objective = best_of(learner, fold.seed, trainer.run).to(processes.device)
    batches = data.batches(fold.test, processes.rank, processes.world)
    tested = learner.test(objective, fold.test, batches, processes)
    if processes.is_first:
        keep_reading(trainer.run.encoder, learner, fold.labels_seen)
        parameters = sum(value.numel() for value in objective.parameters() if value.requires_grad)
        keep_fold(folder, learner, fold, tested, chosen, parameters, status)
        clear(folder, folder / "inner")
    processes.wait()


def best_of(learner: Learner[Trained], seed: int, run: RunFolder) -> Trained:
    """Return the objective with the weights of a run's best checkpoint, in evaluation mode."""
    objective = learner.build(seed)
    checkpoint.load(run.checkpoints / run.best, objective)
    objective.eval()
    return objective


def clear(*folders: Path) -> None:
    """Delete the checkpoints of finished runs, which would take the space of all weights and moments for each fold."""
    for folder in folders:
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        if folder.name == "inner":
            shutil.rmtree(folder / "encoder", ignore_errors=True)


def median(chosen: Sequence[Chosen]) -> Chosen:
    """Return how long to train the final model: the median of what the folds chose."""
    return Chosen(*(float(np.median(values)) for values in zip(*chosen, strict=True)))


def run_final(learner: Learner[Trained], out: Path, seed: int, share: float, describe: Callable[[Path], None]) -> None:
    """Train on all clips for a share of the steps, and write the final model to ``OUT/model``.

    Args:
        learner: builds the objective.
        out: folder of the fine-tuning.
        seed: of everything random.
        share: of the steps of the schedule.
        describe: writes the model's page to its folder.
    """
    everyone = np.arange(len(learner.task.clips))
    with trained(out / FINAL, learner, seed, everyone, share=share) as (trainer, _, _):
        if trainer.processes.is_first:
            keep_reading(trainer.run.encoder, learner, everyone)
            with whole(out / MODEL) as unfinished:
                shutil.copytree(trainer.run.encoder, unfinished)
                describe(unfinished)
            clear(out / FINAL)
        trainer.processes.wait()
