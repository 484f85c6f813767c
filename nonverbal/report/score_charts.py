"""Drawings of a task's scores: folds and intervals, confusions, recalls, layers, calibration."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nonverbal.evaluation.results import Estimate
from nonverbal.evaluation.tables import bounds, short
from nonverbal.report.axes import Scale, around, axis_names, frame, label, ticks
from nonverbal.report.drawing import Area, Box, Dot, Drawing, Line, Mark, Words, shortened

ROOM = 58
"""Space to the left of a plot's axis."""


CONFUSION = ("true class", "predicted class")
"""Titles of the rows and columns of a confusion matrix."""


@dataclass(frozen=True)
class Lane:
    """The row of one model in a chart of folds."""

    name: str
    estimate: Estimate
    folds: list[float]


def folds_chart(name: str, metric: str, lanes: Sequence[Lane], chance: float | None) -> Drawing:
    """Draw in one row per model the value of every fold, and that of all folds together with its interval.

    Args:
        name: of the drawing.
        metric: name of the values.
        lanes: the models, with values from 0 to 1, or above.
        chance: the value of guessing; None if there is none.
    """
    top = max([1.0, *(value for lane in lanes for value in lane.folds), *(lane.estimate.high or 0 for lane in lanes)])
    width, step, begin = 460.0, 46.0, 12.0
    x = Scale(0, top, 10, width - 20)
    end = begin + step * len(lanes)
    marks: list[Mark] = [Line([(x(value), begin), (x(value), end)], "grid", 1) for value in ticks(0, top)]
    marks += [Words(x(value), end + 13, label(value), "muted", 11, "middle") for value in ticks(0, top)]
    if chance is not None:
        marks.append(Line([(x(chance), begin), (x(chance), end)], "warm", 1.2, "4 3"))
        marks.append(Words(x(chance), end + 28, f"chance {short(chance)}", "warm", 11, "middle"))
    marks.append(Words(width - 20, end + 28, metric, "muted", 11, "end"))
    for number, lane in enumerate(lanes):
        marks += _lane(lane, x, begin + step * number)
    said = "; ".join(f"{lane.name} {_estimate(lane.estimate)}" for lane in lanes)
    title = f"{metric}: every fold, and all folds together"
    return Drawing(name, title, f"{title}. {said}.", width, end + 42, marks)


def _lane(lane: Lane, x: Scale, top: float) -> list[Mark]:
    y = top + 30
    value, low, high = lane.estimate
    marks: list[Mark] = [
        Words(x.start, top + 11, shortened(lane.name, 42), "ink", 12.5, title=lane.name),
        Words(x.end, top + 11, _estimate(lane.estimate), "muted", 11.5, "end"),
        Line([(x.start, y), (x.end, y)], "grid", 1),
    ]
    marks += [
        Dot(x(fold), y + 3.5 * (number % 3 - 1), 4, "accent", 0.45, f"{lane.name}, fold {number + 1}: {short(fold)}")
        for number, fold in enumerate(lane.folds)
    ]
    if low is not None and high is not None:
        marks.append(Line([(x(low), y), (x(high), y)], "ink", 2.2))
    return [*marks, Dot(x(value), y, 5, "ink", 1, f"{lane.name}: {_estimate(lane.estimate)}")]


def _estimate(estimate: Estimate) -> str:
    return f"{short(estimate.value)}  {bounds(estimate.low, estimate.high, '')}".rstrip()


