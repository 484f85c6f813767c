"""What the common way costs in honesty: folds that share speakers x choices on the test fold, each way with refit.

The four cells have the same clips, folds in the same number, and classifiers that are fitted to whole training sides:
they differ in what is shared and in what is seen, and not in how much is trained on.
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
"""Whether folds split no group, and where choices are made."""

CELLS: tuple[Cell, ...] = ((False, "test"), (False, "inner"), (True, "test"), (True, "inner"))
COMMON, HONEST = CELLS[0], CELLS[-1]
DIFFERENCES: dict[str, tuple[Cell, Cell]] = {
    "total": (COMMON, HONEST),
    "groups on both sides": ((False, "inner"), HONEST),
    "chosen on the test fold": ((True, "test"), HONEST),
}
"""Name to the two cells whose difference it is. The two parts need not sum to the whole."""


@dataclass(frozen=True)
class Bias:
    """One model under the four ways."""

    model: str
    head: str
    group: Group
    """What the grouped folds keep apart, over which intervals are taken."""
    uar: Mapping[Cell, Estimate]
    """Pooled."""
    differences: Mapping[str, Interval]
    """Name in ``DIFFERENCES`` to the difference of pooled UARs, with its .95 interval over groups."""

    def as_row(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
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
    """Return the task under the four ways. Where its protocol groups by nothing, the grouped folds are by speaker.

    Raises:
        UserError: its protocol is no cross-validation, or is cut to some clips a class, or there are no such folds.
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
    """Return a function that scores a task, once where several have the same protocol: a way may be that asked for.

    Args:
        compute: scores a task, and draws so many labels for its null.
        null: how many are drawn for the first task; none for the others.
    """
    done: dict[str, list[Score]] = {}

    def score(task: Task) -> list[Score]:
        if task.protocol not in done:
            done[task.protocol] = compute(task, 0 if done else null)
        return done[task.protocol]

    return score


def measure_bias(tasks: Mapping[Cell, Task], score: Callable[[Task], list[Score]], file: Path) -> list[Bias]:
    """Score all models under the four ways.

    Args:
        tasks: see ``bias_tasks``.
        score: scores all models on a task, and writes scores and predictions.
        file: where it keeps the scores; their predictions lie beside it.
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
    """Return by model and head its decisions, ``(seeds, groups, classes, classes)``: each clip in its honest group."""
    found: dict[tuple[str, str], list[np.ndarray]] = {}
    for measurement in measurements_of(scores, file):
        p, classes = measurement.predictions, measurement.scores[0].classes
        own = [groups[clip] for clip in p.clips]
        found.setdefault(measurement.row, []).append(confusion_counts(p.labels, p.predicted, own, range(len(classes))))
    return {row: np.stack(seeds) for row, seeds in found.items()}


def bias_tables(rows: Sequence[Bias], title: str) -> list[Table]:
    """Return the pooled UARs under the four ways, and the differences, a row a model each."""
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
