"""All runs of a fine-tuning: which are done, which are left to train, and the final model after them."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from nonverbal.data.index import open_shards
from nonverbal.errors import UserError
from nonverbal.evaluation.probing import leak_statuses
from nonverbal.evaluation.results import results
from nonverbal.files import NoSpace, locked, write_atomically
from nonverbal.stages.finetuning.folds import FINAL, FoldRun, fold_runs, selected
from nonverbal.stages.finetuning.jobs import Jobs
from nonverbal.stages.finetuning.kept import Chosen, is_done, keep_folds, keep_scores
from nonverbal.stages.finetuning.learner import Classes, Learner
from nonverbal.stages.finetuning.model_page import write_page
from nonverbal.stages.finetuning.runs import MODEL, clear, median, run_final, run_fold
from nonverbal.stages.finetuning.settings import FREE, FinetuneConfig, trainer_for
from nonverbal.stages.finetuning.texts import Texts
from nonverbal.tasks.measurements import measurements_of
from nonverbal.tasks.scores import Score
from nonverbal.tasks.task import Kind, Task, task_of
from nonverbal.training.precision import choose_precision
from nonverbal.training.processes import Processes
from nonverbal.training.run_folder import RunFolder
from nonverbal.training.settings import FREE_SETTINGS


def task_for(settings: FinetuneConfig) -> Task:
    """Return the clips to learn from, divided into folds.

    Raises:
        UserError: as in ``task_of``.
    """
    kind: Kind = "texts" if settings.task == "ctc" else "classes"
    return task_of(open_shards(settings.data), settings.labels, settings.resolved(), kind)


def learner_for(settings: FinetuneConfig, task: Task) -> Learner[Any]:
    """Return the learner for a task."""
    return Texts(settings, task) if task.kind == "texts" else Classes(settings, task)


def check_start(learner: Learner[Any], folds: list[FoldRun]) -> None:
    """Build the objective of the first fold and plan the steps of all, to find mistakes before training.

    Raises:
        UserError: the encoder cannot be read or trained with these settings, a fold has too few clips or steps, or
            the final model could not be written.
    """
    settings = learner.settings
    for fold in folds:
        trainer_for(settings, settings.batches.steps(len(fold.train)), None, chooses=True)
    objective = learner.build(folds[0].seed)
    learner.targets(objective, folds[0].train)
    if (settings.final or settings.only == FINAL) and (why := learner.inexpressible(objective)):
        raise UserError(
            f"--final writes a model for plain transformers, but {why}; leave --final out, as the weights of each fold "
            "are kept anyway"
        )


class Campaign:
    """The folds of a fine-tuning, and its final model."""

    def __init__(self, settings: FinetuneConfig) -> None:
        """Divide the clips, and refuse what cannot be trained before training starts.

        Raises:
            UserError: clips cannot be divided, the encoder cannot be read, the folder holds another fine-tuning, or
                the final model could not be written.
        """
        self.task = task_for(settings)
        self.folds = fold_runs(self.task)
        self.chosen = selected(self.folds, settings.only)
        trainer = settings.trainer
        self.processes = Processes(trainer.processes, trainer.timeout_minutes, settings.out)
        run = RunFolder(settings.out)
        with self.processes.in_contact():
            # All folds use the same precision, whichever machine continues them.
            precision = choose_precision(trainer.precision, run.precision(), self.processes)
        self.settings = replace(settings, trainer=replace(trainer, precision=precision.value))
        self.learner = learner_for(self.settings, self.task)
        self.model = settings.out / MODEL
        init, manifests = [str(settings.init)], settings.pretraining
        (self.status,) = leak_statuses(self.task.clips, init, manifests, settings.allow_seen)
        check_start(self.learner, self.folds)
        with self.processes.first_before_others() as is_first:
            if is_first:
                self._claim(run)

    def _claim(self, run: RunFolder) -> None:
        with locked(run.folder, wait=True):
            # In pretraining, patience only decides when a run ends; here it decides which weights are tested.
            free = {*FREE_SETTINGS, *FREE, "data", "out", *run.open_choices()} - {"trainer.patience"}
            run.check_recipe(self.settings, free)
            run.check_data({str(self.settings.data): self.task.shards.sha256})
            self._check_init(run.folder / "init.json")
            keep_folds(run.folder / "folds.json", self.task, self.folds)

    def _check_init(self, path: Path) -> None:
        """Record the hash of the initial weights, or compare with it: the same name may now hold other weights.

        Raises:
            UserError: the weights have changed.
        """
        key = self.learner.keys[self.folds[0].seed]
        if path.is_file() and path.read_text(encoding="utf-8").strip() != json.dumps(key):
            raise UserError(
                f"the weights of {self.settings.init} have changed since the folds in {self.settings.out} started from "
                "them; restore the old weights, or give another --out to start again"
            )
        write_atomically(path, json.dumps(key) + "\n")

    def folder(self, fold: FoldRun) -> Path:
        """Return the folder of a fold."""
        return self.settings.out / fold.name

    def run(self) -> None:
        """Train and test the folds that are not done.

        Raises:
            UserError: folds failed; the message names them, and the others are kept.
            Interrupted: a signal came; the current fold is saved.
        """
        left = [fold for fold in self.chosen if not self._is_done(fold)]
        if left and len(left) < len(self.chosen) and self.processes.is_first:
            print(f"{len(self.chosen) - len(left)} of {len(self.chosen)} folds are already done", flush=True)
        failed = self._side_by_side(left) if self.settings.jobs > 1 else self._one_by_one(left)
        if failed:
            raise UserError(
                f"{len(failed)} of {len(self.chosen)} folds failed: {'; '.join(failed)}; the others are kept, and "
                "running the same command again trains only these"
            )
        if self.settings.only == FINAL or (self.settings.final and self.settings.only is None):
            self._final()

    def _side_by_side(self, left: list[FoldRun]) -> list[str]:
        return Jobs(self.settings.jobs).run([fold.name for fold in left])

    def _one_by_one(self, left: list[FoldRun]) -> list[str]:
        failed = []
        for fold in left:
            # Another command that runs at the same time may have trained it.
            if self._is_done(fold):
                continue
            if problem := self._attempt(lambda fold=fold: self._fold(fold)):  # type: ignore[misc]
                failed.append(f"{fold.name} ({problem})")
        return failed

    def _is_done(self, fold: FoldRun) -> bool:
        """Whether a fold is done, as seen by the first process: others look later, and might see something else."""
        with self.processes.in_contact():
            return self.processes.of_first(is_done(self.folder(fold)))

    def _fold(self, fold: FoldRun) -> None:
        folder = self.folder(fold)
        if self.processes.is_first:
            place = self.folds.index(fold) + 1
            print(f"{fold.name}, {place} of {len(self.folds)} folds: tested on {fold.fold}", flush=True)
        run_fold(self.learner, fold, folder, self.status)

    def _attempt(self, work: Callable[[], None]) -> str | None:
        """Return why the work failed, or None if it succeeded. With several processes, a failure ends all of them."""
        try:
            work()
        except (UserError, MemoryError, torch.cuda.OutOfMemoryError) as error:
            # If there is no disk space for one fold, there would be none for the next either, after hours.
            if self.processes.world > 1 or isinstance(error, NoSpace):
                raise
            problem = str(error) if isinstance(error, UserError) else "out of memory; lower batches.batch_clips"
            print(f"nonverbal: {problem}", flush=True)
            return problem
        return None

    def _final(self) -> None:
        missing = [fold.name for fold in self.folds if not self._is_done(fold)]
        if missing:
            raise UserError(
                f"the final model needs the number of epochs that the folds chose, but {', '.join(missing)} are not "
                "done; run the command without --only first"
            )
        # The first process may write it before the others look.
        if self.processes.of_first(self.model.is_dir()):
            return
        scores = self.scores() if self.processes.is_first else []
        chosen = [Chosen(float(score.chosen["epoch"]), float(score.details["share"])) for score in scores]
        epochs, share = self.processes.of_first(median(chosen) if chosen else Chosen(0.0, 0.0))
        if self.processes.is_first:
            print(f"final model: all {len(self.task.clips)} clips, {epochs:g} epochs (the folds' median)")

        def describe(folder: Path) -> None:
            if self.task.kind == "classes":
                (result,) = results(measurements_of(scores, self.settings.out / "scores.jsonl"))
                write_page(folder, self.task, self.settings, epochs, result.models[0])

        run_final(self.learner, self.settings.out, self.folds[0].seed, share, describe)

    def scores(self) -> list[Score]:
        """Write and return the scores of all folds; an empty list while a fold is not done."""
        if not all(is_done(self.folder(fold)) for fold in self.folds):
            return []
        for fold in self.folds:
            # A fold may have been killed after its test and before it deleted these.
            clear(self.folder(fold), self.folder(fold) / "inner")
        with locked(self.settings.out, wait=True):
            return keep_scores(self.settings.out, self.folds)
