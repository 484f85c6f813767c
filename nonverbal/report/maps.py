"""Maps of sounds on a page: one point per clip, coloured by class, speaker, or whether two models disagree."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nonverbal.evaluation.analyses.base import read_as
from nonverbal.evaluation.analyses.maps import SoundMap
from nonverbal.evaluation.tables import short
from nonverbal.files import sha256_of
from nonverbal.report.axes import Scale, around
from nonverbal.report.clips import Rivals
from nonverbal.report.drawing import SERIES, Dot, Drawing, Mark, Words, shortened
from nonverbal.text import slug


@dataclass(frozen=True)
class MapSection:
    """A map."""

    anchor: str
    heading: str
    summary: str
    drawings: list[Drawing]
    clips: list[str]
    """In the order in which sounds are included: one of each class in turn."""
    origin: tuple[str, str]
    """The file and its SHA-256."""


def map_section(number: int, path: Path, known: Sequence[Rivals]) -> MapSection:
    """Return the section for a map.

    Args:
        number: of the section.
        path: of the map.
        known: two models of each task; the first pair with decisions on clips of the map is used to colour it.
    """
    made = read_as(SoundMap, path)
    anchor = slug(f"map-{number}-{path.name}")
    two = next((one for one in known if one.differ.keys() & set(made.clips)), None)
    drawings = map_drawings(made, anchor, two)
    return MapSection(anchor, made.heading, made.summary(), drawings, in_turn(made), (str(path), sha256_of(path)))


def map_drawings(made: SoundMap, anchor: str, two: Rivals | None = None) -> list[Drawing]:
    """Draw a map coloured by class, by speaker, and by whether two models disagree, if there are at least two values.

    If there are not in any of them, draw it by class.
    """
    kinds: dict[str, Sequence[str | None]] = {"class": made.labels, "speaker": made.speakers}
    if two is not None:
        words = {True: "they disagree", False: "they agree"}
        told = [words[two.differ[clip]] if clip in two.differ else None for clip in made.clips]
        kinds[f"whether {shortened(two.first, 18)} and {shortened(two.second, 18)} disagree"] = told
    apart = {kind: values for kind, values in kinds.items() if len(set(values) - {None}) > 1}
    return [
        map_chart(f"{anchor}-{place}", f"By {kind}", made, values)
        for place, (kind, values) in enumerate((apart or {"class": made.labels}).items())
    ]


def map_chart(name: str, title: str, made: SoundMap, values: Sequence[str | None]) -> Drawing:
    """Draw a map; the seven most frequent values have a colour each, and all others are grey."""
    counts = {value: values.count(value) for value in dict.fromkeys(values) if value is not None}
    frequent = sorted(counts, key=lambda value: -counts[value])[: len(SERIES) - 1]
    roles = {value: f"series{place}" for place, value in enumerate(frequent)}
    width, size = 410.0, 380.0
    x, y = Scale(*around(made.x), 8, width - 8), Scale(*around(made.y), size, 30)
    marks: list[Mark] = [Words(8, 12, title, "ink", 12.5, bold=True)]
    for clip, value, a, b in zip(made.clips, values, made.x, made.y, strict=True):
        marks.append(Dot(x(a), y(b), 3.4, roles.get(value or "", "muted"), 0.75, f"{clip}: {value or 'unknown'}", clip))
    rest = len(values) - sum(counts[value] for value in frequent)
    legend = [(value, roles[value], counts[value]) for value in frequent]
    legend += [("others", "muted", rest)] if rest else []
    for place, (text, role, count) in enumerate(legend):
        left, top = 8 + (place % 2) * width / 2, size + 18 + 18 * (place // 2)
        marks.append(Dot(left + 5, top, 4.5, role))
        marks.append(Words(left + 16, top, f"{shortened(text, 24)} ({count})", "ink", 11, title=text))
    said = ", ".join(f"{text} {count}" for text, _, count in legend)
    described = f"Map of {len(made.clips)} clips by {made.model}. {title}: {said}. Neighbours kept {short(made.kept)}."
    return Drawing(name, title, described, width, size + 18 * (-(-len(legend) // 2)) + 18, marks)


def in_turn(made: SoundMap) -> list[str]:
    """Return the clips, one of each class in turn, so that the first of them cover all classes."""
    seen: dict[str | None, int] = {}
    order = []
    for clip, label in zip(made.clips, made.labels, strict=True):
        seen[label] = seen.get(label, 0) + 1
        order.append((seen[label], clip))
    return [clip for _, clip in sorted(order)]
