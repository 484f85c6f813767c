"""Figures of a run: training curves."""

from pathlib import Path
from typing import Any

from nonverbal.curves import Panel, read_panels
from nonverbal.errors import UserError
from nonverbal.files import json_lines

TRAIN, VALIDATION, MUTED = "#1f77b4", "#d95f02", "#777777"


def plot_training(metrics: Path, figure: Path) -> None:
    """Draw the curves of a run's ``metrics.jsonl`` to a PNG: the panels of its ``curves.json`` that were measured.

    In a folder without that file, as of older runs, every metric is drawn under its own name.

    Raises:
        UserError: a file cannot be read, or there is no row of training.
    """
    from matplotlib.figure import Figure

    rows = read_metrics(metrics)
    known = read_panels(metrics.parent)
    panels = _every_metric(rows) if known is None else known
    panels = [panel for panel in panels if any(panel.metric in row for row in rows)]
    columns = min(2, len(panels))
    height = -(-len(panels) // columns)
    canvas = Figure(figsize=(5.5 * columns, 3.6 * height), layout="constrained")
    for axes, panel in zip(canvas.subplots(height, columns, squeeze=False).flat, panels, strict=False):
        _curves(axes, rows, panel)
        axes.set(xlabel="optimizer step", ylabel=panel.label)
        axes.grid(alpha=0.25)
        if panel.from_zero:
            axes.set_ylim(bottom=0)
        # What is small, as learning rates are, with its power of ten over the axis.
        axes.ticklabel_format(axis="y", scilimits=(-2, 4))
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


def _every_metric(rows: list[dict[str, Any]]) -> list[Panel]:
    """Return a panel for each metric of training and validation as a whole, in the order in which they are written."""
    # Names with a dot are of a part: a corpus, a band.
    names = dict.fromkeys(name for row in rows for name in row if "." not in name)
    return [Panel(name, name, from_zero=False) for name in names if name not in ("kind", "step")]


def _curves(axes: Any, rows: list[dict[str, Any]], panel: Panel) -> None:
    train = [row for row in rows if row.get("kind") == "train" and panel.metric in row]
    validation = [row for row in rows if row.get("kind") == "validation" and panel.metric in row]
    if train:
        axes.plot(_column(train, "step"), _column(train, panel.metric), color=TRAIN, linewidth=1.3, label="train")
    if validation:
        steps, values = _column(validation, "step"), _column(validation, panel.metric)
        axes.plot(steps, values, color=VALIDATION, marker="o", markersize=3, linewidth=1.3, label="validation")
    if panel.baseline is not None and (known := [row for row in train if panel.baseline in row]):
        steps, values = _column(known, "step"), _column(known, panel.baseline)
        axes.plot(steps, values, color=MUTED, linestyle="--", label=panel.caption)


def _column(rows: list[dict[str, Any]], name: str) -> list[float]:
    # A loss that was not finite is None or nan in the file; both leave a gap in the curve.
    return [float("nan") if row[name] is None else float(row[name]) for row in rows]


def save(canvas: Any, figure: Path) -> None:
    """Write a figure as PNG, whole or not at all."""
    figure.parent.mkdir(parents=True, exist_ok=True)
    unfinished = figure.with_name(f".{figure.name}.new")
    canvas.savefig(unfinished, dpi=150, format="png")
    unfinished.replace(figure)
