"""Figures of a run: training curves."""

from pathlib import Path
from typing import Any

from nonverbal.curves import NAME, Panel, read_panels
from nonverbal.errors import UserError
from nonverbal.files import json_lines, whole
from nonverbal.text import one_line

TRAIN, VALIDATION, MUTED = "#1f77b4", "#d95f02", "#777777"


class NothingYet(UserError):
    """A run has started, but has measured nothing yet."""


def plot_training(metrics: Path, figure: Path) -> None:
    """Draw the curves of a run's ``metrics.jsonl`` as a PNG: the panels of its ``curves.json`` that were measured.

    If that file is missing, as for older runs, every metric is drawn under its own name.

    Raises:
        UserError: a file cannot be read, there is no row of training, or no metric that should be drawn was measured.
    """
    from matplotlib.figure import Figure

    rows = read_metrics(metrics)
    known = read_panels(metrics.parent)
    panels = every_metric(rows) if known is None else known
    panels = [panel for panel in panels if any(is_number(row.get(panel.metric)) for row in rows)]
    if not panels:
        what = "besides its step" if known is None else f"of what {metrics.parent / NAME} names"
        raise UserError(f"{metrics} has nothing to plot: no row has a number {what}; perhaps all steps were skipped")
    columns = min(2, len(panels))
    height = -(-len(panels) // columns)
    canvas = Figure(figsize=(5.5 * columns, 3.6 * height), layout="constrained")
    for axes, panel in zip(canvas.subplots(height, columns, squeeze=False).flat, panels, strict=False):
        _curves(axes, rows, panel)
        # A dollar sign would start mathematics.
        axes.set_ylabel(one_line(panel.label), parse_math=False)
        axes.set_xlabel("optimizer step")
        axes.grid(alpha=0.25)
        if panel.from_zero:
            axes.set_ylim(bottom=0)
        # Small values, such as learning rates, have their power of ten above the axis.
        axes.ticklabel_format(axis="y", scilimits=(-2, 4))
        if len(axes.get_lines()) > 1:
            for text in axes.legend(frameon=False, fontsize="small").get_texts():
                text.set_parse_math(False)
    for axes in canvas.axes[len(panels) :]:
        axes.set_axis_off()
    save(canvas, figure)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read a run's ``metrics.jsonl``; a last row that is still being written is left out.

    Raises:
        UserError: the file cannot be read, a row is not a JSON object with a step, or there is no row of training.
    """
    try:
        rows = dict(json_lines(path, torn=True))
    except OSError as error:
        raise UserError(f"cannot read the metrics {path}: {error.strerror}; give the file of a run folder") from error
    for number, row in rows.items():
        if not isinstance(row, dict) or not is_number(row.get("step")) or row["step"] != row["step"]:
            raise UserError(f"{path}, line {number}: not a row of metrics: expected a JSON object with a step")
    if not any(row.get("kind") == "train" for row in rows.values()):
        raise NothingYet(f"{path} holds no row of training yet")
    return list(rows.values())


def every_metric(rows: list[dict[str, Any]]) -> list[Panel]:
    """Return a panel for each overall metric of training and validation, in the order in which they are written."""
    # Names with a dot are for a part: a corpus, a band.
    names = dict.fromkeys(name for row in rows for name, value in row.items() if "." not in name and is_number(value))
    return [Panel(name, name, from_zero=False) for name in names if name != "step"]


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
        axes.plot(steps, values, color=MUTED, linestyle="--", label=one_line(panel.caption))


def _column(rows: list[dict[str, Any]], name: str) -> list[float]:
    # A loss that was not finite is None or nan in the file; both leave a gap in the curve.
    return [float(row[name]) if is_number(row[name]) else float("nan") for row in rows]


def is_number(value: object) -> bool:
    """Whether a JSON value is a number that floating point can hold; nan counts, infinities do not."""
    # JSON may hold integers beyond the range of floating point.
    return isinstance(value, int | float) and not isinstance(value, bool) and (value != value or abs(value) < 1e300)


def save(canvas: Any, figure: Path) -> None:
    """Write a figure as PNG, completely or not at all."""
    with whole(figure) as unfinished:
        canvas.savefig(unfinished, dpi=150, format="png")
