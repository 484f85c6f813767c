"""One run of a fine-tuning: trained, and tested by its best weights."""

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
"""The folder of the model to use, in that of the run."""

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
    """Train one run, or what is left of it, and hold its folder for what is done with its weights in the block.

    Args:
        folder: of the run.
        learner: what is learned.
        seed: of everything random.
        train: positions of the clips that are fitted to.
        validation: positions of the clips on which the best epoch is chosen; without any, the last weights count.
        share: share of its steps after which it ends; see ``trainer_for``.

    Yields:
        The trainer, the data, and the step after which the weights in ``encoder/`` were taken.

    Raises:
        UserError: as ``Trainer.train``, the folder holds another run, or another command has done this one meanwhile.
        Interrupted: the run is saved, and continues when started again.
    """
    settings, run = learner.settings, RunFolder(folder)
    objective = learner.build(seed)
    data = data_of(learner, objective, train, validation, seed)
    in_steps = trainer_for(settings, data.steps_per_epoch, share, chooses=bool(len(validation)))
    trainer = Trainer(objective, data, in_steps, run, seed)
    recorded = replace(settings, trainer=replace(settings.trainer, precision=trainer.precision.value))
    with run_held(trainer, recorded, FREE, data.contents):
        # Whoever did it has deleted its checkpoints: it would be trained anew, over the weights that were tested.
        if is_done(folder):
            raise UserError(f"another command has trained and tested {folder} meanwhile; run the same command again")
        trainer.report.say(f"{folder}: {data.describe()}")
        say_start(objective.account, trainer.report)
        trainer.train()
        yield trainer, data, int(run.best.removeprefix("step-"))


def run_fold(learner: Learner[Trained], fold: FoldRun, folder: Path, status: str) -> None:
    """Train a fold, test it, and keep what it came to in its folder.

    Args:
        learner: what is learned.
        fold: on which clips.
        folder: of the fold.
        status: the leak status of the encoder that it starts from.
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
    """Test a fold by its best weights, and keep what it came to."""
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
    """Return the objective with the weights of a run's best checkpoint, to be tested."""
    objective = learner.build(seed)
    checkpoint.load(run.checkpoints / run.best, objective)
    objective.eval()
    return objective


def clear(*folders: Path) -> None:
    """Delete what only a run that is not done needs: weights and moments in full, once a fold."""
    for folder in folders:
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        if folder.name == "inner":
            shutil.rmtree(folder / "encoder", ignore_errors=True)


def median(chosen: Sequence[Chosen]) -> Chosen:
    """Return for how long the final model is trained: the median of what the folds chose."""
    return Chosen(*(float(np.median(values)) for values in zip(*chosen, strict=True)))


def run_final(learner: Learner[Trained], out: Path, seed: int, share: float, describe: Callable[[Path], None]) -> None:
    """Train on all clips for a share of the steps, and put the model to use in ``OUT/model``.

    Args:
        learner: what is learned.
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
