"""Combines drawings on one sheet, and writes a sheet to a file."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from nonverbal.errors import UserError
from nonverbal.files import write_atomically
from nonverbal.report.drawing import Area, Drawing, Line, Mark, png, svg

WIDE = 960.0
"""Width of a sheet of several drawings in CSS pixels, unless a single drawing is wider."""
GAP = 18.0

ENDS = (".svg", ".png")


def check_figure(path: Path | None) -> None:
    """Refuse a file for a figure that cannot be written.

    Raises:
        UserError: its name does not end in .svg or .png, or its folder does not exist.
    """
    if path is not None and (path.suffix not in ENDS or not path.parent.is_dir()):
        raise UserError(f"--figure must be a file that ends in .svg or .png in an existing folder, but is {path}")


def write_figure(drawings: Sequence[Drawing], path: Path) -> None:
    """Write at least one drawing as one figure, as SVG or PNG by the ending of the file."""
    whole = sheet(drawings)
    if path.suffix == ".svg":
        write_atomically(path, svg(whole, alone=True))
    else:
        png(whole, path)


def sheet(drawings: Sequence[Drawing], wide: float = WIDE) -> Drawing:
    """Return drawings on one sheet, in rows from left to right, with as many in a row as fit."""
    if len(drawings) == 1:
        return drawings[0]
    marks: list[Mark] = []
    x = y = height = width = 0.0
    for drawing in drawings:
        if x and x + drawing.width > wide:
            x, y, height = 0.0, y + height + GAP, 0.0
        marks += [moved(mark, x, y) for mark in drawing.marks]
        x, height = x + drawing.width + GAP, max(height, drawing.height)
        width = max(width, x - GAP)
    first, said = drawings[0], " ".join(drawing.description for drawing in drawings)
    return Drawing(first.name, first.title, said, width, y + height, marks)


def moved(mark: Mark, x: float, y: float) -> Mark:
    """Return a mark moved by ``x`` and ``y``."""
    if isinstance(mark, Line | Area):
        return replace(mark, points=[(a + x, b + y) for a, b in mark.points])
    return replace(mark, x=mark.x + x, y=mark.y + y)
