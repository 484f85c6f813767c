"""Drawings of the decisions of systems: where they differ, which of them is right, and confusion matrices."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nonverbal.evaluation.analyses.confusion import Confusions
from nonverbal.evaluation.analyses.decisions import Decisions, Difference
from nonverbal.evaluation.analyses.measured import Measured
from nonverbal.evaluation.tables import short
from nonverbal.report.axes import Scale, label, ticks
from nonverbal.report.drawing import SERIES, Box, Dot, Drawing, Line, Mark, Words, shortened
from nonverbal.report.score_charts import confusion_chart

STEP = 18.0
"""Height of the line of one system in a row."""


def confusion_drawings(made: Confusions, anchor: str) -> list[Drawing]:
    """Draw a confusion matrix for each system."""
    return [
        confusion_chart(f"{anchor}-{place}", one.system, made.classes, np.array(one.counts))
        for place, one in enumerate(made.systems)
    ]


def decision_drawings(made: Decisions, anchor: str) -> list[Drawing]:
    """Draw mismatch by class, which system is right where they differ, and a matrix of both decisions per system."""
    drawn = [mismatch_chart(f"{anchor}-mismatch", made)]
    if any(one.first_right is not None for one in made.others):
        drawn.append(right_chart(f"{anchor}-right", made))
    return drawn + [_matrix(f"{anchor}-matrix-{place}", made, one) for place, one in enumerate(made.others)]


def _matrix(name: str, made: Decisions, one: Difference) -> Drawing:
    axes = f"{shortened(made.first, 24)} decides", f"{shortened(one.system, 24)} decides"
    drawing = confusion_chart(name, f"against {one.system}", made.classes, np.array(one.decisions), axes)
    described = (
        f"Decisions of {made.first} in rows and of {one.system} in columns. They agree on "
        f"{short(1 - one.differ.value)} of the clips."
    )
    return replace(drawing, description=described)


def mismatch_chart(name: str, made: Decisions) -> Drawing:
    """Draw the share of clips on which each system differs from the first, for all clips and by true class."""
    rows: list[tuple[str, list[Measured | None]]] = [("all clips", [one.differ for one in made.others])]
    rows += [(text, [one.by_class.get(text) for one in made.others]) for text in made.classes if made.clips[text]]
    width, left = 440.0, 22 + 6.6 * max(min(len(text), 18) for text, _ in rows)
    x = Scale(0, 1, left, width - 112)
    begin = 30 + legend_height(made)
    height = STEP * len(made.others) + 10
    end = begin + height * len(rows)
    title = f"Differs from {made.first}"
    marks: list[Mark] = [Words(8, 12, shortened(title, 58), "ink", 12.5, bold=True, title=title), *legend(made, 32)]
    marks += [Line([(x(value), begin), (x(value), end)], "grid", 1) for value in ticks(0, 1)]
    marks += [Words(x(value), end + 13, label(value), "muted", 11, "middle") for value in ticks(0, 1)]
    for number, (text, values) in enumerate(rows):
        top = begin + height * number
        marks.append(
            Words(left - 10, top + height / 2, shortened(text, 18), "ink", 11.5, "end", not number, title=text)
        )
        marks.append(Line([(8, top), (width - 8, top)], "grid", 1))
        marks += _values(text, values, made, x, top + 5)
    for place, one in enumerate(made.others):
        y = begin + 5 + STEP * place
        marks.append(Line([(x(one.by_chance), y + 1), (x(one.by_chance), y + STEP - 1)], "ink", 1.6, "3 2"))
    said = "share of clips (dashed: by chance, for all clips)"
    marks.append(Words((x.start + x.end) / 2, end + 29, said, "muted", 11, "middle"))
    described = "; ".join(
        f"{one.system} {one.differ.text}, by class "
        + ", ".join(f"{text} {measured.text}" for text, measured in one.by_class.items())
        for one in made.others
    )
    return Drawing(
        name, title, f"Share of clips on which systems differ from {made.first}: {described}.", width, end + 42, marks
    )


def _values(text: str, values: Sequence[Measured | None], made: Decisions, x: Scale, top: float) -> list[Mark]:
    marks: list[Mark] = []
    for place, (one, value) in enumerate(zip(made.others, values, strict=True)):
        if value is None:
            continue
        y, role = top + STEP * (place + 0.5), f"series{place % len(SERIES)}"
        if value.low is not None and value.high is not None:
            marks.append(Line([(x(value.low), y), (x(value.high), y)], role, 2.2))
        marks.append(
            Dot(x(value.value), y, 4.5, role, 1, f"{one.system}, {text}: {value.text} of {value.clips:g} clips")
        )
        marks.append(Words(x.end + 8, y, value.text, "muted", 10.5))
    return marks


def right_chart(name: str, made: Decisions) -> Drawing:
    """Draw, for the clips on which a system and the first differ, on how many each of the two is right."""
    width, left, step, begin = 440.0, 10.0, 50.0, 50.0
    x = Scale(0, 1, left, width - 10)
    title = f"Which is right where they differ from {made.first}"
    parts = [
        ("the first is right", "ink", 0.75),
        ("the other is right", "accent", 0.9),
        ("neither", "muted", 0.45),
    ]
    marks: list[Mark] = [Words(8, 12, shortened(title, 58), "ink", 12.5, bold=True, title=title)]
    for place, (text, role, opacity) in enumerate(parts):
        marks.append(Box(left + 140 * place, 28, 10, 10, role, opacity))
        marks.append(Words(left + 15 + 140 * place, 33, text, "ink", 11))
    known = [one for one in made.others if one.first_right and one.other_right and one.neither_right]
    for number, one in enumerate(known):
        y, at = begin + step * number, 0.0
        clips = one.first_right.clips if one.first_right else 0
        marks.append(Words(left, y + 9, shortened(one.system, 46), "ink", 11.5, title=one.system))
        marks.append(Words(x.end, y + 9, f"{clips:.4g} clips", "muted", 11, "end"))
        for (text, role, opacity), measured in zip(
            parts, (one.first_right, one.other_right, one.neither_right), strict=True
        ):
            value = measured.value if measured else 0.0
            said = f"{one.system}: {text} on {measured.text if measured else 'none'}"
            marks.append(Box(x(at), y + 18, x(at + value) - x(at), 22, role, opacity, said))
            if value >= 0.08:
                middle = (x(at) + x(at + value)) / 2
                marks.append(
                    Words(middle, y + 29, f"{value:.0%}", "ink" if role == "muted" else "paper", 11.5, "middle")
                )
            at += value
    described = "; ".join(
        f"{one.system}: {made.first} right on {_value(one.first_right)}, {one.system} on {_value(one.other_right)}, "
        f"neither on {_value(one.neither_right)}"
        for one in known
    )
    return Drawing(name, title, f"{title}. {described}.", width, begin + step * len(known) + 4, marks)


def _value(measured: Measured | None) -> str:
    return "none" if measured is None else short(measured.value)


def legend(made: Decisions, top: float) -> list[Mark]:
    """Return a legend with a line for each system and its colour."""
    marks: list[Mark] = []
    for place, one in enumerate(made.others):
        y = top + STEP * place
        marks.append(Dot(14, y, 4.5, f"series{place % len(SERIES)}"))
        marks.append(Words(24, y, shortened(one.system, 60), "ink", 11.5, title=one.system))
    return marks


def legend_height(made: Decisions) -> float:
    """Return the height of the legend."""
    return STEP * len(made.others)
