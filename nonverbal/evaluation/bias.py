"""How much the common method inflates scores: random folds or choices on the test fold, alone and together.

The four cells have the same clips, the same number of folds, and classifiers fitted to whole training sides. They
differ in which groups are shared and in what choices are made on, not in the amount of training data.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nonverbal.errors import UserError
from nonverbal.evaluation.results import Estimate, estimate
from nonverbal.evaluation.tables import Table, bounds, short, signed
from nonverbal.tasks.divisions import divide
from nonverbal.tasks.folds import Group
from nonverbal.tasks.measurements import measurements_of
from nonverbal.tasks.protocols import Select
from nonverbal.tasks.scores import Score
from nonverbal.tasks.statistics.confusions import UAR, confusion_counts
from nonverbal.tasks.statistics.intervals import Interval, difference_t
from nonverbal.tasks.task import Task, divided_again

Cell = tuple[bool, Select]
"""Whether folds keep groups whole, and where choices are made."""

CELLS: tuple[Cell, ...] = ((False, "test"), (False, "inner"), (True, "test"), (True, "inner"))
COMMON, HONEST = CELLS[0], CELLS[-1]
DIFFERENCES: dict[str, tuple[Cell, Cell]] = {
    "total": (COMMON, HONEST),
    "groups on both sides": ((False, "inner"), HONEST),
    "chosen on the test fold": ((True, "test"), HONEST),
}
"""From a name to the two cells that are subtracted. The two parts need not sum to the whole."""


@dataclass(frozen=True)
class Bias:
    """One model under the four methods."""

    model: str
    head: str
    group: Group
    """What the grouped folds keep apart; intervals are over these groups."""
    uar: Mapping[Cell, Estimate]
    """Pooled UAR of each cell."""
    differences: Mapping[str, Interval]
    """Differences of pooled UARs by name in ``DIFFERENCES``, with .95 intervals over groups."""

    def as_row(self) -> dict[str, Any]:
        """Return it in a form that JSON can hold."""
        names = {cell: f"{self.group if cell[0] else 'none'}/{cell[1]}" for cell in CELLS}
        return {
            "model": self.model,
            "head": self.head,
            "group": self.group,
            "uar": {
                names[cell]: {"value": found.value, "low": found.low, "high": found.high}
                for cell, found in self.uar.items()
            },
            "differences": {
                name: {"value": found.value, "low": found.low, "high": found.high, "groups": found.groups}
                for name, found in self.differences.items()
            },
        }


def bias_tasks(task: Task) -> dict[Cell, Task]:
    """Return the task under the four methods. If its protocol does not group, the grouped folds are by speaker.

    Raises:
        UserError: its protocol is not a cross-validation, or is cut to some clips per class, or there are no such
            folds.
    """
    protocol = task.division.protocol
    if protocol.folds != "leave-one-out" and not isinstance(protocol.folds, int):
        raise UserError(
            f"--bias compares kinds of folds, but {protocol.name} has no folds: give --folds 5, or leave-one-out"
        )
    group: Group = "speaker" if protocol.group == "none" else protocol.group
    honest = replace(protocol, group=group, select="inner", refit=True, counting="nonverbal")
    division = divide(honest, task.labels, task.clips)
    folds = len(next(iter(division.folds.values())))
    tasks = {}
    for grouped, select in CELLS:
        way = replace(honest if grouped else replace(honest, group="none", folds=folds), select=select)
        tasks[grouped, select] = divided_again(task, way)
    return tasks


def once_a_protocol(compute: Callable[[Task, int], list[Score]], null: int) -> Callable[[Task], list[Score]]:
    """Return a function that scores each protocol once, because one of the methods may be the requested protocol.

    Args:
        compute: scores a task, with the given number of draws for its null.
        null: number of draws for the first task; the others have no null.
    """
    done: dict[str, list[Score]] = {}

    def score(task: Task) -> list[Score]:
        if task.protocol not in done:
            done[task.protocol] = compute(task, 0 if done else null)
        return done[task.protocol]

    return score


def measure_bias(tasks: Mapping[Cell, Task], score: Callable[[Task], list[Score]], file: Path) -> list[Bias]:
    """Score all models under the four methods.

    Args:
        tasks: see ``bias_tasks``.
        score: scores all models on a task, and writes scores and predictions.
        file: file in which ``score`` stores the scores; their predictions are beside it.
    """
    honest = tasks[HONEST]
    groups = dict(zip([clip.id for clip in honest.clips], honest.groups, strict=True))
    counts = {cell: _counts(score(own), file, groups) for cell, own in tasks.items()}
    return [
        Bias(
            model,
            head,
            honest.division.protocol.group,
            {cell: estimate(counts[cell][model, head], UAR) for cell in CELLS},
            {
                name: difference_t(counts[first][model, head], counts[second][model, head])
                for name, (first, second) in DIFFERENCES.items()
            },
        )
        for model, head in counts[HONEST]
    ]


def _counts(scores: Sequence[Score], file: Path, groups: Mapping[str, str]) -> dict[tuple[str, str], np.ndarray]:
    """Return decisions by model and head, ``(seeds, groups, classes, classes)``; ``groups`` are by id of the clip."""
    found: dict[tuple[str, str], list[np.ndarray]] = {}
    for measurement in measurements_of(scores, file):
        p, classes = measurement.predictions, measurement.scores[0].classes
        own = [groups[clip] for clip in p.clips]
        found.setdefault(measurement.row, []).append(confusion_counts(p.labels, p.predicted, own, range(len(classes))))
    return {row: np.stack(seeds) for row, seeds in found.items()}


def bias_tables(rows: Sequence[Bias], title: str) -> list[Table]:
    """Return the pooled UARs under the four methods, and the differences, with one row per model in each."""
    several = len({row.head for row in rows}) > 1
    names = ["model", *(["head"] if several else [])]
    group = rows[0].group
    ways = {False: "random folds", True: f"{group}-disjoint folds"}
    places: dict[Select, str] = {"test": "chosen on the test fold", "inner": "chosen inside"}
    cells = [
        [*_names(row, several), ways[grouped], *(_cell(row.uar[grouped, select]) for select in places)]
        for row in rows
        for grouped in ways
    ]
    notes = [
        "UAR of the decisions of all folds together, interval of .95 over groups; the same clips, the same number of "
        "folds, and classifiers fitted to whole training sides in all four"
    ]
    first = Table(f"{title}: random and group folds", [*names, "folds", *places.values()], cells, notes, len(names) + 1)
    differences = [
        [*_names(row, several), name, signed(added.value), f"[{signed(added.low)}, {signed(added.high)}]"]
        for row in rows
        for name, added in row.differences.items()
    ]
    groups = rows[0].differences["total"].groups
    notes = [
        f"total: UAR with random folds and choices on the test fold, minus UAR with {group}-disjoint folds and "
        f"choices inside; interval: .95 over {groups} "
        "groups (jackknife t of the difference), of these trained models; the parts need not sum to the total"
    ]
    columns = [*names, "bias", "UAR", "interval"]
    return [first, Table(f"{title}: bias", columns, differences, notes, len(names) + 1)]


def _names(row: Bias, several: bool) -> list[str]:
    return [row.model, row.head] if several else [row.model]


def _cell(found: Estimate) -> str:
    return f"{short(found.value)} {bounds(found.low, found.high, '')}".rstrip()
