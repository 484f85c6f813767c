"""What ``nonverbal probe`` shows beside its scores: tables, and the numbers and figures that it keeps of them."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nonverbal.evaluation.bias import Bias, bias_tables
from nonverbal.evaluation.learning_curve import Point, curve_table, plot_curve
from nonverbal.evaluation.subgroups import subgroups, subgroups_table
from nonverbal.evaluation.tables import show
from nonverbal.files import write_atomically
from nonverbal.tasks.measurements import measurements_of
from nonverbal.tasks.scores import Score
from nonverbal.tasks.task import Task
from nonverbal.text import slug


def print_subgroups(scores: Sequence[Score], file: Path, task: Task, name: str) -> None:
    """Print and keep what was decided on the clips of each value of an attribute.

    Args:
        scores: of one task and protocol.
        file: where they are kept; their predictions lie beside it.
        task: that was scored.
        name: of the attribute.
    """
    rows = subgroups(measurements_of(scores, file), task.clips, name)
    show([subgroups_table(rows, name, f"{task.corpus}, {task.protocol}")])
    _keep(file.parent / f"{_stem(task, rows[0].head)}-by-{slug(name)}.json", [asdict(row) for row in rows])


def print_bias(rows: Sequence[Bias], task: Task, out: Path) -> None:
    """Print and keep in ``out`` what random folds and choices on the test fold add."""
    show(bias_tables(rows, task.corpus))
    _keep(out / f"{_stem(task, rows[0].head)}-bias.json", [row.as_row() for row in rows])


def print_curve(points: Sequence[Point], task: Task, out: Path) -> None:
    """Print a learning curve, keep it in ``out``, and draw it."""
    title = f"{task.corpus}, {len(task.classes)} classes: {task.protocol}"
    through = f"lets through: {'; '.join(task.division.lets_through)}"
    table = curve_table(points, title)
    table.notes.append(f"the protocol {through}")
    show([table])
    stem = f"{_stem(task, points[0].head)}-learning-curve"
    _keep(out / f"{stem}.json", [point.as_row() for point in points])
    plot_curve(points, [title, through], 1 / len(task.classes), out / f"{stem}.png")
    print(f"learning curve: {out / stem}.png")


def _stem(task: Task, head: str) -> str:
    return f"{task.slug}-{slug(head)}"


def _keep(path: Path, rows: Sequence[Any]) -> None:
    """Write numbers that were printed, not rounded."""
    write_atomically(path, json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
    print(f"numbers: {path}")


def print_division(task: Task) -> None:
    """Say what the protocol is, what it lets through, and what else is to be known of these clips."""
    print(f"protocol: {task.protocol}\nlets through: {'; '.join(task.division.lets_through)}")
    for note in task.division.notes:
        print(f"note: {note}")