def confusion_chart(
    name: str, title: str, classes: Sequence[str], counts: np.ndarray, axes: tuple[str, str] = CONFUSION
) -> Drawing:
    """Draw a confusion matrix: rows are true classes, shades are shares of a row, numbers are clips.

    Args:
        name: of the drawing.
        title: the model.
        classes: their names.
        counts: ``(classes, classes)``, true by predicted, a mean over seeds.
        axes: titles of rows and columns.
    """
    C = len(classes)
    cell = 62.0 if C <= 4 else 44.0 if C <= 8 else 30.0
    most = 14 if C <= 8 else 11
    left = 34 + 6.6 * max(min(len(text), most) for text in classes)
    top, below = 30.0, 24 + 6.6 * max(min(len(text), most) for text in classes)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    marks: list[Mark] = [_heading(left, title)]
    for row, true in enumerate(classes):
        y = top + cell * row
        marks.append(Words(left - 8, y + cell / 2, shortened(true, most), "ink", 11, "end", title=true))
        bottom = top + cell * C + 8
        x = left + cell * (row + 0.5)
        marks.append(Words(x, bottom, shortened(true, most), "ink", 11, "end", turned=True, title=true))
        for column, predicted in enumerate(classes):
            said = f"{axes[0]} {true}, {axes[1]} {predicted}: {counts[row, column]:g} clips, {shares[row, column]:.0%}"
            size = 13 if C <= 8 else 9.5
            text = f"{counts[row, column]:.4g}"
            marks += _cell(left + cell * column, y, cell, cell, shares[row, column], text, said, size)
    marks.append(Words(10, top + cell * C / 2, shortened(axes[0], 40), "muted", 11, "middle", turned=True))
    marks.append(Words(left + cell * C / 2, top + cell * C + below, shortened(axes[1], 40), "muted", 11, "middle"))
    recalls = ", ".join(f"{name} {shares[i, i]:.0%}" for i, name in enumerate(classes))
    width = max(left + cell * C + 10, left + 7.4 * min(len(title), 40))
    described = f"Confusion matrix of {title}. Right: {recalls}."
    return Drawing(name, title, described, width, top + cell * C + below + 12, marks)


def _cell(
    x: float, y: float, width: float, height: float, share: float, text: str, said: str, size: float
) -> list[Mark]:
    """Return a cell whose shade is a share, with a text that is legible on it."""
    role = "paper" if share > 0.55 else "ink"
    return [
        Box(x + 1, y + 1, width - 2, height - 2, "accent", 0.06 + 0.9 * float(share), said),
        Words(x + width / 2, y + height / 2, text, role, size, "middle", title=said),
    ]


def _heading(x: float, title: str, most: int = 40) -> Words:
    return Words(x, 12, shortened(title, most), "ink", 12.5, bold=True, title=title)


def recalls_chart(name: str, classes: Sequence[str], recalls: Mapping[str, Sequence[float]]) -> Drawing:
    """Draw the recall of each class by model, as shades with numbers; NaN is left empty."""
    cell = (max(46.0, min(84.0, 420 / len(classes))), 30.0)
    most = max(4, int(cell[0] / 6))
    left = 10 + 6.6 * max(min(len(model), 34) for model in recalls)
    marks: list[Mark] = []
    for column, text in enumerate(classes):
        x = left + cell[0] * (column + 0.5)
        marks.append(Words(x, 12, shortened(text, most), "ink", 11, "middle", title=text))
    for row, (model, values) in enumerate(recalls.items()):
        y = 24 + cell[1] * row
        marks.append(Words(left - 8, y + cell[1] / 2, shortened(model), "ink", 11.5, "end", title=model))
        for column, value in enumerate(values):
            if value == value:
                said = f"{model}: recall of {classes[column]} {short(value)}"
                marks += _cell(left + cell[0] * column, y, *cell, value, short(value), said, 12)
    said = "; ".join(
        f"{model}: " + ", ".join(f"{c} {short(v)}" for c, v in zip(classes, values, strict=True) if v == v)
        for model, values in recalls.items()
    )
    size = (left + cell[0] * len(classes) + 6, 24 + cell[1] * len(recalls) + 6)
    return Drawing(name, "Recall of each class", f"Recall of each class by model. {said}.", *size, marks)


def layers_chart(name: str, title: str, inner: np.ndarray, chosen: Sequence[int], chance: float, role: str) -> Drawing:
    """Draw UAR by layer in the inner folds: mean and population standard deviation over folds.

    Args:
        name: of the drawing.
        title: the model.
        inner: ``(folds, layers)``.
        chosen: the layer that was chosen in each fold; dots are larger if more folds chose it.
        chance: UAR of guessing.
        role: the colour.
    """
    mean, std = inner.mean(0), inner.std(0)
    width, height = 340.0, 240.0
    low, high = around([chance, *(mean - std), *(mean + std)])
    x = Scale(0, max(len(mean) - 1, 1), ROOM, width - 16)
    y = Scale(low, min(high, 1.0), height - 46, 28)
    whole = [value for value in ticks(0, len(mean) - 1, 6) if value == int(value)]
    marks = [
        *frame(x, y, whole, ticks(y.low, y.high, 4)),
        _heading(ROOM, title),
    ]
    marks.append(Line([(x.start, y(chance)), (x.end, y(chance))], "warm", 1.2, "4 3"))
    upper = [(x(layer), y(min(value, y.high))) for layer, value in enumerate(mean + std)]
    lower = [(x(layer), y(value)) for layer, value in enumerate(mean - std)]
    marks.append(Area(upper + lower[::-1], role))
    marks.append(Line([(x(layer), y(value)) for layer, value in enumerate(mean)], role, 2))
    times = Counter(chosen)
    for layer, count in sorted(times.items()):
        said = f"layer {layer}: chosen in {count} of {len(inner)} folds, inner UAR {short(mean[layer])}"
        marks.append(Dot(x(layer), y(mean[layer]), 3 + 6 * (count / len(inner)) ** 0.5, role, 1, said))
        marks.append(Words(x(layer), y(mean[layer]) - 16, f"{count}×", role, 11, "middle", bold=True))
    marks += axis_names(x, y, "layer (dots: folds that chose it)", "UAR, inner folds")
    said = ", ".join(f"layer {layer} in {count} of {len(inner)} folds" for layer, count in sorted(times.items()))
    described = f"UAR by layer in the inner folds of {title}: {', '.join(map(short, mean))}. Chosen: {said}."
    return Drawing(name, title, described, width, height, marks)


