"""Learning curves: the results of a head with only a few clips of each class."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nonverbal.evaluation.plots import MUTED, save
from nonverbal.evaluation.results import Estimate, results
from nonverbal.evaluation.tables import Table, bounds, short
from nonverbal.grouping import grouped
from nonverbal.tasks.divisions import plan
from nonverbal.tasks.measurements import measurements_of
from nonverbal.tasks.scores import Score
from nonverbal.tasks.task import Task, divided_again
from nonverbal.text import one_line


@dataclass(frozen=True)
class Point:
    """One model at one size of the training sides."""

    model: str
    head: str
    per_class: int | None
    """Number of clips of each class; None for all."""
    clips: float
    """Number of clips of a training side, a mean over folds and seeds."""
    uar: Estimate
    """UAR of the decisions of all folds together, with its interval over groups."""
    mean: float
    """Mean of the UARs of single folds."""
    std: float
    """Their population standard deviation over folds and seeds, each of which draws its own clips."""
    folds: int
    chosen: int
    """Number of folds whose clips could be divided for choices. In the others the head used its defaults."""

    def as_row(self) -> dict[str, Any]:
        """Return it in a form that JSON can hold."""
        own = {name: value for name, value in vars(self).items() if name != "uar"}
        return own | {"uar": self.uar.value, "low": self.uar.low, "high": self.uar.high}


def curve_tasks(task: Task, sizes: Sequence[int]) -> dict[int, Task]:
    """Return the task with training sides cut to each number of clips per class; smaller ones are parts of larger.

    Raises:
        UserError: a size is below 1.
    """
    protocol = task.division.protocol
    return {size: divided_again(task, replace(protocol, per_class=size)) for size in sorted(set(sizes))}


def learning_curve(
    task: Task, sizes: Mapping[int, Task], score: Callable[[Task], list[Score]], scores: Sequence[Score], file: Path
) -> list[Point]:
    """Score all models at each size.

    Args:
        task: the clips and their protocol.
        sizes: see ``curve_tasks``; if a class has fewer clips on a training side, all are used.
        score: scores all models on a task, and writes scores and predictions.
        scores: scores for the whole training sides, which are the ends of the curves.
        file: the file that they are kept in; their predictions are beside it.
    """
    points = []
    for size, own in sizes.items():
        points += _points(own, score(own), size, file)
    return points + _points(task, scores, None, file)


def _points(task: Task, scores: Sequence[Score], size: int | None, file: Path) -> list[Point]:
    (result,) = results(measurements_of(scores, file))
    chosen = sum(
        bool(plan(task.division.protocol, fold, task.labels, task.groups, seed).inner)
        for seed, folds in task.folds.items()
        for fold in folds
    )
    return [
        Point(
            model.model,
            model.head,
            size,
            float(np.mean([row.train_clips for row in model.scores])),
            model.pooled["uar"],
            model.fold_mean["uar"],
            model.fold_std["uar"],
            model.folds,
            chosen,
        )
        for model in result.models
    ]


def curve_table(points: Sequence[Point], title: str) -> Table:
    """Return a row for each model and size."""
    several = len({point.head for point in points}) > 1
    order = list(dict.fromkeys((point.model, point.head) for point in points))
    cells = [
        [
            point.model,
            *([point.head] if several else []),
            "all" if point.per_class is None else str(point.per_class),
            f"{point.clips:.0f}",
            short(point.uar.value),
            bounds(point.uar.low, point.uar.high),
            f"{short(point.mean)}±{short(point.std)}",
            f"{point.chosen} of {point.folds}",
        ]
        for row in order
        for point in points
        if (point.model, point.head) == row
    ]
    columns = ["model", *(["head"] if several else []), "clips per class", "training clips"]
    columns += ["UAR", "interval", "UAR by fold", "folds with choices"]
    notes = [
        "training clips are drawn by seed, in turn from a class's groups; smaller samples are subsets of larger ones; "
        "test sides are the same for all sizes",
        "by fold: mean ± population std over folds and seeds, whose draws differ; it is not an interval",
    ]
    if any(point.chosen < point.folds for point in points):
        notes.append("if there are too few clips to divide, nothing is chosen, and the head uses its defaults")
    return Table(f"{title}: learning curve", columns, cells, notes, 2 if several else 1)


def plot_curve(points: Sequence[Point], title: Sequence[str], chance: float, figure: Path) -> None:
    """Draw UAR by clips per class, with mean and population standard deviation over folds and seeds, as a PNG.

    There is a line for each model. Dots are hollow if no choices could be made in some folds; the last dot is for all
    clips. ``title`` is a list of lines.
    """
    from matplotlib.figure import Figure

    several = len({point.head for point in points}) > 1
    rows = grouped(points, lambda point: f"{point.model}, {point.head}" if several else point.model)
    canvas = Figure(figsize=(6.5, 3.8 + 0.2 * len(rows)), layout="constrained")
    axes = canvas.subplots()
    classes = round(1 / chance)
    for name, own in rows.items():
        at = np.array([point.clips / classes for point in own])
        mean, std = (np.array([getattr(point, column) for point in own]) for column in ("mean", "std"))
        (line,) = axes.plot(at, mean, linewidth=1.3, label=_plain(name)[-60:])
        axes.fill_between(at, mean - std, mean + std, color=line.get_color(), alpha=0.15, linewidth=0)
        faces = [line.get_color() if point.chosen == point.folds else "white" for point in own]
        axes.scatter(at, mean, s=28, facecolors=faces, edgecolors=line.get_color(), zorder=3)
    axes.axhline(chance, color=MUTED, linestyle="--", linewidth=1, label=f"chance ({chance:.2f})", zorder=1)
    hollow = "; hollow: some folds could not choose" if any(point.chosen < point.folds for point in points) else ""
    ticks = sorted({round(point.clips / classes, 1) for point in points})
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set(
        xlabel=f"training clips per class (last: all{hollow})\nband: population std over folds and seeds",
        ylabel="UAR, mean over folds and seeds",
    )
    axes.set_title("\n".join(map(_plain, title)), fontsize="medium", wrap=True)
    axes.grid(alpha=0.25)
    canvas.legend(frameon=False, fontsize="small", loc="outside lower center")
    save(canvas, figure)


def _plain(text: str) -> str:
    """Return a text on one line, escaped so that matplotlib does not read any of it as mathematics."""
    return one_line(text).replace("$", r"\$")
