"""What programs that score show and store besides the scores: tables, numbers and figures."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nonverbal.evaluation.bias import Bias, bias_tables
from nonverbal.evaluation.learning_curve import Point, curve_table, plot_curve
from nonverbal.evaluation.score_tables import untestable
from nonverbal.evaluation.subgroups import subgroups, subgroups_table
from nonverbal.evaluation.tables import show
from nonverbal.files import write_atomically
from nonverbal.tasks.groups import units
from nonverbal.tasks.measurements import measurements_of
from nonverbal.tasks.scores import Score
from nonverbal.tasks.task import Task
from nonverbal.text import one_line, slug


def print_division(task: Task) -> None:
    """Print the protocol, its possible leakage, and other notes on these clips."""
    print(f"protocol: {task.protocol}\npossible leakage: {'; '.join(task.division.lets_through)}")
    for note in task.division.notes:
        print(f"note: {note}")


def print_sizes(scores: Sequence[Score]) -> None:
    """Print how many parameters the head of each encoder has, and how many its paper states."""
    first = {score.model: score.details for score in reversed(scores) if "parameters" in score.details}
    sizes = [f"{one_line(model)} {details['parameters']}" for model, details in reversed(first.items())]
    stated = {f"; its paper states {details['stated']}" for details in first.values() if "stated" in details}
    if sizes:
        print(f"parameters of {scores[0].probe}: {', '.join(sizes)}{''.join(stated)}")


def print_untestable(task: Task, models: int, what: str) -> None:
    """Print a note if so few units cannot show a difference between two of ``models`` models, called ``what``."""
    numbers, unit = units(task.groups, [clip.speaker for clip in task.clips], [clip.recording for clip in task.clips])
    if text := untestable(int(numbers.max()) + 1, models * (models - 1) // 2, unit):
        print(f"note: differences between {what} are {text}")


def print_subgroups(scores: Sequence[Score], file: Path, task: Task, name: str) -> None:
    """Print and store the results on the clips of each value of an attribute.

    Args:
        scores: scores of one task and protocol.
        file: the file that they are kept in; their predictions are beside it.
        task: the task that was scored.
        name: name of the attribute.
    """
    rows = subgroups(measurements_of(scores, file), task.clips, name)
    show([subgroups_table(rows, name, f"{task.corpus}, {task.protocol}")])
    _keep(file.parent / f"{_stem(task, rows[0].head)}-by-{slug(name)}.json", [asdict(row) for row in rows])


def print_bias(rows: Sequence[Bias], task: Task, out: Path) -> None:
    """Print, and store in ``out``, by how much random folds and choices on the test fold raise scores."""
    show(bias_tables(rows, task.corpus))
    _keep(out / f"{_stem(task, rows[0].head)}-bias.json", [row.as_row() for row in rows])


def print_curve(points: Sequence[Point], task: Task, out: Path) -> None:
    """Print a learning curve, store it in ``out``, and draw it."""
    title = f"{task.corpus}, {len(task.classes)} classes: {task.protocol}"
    leakage = f"possible leakage: {'; '.join(task.division.lets_through)}"
    table = curve_table(points, title)
    table.notes.append(leakage)
    show([table])
    stem = f"{_stem(task, points[0].head)}-learning-curve"
    _keep(out / f"{stem}.json", [point.as_row() for point in points])
    plot_curve(points, [title, leakage], 1 / len(task.classes), out / f"{stem}.png")
    print(f"learning curve: {out / stem}.png")


def _stem(task: Task, head: str) -> str:
    return f"{task.slug}-{slug(head)}"


def _keep(path: Path, rows: Sequence[Any]) -> None:
    """Write numbers that were printed, unrounded."""
    write_atomically(path, json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
    print(f"numbers: {path}")
