"""Axes: maps from values to positions, and ticks at round numbers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nonverbal.report.drawing import Line, Mark, Words


@dataclass(frozen=True)
class Scale:
    """A linear map from values to positions."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the position of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return about ``count`` round values in [low, high]: multiples of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [step * number for number in range(first, math.floor(high / step + 1e-9) + 1)]


def around(values: Sequence[float], from_zero: bool = False) -> tuple[float, float]:
    """Return bounds a little beyond finite values; they differ even if all values are equal."""
    low, high = min(values), max(values)
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 0.5
    return (0.0 if from_zero and low >= 0 else low - margin), high + margin


def label(value: float) -> str:
    """Return the short label of a tick."""
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.6g}"
    return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")


def frame(x: Scale, y: Scale, x_ticks: Sequence[float], y_ticks: Sequence[float]) -> list[Mark]:
    """Return the grid lines and tick labels of a plot with the axes ``x`` and ``y``."""
    marks: list[Mark] = []
    for value in y_ticks:
        marks.append(Line([(x.start, y(value)), (x.end, y(value))], "grid", 1))
        marks.append(Words(x.start - 8, y(value), label(value), "muted", 11, "end"))
    for value in x_ticks:
        marks.append(Words(x(value), y.start + 14, label(value), "muted", 11, "middle"))
    marks.append(Line([(x.start, y.start), (x.end, y.start)], "muted", 1))
    return marks


def axis_names(x: Scale, y: Scale, below: str, beside: str = "") -> list[Mark]:
    """Return the labels of the axes of such a plot."""
    marks: list[Mark] = [Words((x.start + x.end) / 2, y.start + 34, below, "muted", 11, "middle")]
    if beside:
        marks.append(Words(12, (y.start + y.end) / 2, beside, "muted", 11, "middle", turned=True))
    return marks
