"""Values in rows and columns as shades, with numbers if there is room, and a legend."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nonverbal.evaluation.tables import short
from nonverbal.report.drawing import LIGHT, Box, Drawing, Mark, Words, shortened

LIGHTEST, DARKEST = 0.04, 0.92
"""Opacities of the lowest and the highest value."""

LONGEST = 38
"""Largest number of characters of a name beside a row."""


@dataclass(frozen=True)
class Axis:
    """Rows or columns."""

    title: str
    names: list[str]


@dataclass(frozen=True)
class Shades:
    """Shades of values, from ``low``, the lightest, to ``high``."""

    role: str
    low: float
    high: float
    title: str
    """Name of the values, with their unit."""

    def share(self, value: float) -> float:
        """Return the position of a value between the lowest and the highest, in [0, 1]."""
        return min(max((value - self.low) / (self.high - self.low), 0.0), 1.0) if self.high > self.low else 0.0


def value_map(
    name: str,
    title: str,
    rows: Axis,
    columns: Axis,
    values: Sequence[Sequence[float | None]],
    shades: Shades,
    notes: Sequence[Sequence[str]] | None = None,
) -> Drawing:
    """Draw a map of values.

    Args:
        name: of the drawing.
        title: above it.
        rows: from top to bottom.
        columns: from left to right.
        values: ``(rows, columns)``; None is left empty.
        shades: of the values.
        notes: texts for tooltips, after position and value, ``(rows, columns)``.
    """
    cell = 34.0 if len(columns.names) <= 14 else 26.0
    left = 34 + 6.6 * max(min(len(text), LONGEST) for text in rows.names)
    top, below = 46.0, 46.0 + cell * len(rows.names)
    marks: list[Mark] = [Words(8, 12, shortened(title, 60), "ink", 12.5, bold=True, title=title)]
    marks += [Words(left + cell * (place + 0.5), top - 10, text, "muted", 10.5, "middle")
              for place, text in enumerate(columns.names)]  # fmt: skip
    for place, text in enumerate(rows.names):
        y = top + cell * (place + 0.5)
        marks.append(Words(left - 8, y, shortened(text, LONGEST), "ink", 11, "end", title=text))
        for column, value in enumerate(values[place]):
            if value is not None:
                said = f"{rows.title} {text}, {columns.title} {columns.names[column]}: {short(value)}"
                said += f"; {notes[place][column]}" if notes is not None and notes[place][column] else ""
                marks += _cell(left + cell * column, top + cell * place, cell, value, shades, said)
    marks.append(Words(10, (top + below) / 2, rows.title, "muted", 11, "middle", turned=True))
    right = left + cell * len(columns.names)
    marks.append(Words((left + right) / 2, below + 14, columns.title, "muted", 11, "middle"))
    marks += _legend(left, below + 36, shades)
    width = max(right + 10, left + 6 + 5.7 * len(shades.title), 16 + 7.2 * min(len(title), 60))
    described = f"{title}. {shades.title}. {_described(rows, columns, values)}"
    return Drawing(name, title, described, width, below + 68, marks)


def _cell(x: float, y: float, size: float, value: float, shades: Shades, said: str) -> list[Mark]:
    share = shades.share(value)
    opacity = LIGHTEST + (DARKEST - LIGHTEST) * share
    role = max(("ink", "paper"), key=lambda text: contrast(text, shades.role, opacity))
    return [
        Box(x + 0.5, y + 0.5, size - 1, size - 1, shades.role, opacity, said),
        Words(x + size / 2, y + size / 2, short(value), role, 10 if size > 30 else 7.5, "middle", title=said),
    ]


def contrast(text: str, role: str, opacity: float) -> float:
    """Return the contrast of a text with a shade on paper in the light colours, from 1 to 21, by the WCAG."""
    fill, paper = (np.array(_rgb(name)) for name in (role, "paper"))
    low, high = sorted([_luminance(_rgb(text)), _luminance(paper + opacity * (fill - paper))])
    return (high + 0.05) / (low + 0.05)


def _rgb(role: str) -> tuple[float, ...]:
    return tuple(int(LIGHT[role][place : place + 2], 16) / 255 for place in (1, 3, 5))


def _luminance(colour: Sequence[float] | np.ndarray) -> float:
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in colour]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def _legend(x: float, y: float, shades: Shades) -> list[Mark]:
    """Return a bar of shades with the values at its ends."""
    steps, width = 24, 4.0
    marks: list[Mark] = [Words(x, y, short(shades.low), "muted", 10.5)]
    start = x + 32
    for step in range(steps):
        opacity = LIGHTEST + (DARKEST - LIGHTEST) * step / (steps - 1)
        marks.append(Box(start + width * step, y - 5, width, 10, shades.role, opacity))
    marks.append(Words(start + width * steps + 6, y, short(shades.high), "muted", 10.5))
    return [*marks, Words(x, y + 18, shades.title, "muted", 10.5)]


def _described(rows: Axis, columns: Axis, values: Sequence[Sequence[float | None]]) -> str:
    """Return a sentence with the lowest and the highest value of each row."""
    said = []
    for text, row in zip(rows.names, values, strict=True):
        known = [(value, columns.names[place]) for place, value in enumerate(row) if value is not None]
        if known:
            (least, low), (most, high) = min(known), max(known)
            said.append(f"{rows.title} {text}: {short(least)} ({low}) to {short(most)} ({high})")
    return "; ".join(said)
