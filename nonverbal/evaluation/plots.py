"""Figures of a run: training curves."""

from pathlib import Path
from typing import Any

from nonverbal.errors import UserError
from nonverbal.files import json_lines

TRAIN, VALIDATION, MUTED = "#1f77b4", "#d95f02", "#777777"

PANELS = (
    ("loss", "loss per target"),
    ("accuracy", "accuracy (share of targets)"),
    ("perplexity", "perplexity (codes or units in use)"),
    ("masked_error", "error of hidden patches (mean square)"),
    ("visible_error", "error of visible patches (mean square)"),
    ("lr", "learning rate"),
)
"""Metric and axis label. A metric that a run did not measure has no panel."""

BASELINES = {"accuracy": ("chance", "chance (train)"), "masked_error": ("mean_error", "the clip's mean (train)")}
"""Metric to the one that is drawn beside it, and what that is called."""


def plot_training(metrics: Path, figure: Path) -> None:
    """Draw the curves of a run's ``metrics.jsonl`` to a PNG: ``PANELS``, where they were measured.

    Raises:
        UserError: the file cannot be read, or holds no row of training.
    """
    from matplotlib.figure import Figure

    rows = read_metrics(metrics)
    panels = [(name, label) for name, label in PANELS if any(name in row for row in rows)]
    columns = min(2, len(panels))
    height = -(-len(panels) // columns)
    canvas = Figure(figsize=(5.5 * columns, 3.6 * height), layout="constrained")
    for axes, (name, label) in zip(canvas.subplots(height, columns, squeeze=False).flat, panels, strict=False):
        _curves(axes, rows, name)
        axes.set(xlabel="optimizer step", ylabel=label)
        axes.grid(alpha=0.25)
        if name != "loss":
            axes.set_ylim(bottom=0)
        if name == "lr":
            axes.ticklabel_format(axis="y", scilimits=(0, 0))
        if len(axes.get_lines()) > 1:
            axes.legend(frameon=False, fontsize="small")
    for axes in canvas.axes[len(panels) :]:
        axes.set_axis_off()
    save(canvas, figure)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read a run's ``metrics.jsonl``; a last row that is still being written is left out.

    Raises:
        UserError: the file cannot be read, a row is not JSON, or there is no row of training.
    """
    try:
        rows = [row for _, row in json_lines(path, torn=True)]
    except OSError as error:
        raise UserError(f"cannot read the metrics {path}: {error.strerror}; give the file of a run folder") from error
    if not any(row.get("kind") == "train" for row in rows):
        raise UserError(f"{path} holds no row of training yet")
    return rows


def _curves(axes: Any, rows: list[dict[str, Any]], name: str) -> None:
    train = [row for row in rows if row.get("kind") == "train" and name in row]
    validation = [row for row in rows if row.get("kind") == "validation" and name in row]
    if train:
        axes.plot(_column(train, "step"), _column(train, name), color=TRAIN, linewidth=1.3, label="train")
    if validation:
        steps, values = _column(validation, "step"), _column(validation, name)
        axes.plot(steps, values, color=VALIDATION, marker="o", markersize=3, linewidth=1.3, label="validation")
    baseline, called = BASELINES.get(name, ("", ""))
    if known := [row for row in train if baseline in row]:
        axes.plot(_column(known, "step"), _column(known, baseline), color=MUTED, linestyle="--", label=called)


def _column(rows: list[dict[str, Any]], name: str) -> list[float]:
    # A loss that was not finite is None or nan in the file; both leave a gap in the curve.
    return [float("nan") if row[name] is None else float(row[name]) for row in rows]


def save(canvas: Any, figure: Path) -> None:
    """Write a figure as PNG, whole or not at all."""
    figure.parent.mkdir(parents=True, exist_ok=True)
    unfinished = figure.with_name(f".{figure.name}.new")
    canvas.savefig(unfinished, dpi=150, format="png")
    unfinished.replace(figure)