def weights_chart(name: str, title: str, weights: np.ndarray, role: str, first: int = 0) -> Drawing:
    """Draw the learned weights of layers, ``(folds, layers)``: bars are means over folds, dots are single folds.

    The first weight is for layer ``first``; 0 is the input of the first block.
    """
    width, height = 340.0, 220.0
    L = weights.shape[1]
    last = first + L - 1
    x, y = Scale(first - 0.5, last + 0.5, ROOM, width - 16), Scale(0, float(weights.max()) * 1.1, height - 46, 28)
    whole = [value for value in ticks(first, max(last, first + 1), 6) if value == int(value)]
    marks = [*frame(x, y, whole, ticks(0, y.high, 4)), _heading(ROOM, title)]
    marks.append(Line([(x.start, y(1 / L)), (x.end, y(1 / L))], "muted", 1, "4 3"))
    bar = (x(1) - x(0)) * 0.7
    for layer, column in enumerate(weights.T, first):
        mean = float(column.mean())
        box = (x(layer) - bar / 2, y(mean), bar, y.start - y(mean))
        marks.append(Box(*box, role, 0.6, f"layer {layer}: mean weight {short(mean)}"))
        marks += [Dot(x(layer), y(float(value)), 2.2, "ink", 0.6) for value in column]
    marks += axis_names(x, y, "layer (dashed: equal weights)", "learned weight")
    described = f"Learned weights of layers {first} to {last} of {title}: {', '.join(map(short, weights.mean(0)))}."
    return Drawing(name, title, described, width, height, marks)


def calibration_chart(
    name: str, title: str, bins: tuple[np.ndarray, np.ndarray, np.ndarray], error: float, role: str
) -> Drawing:
    """Draw the accuracy of decisions by their predicted probability; on the diagonal they are calibrated.

    Args:
        name: of the drawing.
        title: the model.
        bins: weight, mean confidence and accuracy of each bin that has clips, ``(bins,)`` each.
        error: the expected calibration error.
        role: the colour.
    """
    width, height = 270.0, 270.0
    x, y = Scale(0, 1, ROOM, width - 14), Scale(0, 1, height - 46, 28)
    marks = [
        *frame(x, y, ticks(0, 1, 4), ticks(0, 1, 4)),
        _heading(ROOM, title, 26),
    ]
    marks.append(Line([(x(0), y(0)), (x(1), y(1))], "muted", 1, "4 3"))
    places = [(x(float(confidence)), y(float(right))) for _, confidence, right in zip(*bins, strict=True)]
    for (weight, confidence, right), place in zip(zip(*bins, strict=True), places, strict=True):
        said = f"predicted {short(confidence)}, right {short(right)}, {weight:.0%} of the clips (balanced classes)"
        marks.append(Dot(*place, 2.5 + 9 * float(weight) ** 0.5, role, 0.8, said))
    marks.append(Words(x.end, y(0.06), f"error {short(error)}", "ink", 11.5, "end"))
    marks += axis_names(x, y, "probability of the decision", "share that is right")
    said = "; ".join(f"{short(c)} predicted, {short(r)} right" for _, c, r in zip(*bins, strict=True))
    described = f"Calibration of {title}: expected calibration error {short(error)}. {said}."
    return Drawing(name, title, described, width, height, marks)
