"""One figure with a switch for several drawings of the same points in different colours."""

from collections.abc import Sequence
from dataclasses import replace

from nonverbal.report.drawing import Dot, Drawing, Mark, element, framed


def switched_svg(drawings: Sequence[Drawing]) -> str:
    """Return drawings of the same points as one SVG, in the colours of the first.

    The points have their role in each drawing in ``data-under``. All other marks are in one group per drawing,
    ``data-choice``, of which only the first is visible. The page's script switches between them.

    Args:
        drawings: at least one; they must have the same dots with clips, in the same order and positions.
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
