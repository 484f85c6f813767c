"""The runs of a fine-tuning, one per fold and seed: the clips that each is fitted to and chooses its epoch on."""

from dataclasses import dataclass

import numpy as np

from nonverbal.errors import UserError
from nonverbal.tasks.divisions import plan
from nonverbal.tasks.task import Task
from nonverbal.text import shown

FINAL = "final"
"""Name of the run on all clips."""


@dataclass(frozen=True)
class FoldRun:
    """A fold. Clips are positions in the task, ``(clips,)`` int64."""

    seed: int
    number: int
    """Its position among the folds of its seed."""
    fold: str
    """Its name in scores."""
    train: np.ndarray
    """Clips that the run is fitted to while it chooses the epoch."""
    validation: np.ndarray
    """Clips on which the epoch is chosen."""
    refitted: np.ndarray | None
    """Clips for a second run of as many epochs as the first chose; None without refitting."""
    test: np.ndarray

    @property
    def name(self) -> str:
        """Name of its folder in the run folder."""
        return f"seed-{self.seed}/fold-{self.number}"

    @property
    def fitted(self) -> np.ndarray:
        """Clips that the tested weights are fitted to."""
        return self.train if self.refitted is None else self.refitted

    @property
    def labels_seen(self) -> np.ndarray:
        """Clips on whose labels the tested weights depend, in increasing order."""
        return np.union1d(np.union1d(self.train, self.validation), self.fitted)


def fold_runs(task: Task) -> list[FoldRun]:
    """Return the runs of a task, seed by seed.

    Raises:
        UserError: the training side of a fold cannot be divided, or a class has no clips left to fit to.
    """
    return [_run(task, seed, number) for seed, folds in task.folds.items() for number in range(len(folds))]


def _run(task: Task, seed: int, number: int) -> FoldRun:
    fold, protocol = task.folds[seed][number], task.division.protocol
    own = plan(protocol, fold, task.labels, task.groups, seed)
    inner = own.inner[0]
    train, validation = own.rows[inner.train], own.rows[inner.test]
    refitted = own.rows[own.training] if protocol.refit and protocol.select == "inner" else None
    run = FoldRun(seed, number, fold.name, train, validation, refitted, fold.test)
    if missing := sorted(set(task.classes) - {task.labels[place] for place in train}):
        raise UserError(
            f"fold {fold.name} of seed {seed} has no clips of {', '.join(map(shown, missing))} left to fit to after it "
            "has set some aside to choose the epoch; leave such classes out (--labels), or change the groups (--group)"
        )
    return run


def selected(runs: list[FoldRun], only: str | None) -> list[FoldRun]:
    """Return the run that ``only`` names, all runs if it is None, or none if it names the final model.

    Raises:
        UserError: there is no such run.
    """
    if only is None:
        return runs
    found = [run for run in runs if run.name == only]
    if not found and only != FINAL:
        raise UserError(
            f"there is no fold {only!r}; there are {len(runs)} folds, {runs[0].name} to {runs[-1].name}, and {FINAL}"
        )
    return found
