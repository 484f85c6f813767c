"""Results by subgroup: the decisions of one run on the clips of each sex, age, corpus or language."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nonverbal.data.manifest import Clip, Value
from nonverbal.errors import UserError
from nonverbal.evaluation.results import Estimate, counts_of, estimate
from nonverbal.evaluation.tables import Table, bounds, short
from nonverbal.grouping import grouped
from nonverbal.tasks.measurements import Measurement
from nonverbal.tasks.statistics.confusions import ACCURACY, UAR
from nonverbal.text import shown

COLUMNS = ("corpus", "language", "speaker", "session", "recording", "split")
"""Columns of the manifest that define subgroups; all other names are attributes."""

MOST_NUMBERS = 6
"""Numbers with more different values than this are divided at their quartiles."""

NOT_STATED = "not stated"


@dataclass(frozen=True)
class Subgroup:
    """The results of one model with one head on the clips with one value."""

    model: str
    head: str
    value: str
    clips: int
    units: int
    """Number of speakers, recordings or other groups with such clips."""
    classes: int
    """Number of classes of the clips; UAR is the mean recall of these."""
    uar: Estimate
    accuracy: Estimate


def subgroups(measurements: Sequence[Measurement], clips: Sequence[Clip], name: str) -> list[Subgroup]:
    """Return the results of each model by the value of an attribute; nothing is fitted again.

    Args:
        measurements: measurements of one task and protocol.
        clips: the clips of the task.
        name: an attribute, or one of ``COLUMNS``.

    Raises:
        UserError: no clip has this attribute; the message names those that exist.
    """
    values = values_of(clips, name)
    by_value: dict[str, set[str]] = {}
    for clip, value in zip(clips, values, strict=True):
        by_value.setdefault(value, set()).add(clip.id)
    rows = grouped(measurements, lambda one: one.row)
    order = sorted(by_value, key=lambda value: (value == NOT_STATED, values_order(value)))
    found = [_subgroup(seeds, value, by_value[value]) for seeds in rows.values() for value in order]
    return [row for row in found if row is not None]


def values_of(clips: Sequence[Clip], name: str) -> list[str]:
    """Return each clip's value as text: by quartile for numbers with many values; ``NOT_STATED`` if there is none.

    Raises:
        UserError: no clip has this attribute.
    """
    found: list[Value | None] = [
        getattr(clip, name) if name in COLUMNS else clip.attributes.get(name) for clip in clips
    ]
    if all(value is None for value in found):
        there = sorted({key for clip in clips for key in clip.attributes})
        there += [column for column in COLUMNS if any(getattr(clip, column) is not None for clip in clips)]
        raise UserError(
            f"no clip has the attribute {name}; --by takes attributes that clips have: {', '.join(map(shown, there))}"
        )
    numbers = np.array([value for value in found if isinstance(value, int | float)], dtype=np.float64)
    if len(np.unique(numbers)) <= MOST_NUMBERS:
        return [NOT_STATED if value is None else _text(value) for value in found]
    edges = np.unique(np.quantile(numbers, [0, 0.25, 0.5, 0.75, 1]))
    return [NOT_STATED if value is None else _range(value, edges) for value in found]


def values_order(value: str) -> tuple[float, str]:
    """Return the key for sorting values: numbers and ranges by number, then texts."""
    try:
        return float(value.split(" to ")[0]), value
    except ValueError:
        return float("inf"), value


def subgroups_table(rows: Sequence[Subgroup], name: str, title: str) -> Table:
    """Return a row for each model and value."""
    several = len({row.head for row in rows}) > 1
    cells = [
        [
            row.model,
            *([row.head] if several else []),
            row.value,
            str(row.clips),
            str(row.units),
            str(row.classes),
            *_cells(row.uar),
            *_cells(row.accuracy),
        ]
        for row in rows
    ]
    columns = ["model", *(["head"] if several else []), name, "clips", "groups", "classes"]
    columns += ["UAR", "interval", "accuracy", "interval"]
    notes = [
        "the same decisions as above; UAR is the mean recall of the classes that the subgroup has",
        "interval: .95 over the groups (speakers where they are known) that have such clips (jackknife t); "
        "groups of the same speakers are not independent, and overlapping intervals are not a test",
    ]
    return Table(f"{title}: by {name}", columns, cells, notes, 3 if several else 2)


def _subgroup(seeds: Sequence[Measurement], value: str, clips: set[str]) -> Subgroup | None:
    tested = set().union(*(measurement.predictions.clips for measurement in seeds)) & clips
    if not tested:
        return None
    counts = counts_of(seeds, tested)
    there = counts.sum(0)  # (units, classes, classes)
    model, head = seeds[0].row
    return Subgroup(
        model,
        head,
        value,
        len(tested),
        int((there.sum((1, 2)) > 0).sum()),
        int((there.sum((0, 2)) > 0).sum()),
        estimate(counts, UAR),
        estimate(counts, ACCURACY),
    )


def _text(value: Value) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _range(value: Value, edges: np.ndarray) -> str:
    """Return the range between two edges that contains a number, including the upper edge; texts are unchanged."""
    if isinstance(value, str):
        return value
    place = int(np.clip(np.searchsorted(edges, value), 1, len(edges) - 1))
    return f"{edges[place - 1]:g} to {edges[place]:g}"


def _cells(found: Estimate) -> list[str]:
    return [short(found.value), bounds(found.low, found.high)]
