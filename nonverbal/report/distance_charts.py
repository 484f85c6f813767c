"""Drawings of distances between encoders: histograms as lines, and agreement of decisions by distance."""

from collections.abc import Sequence

from nonverbal.evaluation.analyses.distances import Distance, Distances
from nonverbal.evaluation.tables import short
from nonverbal.report.axes import Scale, axis_names, frame, ticks
from nonverbal.report.drawing import SERIES, Dot, Drawing, Line, Mark, Words, shortened

ROOM = 58.0
STEP = 18.0
WIDTH, HEIGHT = 440.0, 270.0


def distance_drawings(made: Distances, anchor: str) -> list[Drawing]:
    """Draw the histograms and, if decisions are known, agreement by distance."""
    drawn = [histogram_chart(f"{anchor}-histogram", made)]
    return drawn + ([agreement_chart(f"{anchor}-agreement", made)] if made.decisions else [])


def histogram_chart(name: str, made: Distances) -> Drawing:
    """Draw for each encoder a line through the shares of clips in the bins; the threshold is dashed."""
    x, y = _scales(made, max(value for one in made.others for value in one.shares) * 1.08)
    title = f"Cosine distance from {made.first}"
    marks = _ground(made, title, x, y, "share of clips")
    marks.append(Words(x(min(made.threshold, x.high)), y.end - 8, f"threshold {made.threshold:g}", "ink", 11, "end"))
    for place, one in enumerate(made.others):
        role = f"series{place % len(SERIES)}"
        points = [(x(middle), y(value)) for middle, value in zip(_middles(made), one.shares, strict=True)]
        marks.append(Line(points, role, 2))
        marks += [
            Dot(*point, 3.4, role, 1, f"{one.encoder}, {bin_}: {short(value)} of the clips")
            for point, value, bin_ in zip(points, one.shares, _bins(made), strict=True)
        ]
    said = "; ".join(
        f"{one.encoder} {one.inside:.0%} within {made.threshold:g}, median {short(one.median)}" for one in made.others
    )
    return _drawing(name, title, f"Histogram of cosine distances from {made.first}. {said}.", made, marks)


def agreement_chart(name: str, made: Distances) -> Drawing:
    """Draw the share of clips on which decisions agree, by distance; larger dots are for bins with more clips."""
    x, y = _scales(made, 1.0)
    title = f"Decisions agree with {made.first}"
    marks = _ground(made, title, x, y, "share of a bin’s clips")
    for place, one in enumerate(made.others):
        role = f"series{place % len(SERIES)}"
        marks += _agreement(made, one, role, x, y)
    said = "; ".join(
        f"{one.encoder}: "
        + ", ".join(
            f"{bin_} {short(value)}"
            for bin_, value in zip(_bins(made), one.agreement, strict=True)
            if value is not None
        )
        for one in made.others
    )
    return _drawing(name, title, f"Share of clips on which decisions agree, by cosine distance. {said}.", made, marks)


def _agreement(made: Distances, one: Distance, role: str, x: Scale, y: Scale) -> list[Mark]:
    points = [
        (x(middle), y(value), share, value, bin_)
        for middle, value, share, bin_ in zip(_middles(made), one.agreement, one.shares, _bins(made), strict=True)
        if value is not None
    ]
    marks: list[Mark] = [Line([(a, b) for a, b, *_ in points], role, 1.6)]
    for a, b, share, value, bin_ in points:
        clips = round(share * made.clips)
        said = f"{one.encoder}, {bin_}: decisions agree on {short(value)} of {clips} clips"
        marks.append(Dot(a, b, 2.5 + 9 * share**0.5, role, 0.8, said))
    return marks


def _scales(made: Distances, top: float) -> tuple[Scale, Scale]:
    begin = 42 + STEP * len(made.others)
    x = Scale(made.edges[0], made.edges[-1], ROOM, WIDTH - 16)
    return x, Scale(0, top or 1.0, begin + HEIGHT - 58, begin)


def _ground(made: Distances, title: str, x: Scale, y: Scale, what: str) -> list[Mark]:
    marks: list[Mark] = [Words(8, 12, shortened(title, 56), "ink", 12.5, bold=True, title=title)]
    for place, one in enumerate(made.others):
        top = 32 + STEP * place
        marks.append(Dot(14, top, 4.5, f"series{place % len(SERIES)}"))
        marks.append(Words(24, top, shortened(one.encoder, 58), "ink", 11.5, title=one.encoder))
    marks += frame(x, y, ticks(x.low, x.high, 6), ticks(0, y.high))
    if made.threshold <= x.high:
        marks.append(Line([(x(made.threshold), y.start), (x(made.threshold), y.end)], "ink", 1.4, "4 3"))
    if x.high > 1:
        marks.append(Line([(x(1), y.start), (x(1), y.end)], "muted", 1, "1 3"))
    return marks + axis_names(x, y, "cosine distance", what)


def _drawing(name: str, title: str, described: str, made: Distances, marks: list[Mark]) -> Drawing:
    return Drawing(name, title, described, WIDTH, 30 + STEP * len(made.others) + HEIGHT, marks)


def _middles(made: Distances) -> list[float]:
    return [(low + high) / 2 for low, high in zip(made.edges[:-1], made.edges[1:], strict=True)]


def _bins(made: Distances) -> Sequence[str]:
    return [f"{low:g} to {high:g}" for low, high in zip(made.edges[:-1], made.edges[1:], strict=True)]
