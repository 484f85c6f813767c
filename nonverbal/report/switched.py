"""Drawings of the same points in several colourings, as one figure with a switch."""

from collections.abc import Sequence
from dataclasses import replace

from nonverbal.report.drawing import Dot, Drawing, Mark, element, framed


def switched_svg(drawings: Sequence[Drawing]) -> str:
    """Return drawings of the same points as one SVG, in the colours of the first.

    The points have the colours of all as ``data-under``, a role each; what else is drawn stands in a group a drawing,
    ``data-choice``, of which the first alone is shown. The page's script does the rest.

    Args:
        drawings: which have the same dots with clips, in one order, at the same places; at least one.
    """
    points = zip(*map(_points, drawings), strict=True)
    hidden = ["", *[' display="none"'] * (len(drawings) - 1)]
    groups = [
        f'<g data-choice="{number}"{hidden[number]}>{"".join(map(element, _others(drawing)))}</g>'
        for number, drawing in enumerate(drawings)
    ]
    said = " ".join(drawing.description for drawing in drawings)
    whole = replace(drawings[0], description=said, height=max(drawing.height for drawing in drawings))
    return framed(whole, "".join(map(_point, points)) + "".join(groups))


def _points(drawing: Drawing) -> list[Dot]:
    return [mark for mark in drawing.marks if isinstance(mark, Dot) and mark.clip]


def _others(drawing: Drawing) -> list[Mark]:
    return [mark for mark in drawing.marks if not (isinstance(mark, Dot) and mark.clip)]


def _point(dots: Sequence[Dot]) -> str:
    first = dots[0]
    assert all((dot.x, dot.y, dot.clip) == (first.x, first.y, first.clip) for dot in dots), "colourings of one map"
    told = [dot.title.removeprefix(f"{dot.clip}: ") for dot in dots]
    return element(replace(first, title=f"{first.clip}: {'; '.join(told)}", under=" ".join(dot.role for dot in dots)))
