"""Drawings of a pretraining run: the curves listed in its ``curves.json``."""

from collections.abc import Sequence
from typing import Any

from nonverbal.curves import Panel
from nonverbal.evaluation.plots import is_number
from nonverbal.report.axes import Scale, around, axis_names, frame, label, ticks
from nonverbal.report.drawing import Dot, Drawing, Line, Mark, Words

POINTS = 600
"""Largest number of points of a curve; more cannot be distinguished at the width of a page."""

Curve = list[tuple[float, float]]


def run_chart(name: str, rows: Sequence[dict[str, Any]], panel: Panel) -> Drawing | None:
    """Draw one metric over steps, in training and in validation; None if it was never measured.

    Args:
        name: of the drawing.
        rows: of the run's ``metrics.jsonl``.
        panel: the metric.
    """
    train, validation = (_curve(rows, kind, panel.metric) for kind in ("train", "validation"))
    baseline = _curve(rows, "train", panel.baseline) if panel.baseline is not None else []
    every = [*train, *validation, *baseline]
    if not every:
        return None
    width, height, left = 440.0, 270.0, 64.0
    steps = [step for step, _ in every]
    x = Scale(0, max(*steps, 1), left, width - 18)
    y = Scale(*around([value for _, value in every], panel.from_zero), height - 48, 44)
    marks: list[Mark] = frame(x, y, ticks(0, x.high), ticks(y.low, y.high))
    marks.append(Words(left, 12, panel.label, "ink", 12.5, bold=True))
    marks += axis_names(x, y, "optimizer step")
    if baseline:
        marks.append(Line(_places(baseline, x, y), "muted", 1.3, "4 3"))
    marks += [Line(_places(train, x, y), "accent", 1.6)] if train else []
    marks += [Line(_places(validation, x, y), "warm", 1.6)] if len(validation) > 1 else []
    for step, value in validation if len(validation) < 60 else []:
        marks.append(Dot(x(step), y(value), 2.8, "warm", 1, f"step {step:g}: {value:.4g}"))
    caption = panel.caption or panel.baseline or ""
    named = [("train", "accent", train), ("validation", "warm", validation), (caption, "muted", baseline)]
    marks += _legend([(text, role) for text, role, curve in named if curve], left)
    said = "; ".join(f"{text} from {label(c[0][1])} to {label(c[-1][1])}" for text, _, c in named if c)
    return Drawing(name, panel.label, f"{panel.label} over {x.high:g} steps: {said}.", width, height, marks)


def _legend(names: Sequence[tuple[str, str]], left: float) -> list[Mark]:
    marks: list[Mark] = []
    for text, role in names:
        marks += [Line([(left, 30), (left + 16, 30)], role, 2), Words(left + 21, 30, text, "muted", 11)]
        left += 38 + 6.4 * len(text)
    return marks


def _curve(rows: Sequence[dict[str, Any]], kind: str, metric: str) -> Curve:
    """Return steps and values, thinned evenly to ``POINTS``, with the last; values that are not finite are left out."""
    found = [(float(row["step"]), row[metric]) for row in rows if row.get("kind") == kind and metric in row]
    curve = [(step, float(value)) for step, value in found if is_number(value) and value == value]
    every = -(-len(curve) // POINTS) or 1
    thin = curve[::every]
    return thin if not curve or thin[-1] == curve[-1] else [*thin, curve[-1]]


def _places(curve: Curve, x: Scale, y: Scale) -> list[tuple[float, float]]:
    return [(x(step), y(value)) for step, value in curve]
