"""Where systems decide differently: how often, in which classes, beyond chance, and which of them is right.

The share of clips on which two systems differ is the mismatch of Table II of the paper on emotion information recovery
(2024), which compares systems fine-tuned for speech recognition first with one that was not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from nonverbal.errors import UserError
from nonverbal.evaluation.analyses.base import AnalysisSettings
from nonverbal.evaluation.analyses.measured import Measured, cells_of, share, words_of
from nonverbal.evaluation.analyses.systems import Systems, SystemsAnalysis, SystemsSettings, facts_of, systems_of
from nonverbal.evaluation.results import TableClips, clips_of, estimate
from nonverbal.evaluation.tables import Table, short
from nonverbal.tasks.measurements import Measurement
from nonverbal.tasks.predictions import Predictions
from nonverbal.tasks.statistics.confusions import Metric, confusion_counts


@dataclass(kw_only=True)
class DecisionsSettings(SystemsSettings):
    """Which systems' decisions are compared: those of the first with those of each of the others."""


@dataclass(frozen=True)
class Difference:
    """The decisions of one system compared with those of the first."""

    system: str
    differ: Measured
    """Share of the clips on which they decide differently."""
    by_chance: float
    """The share expected if both chose each class as often as they do, but independently."""
    kappa: Measured | None
    """Cohen's (1960) kappa: agreement beyond chance, 1 if they always agree, 0 if they agree as often as by chance.
    None if both always choose the same single class."""
    by_class: dict[str, Measured]
    """Mismatch on the clips of each true class that has clips."""
    first_right: Measured | None
    """Share of the clips on which they differ for which the first is right; None if they never differ."""
    other_right: Measured | None
    """The same for this system."""
    neither_right: Measured | None
    right_where_agreed: Measured | None
    """Share of the clips on which they agree for which both are right; None if they never agree."""
    decisions: list[list[float]]
    """``(classes, classes)``: clips by the first system's decision and by this one's; a mean over seeds."""


@dataclass(frozen=True)
class Decisions(SystemsAnalysis[DecisionsSettings]):
    """Where systems decide differently on the same clips under one protocol.

    The first of --systems is compared with each of the others: the share of clips on which they differ, overall and by
    true class, with .95 intervals over speakers (or other groups of clips); kappa, the agreement beyond chance; and
    which of the two is right where they differ. The seeds that both have are averaged.
    """

    NAME: ClassVar[str] = "decisions"
    ABOUT: ClassVar[str] = "Clips on which systems decide differently: share, by class, beyond chance, which is right."
    SETTINGS: ClassVar[type[AnalysisSettings]] = DecisionsSettings

    first: str
    others: list[Difference]
    seeds: list[int]
    """Seeds that all systems have."""
    between_seeds: dict[str, float]
    """Mismatch of a system with itself under another seed, as a mean over pairs of seeds, which differ in folds and in
    the initialisation of trained parts. Empty if there is only one seed."""

    @classmethod
    def make(cls, settings: DecisionsSettings) -> Self:
        """Compare decisions clip by clip."""
        found = systems_of(settings, fewest=2)
        seeds = common_seeds(found)
        by_name = {name: [_of_seed(own, seed) for seed in seeds] for name, own in found.by_name.items()}
        clips = clips_of(list(found.by_name.values()))
        (first, one), *others = by_name.items()
        task = found.task
        return cls(
            **facts_of(task),
            first=first,
            others=[difference(name, one, other, clips, task.classes) for name, other in others],
            seeds=seeds,
            between_seeds={name: _between(own) for name, own in by_name.items()} if len(seeds) > 1 else {},
        )

    @property
    def heading(self) -> str:
        """The corpus, and the system with which others are compared."""
        return f"Decisions on {self.corpus}, against {self.first}"

    def summary(self) -> str:
        """Say how often systems differ, compared with what, and which is then right."""
        return "\n".join([*map(self._sentence, self.others), self._limits()])

    def _sentence(self, one: Difference) -> str:
        right = (
            f"; where it does, {self.first} is right on {words_of(one.first_right)}, {one.system} on "
            f"{words_of(one.other_right)}, neither on {words_of(one.neither_right)}"
        )
        return (
            f"{one.system} decides differently from {self.first} on {one.differ.text} of the clips (by chance "
            f"{short(one.by_chance)}; kappa {words_of(one.kappa)}){right if one.first_right else ''}."
        )

    def _limits(self) -> str:
        own = ", ".join(f"{name} {short(value)}" for name, value in self.between_seeds.items())
        again = f" A system differs from itself under another seed on: {own}." if own else ""
        over = (
            f"Intervals are of .95 over {self.units} {self.unit}, of these trained systems"
            if self.units > 1
            else ("There is no interval, because all clips belong together")
        )
        return f"{over}.{again} How often two systems differ does not show which is better."

    def tables(self) -> list[Table]:
        """Return how often systems differ, which is then right, and mismatch by class."""
        title = f"{self.corpus}, {len(self.classes)} classes, {self.protocol}: decisions against {self.first}"
        notes = [
            f"{sum(self.clips.values())} clips; intervals of .95 over {self.units} {self.unit}; seeds "
            f"{', '.join(map(str, self.seeds))}",
            "by chance: mismatch of two that choose each class as often as these do; kappa: agreement beyond that",
        ]
        differ = [
            [
                one.system,
                *one.differ.cells,
                short(one.by_chance),
                *cells_of(one.kappa),
                *cells_of(one.right_where_agreed),
            ]
            for one in self.others
        ]
        columns = ["against", "differ", "interval", "by chance", "kappa", "interval", "right where agreed", "interval"]
        right = [
            [
                one.system,
                "0" if one.first_right is None else f"{one.first_right.clips:.4g}",
                *cells_of(one.first_right),
                *cells_of(one.other_right),
                *cells_of(one.neither_right),
            ]
            for one in self.others
        ]
        who = ["against", "clips", "first right", "interval", "other right", "interval", "neither right", "interval"]
        by_class = [
            [one.system, name, str(self.clips[name]), *measured.cells]
            for one in self.others
            for name, measured in one.by_class.items()
        ]
        return [
            Table(title, columns, differ, notes),
            Table(f"{title}: which is right where they differ", who, right, [f"first: {self.first}"]),
            Table(f"{title}: by true class", ["against", "class", "clips", "differ", "interval"], by_class, texts=2),
        ]

    def check(self) -> None:
        """Refuse tables of other classes."""
        super().check()
        if not self.others:
            raise ValueError("there is no other system")
        for one in self.others:
            self.check_table("decisions", one.decisions, one.by_class)


def _kappa(hits: np.ndarray, true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return (1 + kappa) / 2, whose logit is twice Fisher's z of kappa: the scale of the jackknife's interval."""
    clips = true.sum(-1)
    agreed, chance = hits.sum(-1) / clips, (true * predicted).sum(-1) / clips**2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((1 + (agreed - chance) / (1 - chance)) / 2)


KAPPA = Metric("kappa", _kappa)
"""(1 + kappa) / 2, with one system's decisions in rows and another's in columns; NaN if both choose one class only."""


def difference(
    system: str, first: Sequence[Predictions], other: Sequence[Predictions], clips: TableClips, classes: Sequence[str]
) -> Difference:
    """Compare two systems.

    Args:
        system: name of the other system.
        first: decisions of the first system, one per seed.
        other: decisions of the other, for the same seeds and clips.
        clips: clips of the table, with units.
        classes: names.
    """
    size = len(classes)
    units = [np.array([clips.units[clips.places[clip]] for clip in p.clips], dtype=np.int64) for p in first]
    apart = [one.predicted != two.predicted for one, two in zip(first, other, strict=True)]
    labels = [p.labels for p in first]
    right = [[p.predicted == p.labels for p in own] for own in (first, other)]

    def of(holds: Sequence[np.ndarray], among: Sequence[np.ndarray]) -> Measured | None:
        return share([(h[a], u[a]) for h, a, u in zip(holds, among, units, strict=True)])

    differ = of(apart, [np.ones_like(one) for one in apart])
    assert differ is not None, "a table has clips"
    by_class = {name: of(apart, [own == place for own in labels]) for place, name in enumerate(classes)}
    neither = [~one & ~two for one, two in zip(*right, strict=True)]
    counts = _together(first, other, units, int(clips.units.max()) + 1, size)
    matrix = counts.sum(1).mean(0)
    expected = float(matrix.sum(1) @ matrix.sum(0)) / float(matrix.sum()) ** 2
    return Difference(
        system,
        differ,
        1 - expected,
        kappa_of(counts),
        {name: measured for name, measured in by_class.items() if measured is not None},
        of(right[0], apart),
        of(right[1], apart),
        of(neither, apart),
        of(right[0], [~one for one in apart]),
        matrix.tolist(),
    )


def kappa_of(counts: np.ndarray) -> Measured | None:
    """Return Cohen's kappa with its interval by the group jackknife, on the scale of Fisher's z.

    Args:
        counts: ``(seeds, units, classes, classes)``, with one system's decisions in rows and the other's in columns.

    Returns:
        None if both always choose the same single class. There is no interval if they always agree, or if they would
        choose only one class without one of the units.
    """
    found = estimate(counts, KAPPA)
    if not np.isfinite(found.value):
        return None
    low, high = found.low, found.high
    if low is None or high is None or found.value in (0.0, 1.0) or not np.isfinite([low, high]).all():
        return Measured(2 * found.value - 1, None, None, float(counts.sum((1, 2, 3)).mean()))
    return Measured(2 * found.value - 1, 2 * low - 1, 2 * high - 1, float(counts.sum((1, 2, 3)).mean()))


def common_seeds(systems: Systems) -> list[int]:
    """Return the seeds that all systems have, in the order of the first.

    Raises:
        UserError: there are none.
    """
    own = {name: [one.scores[0].seed for one in seeds] for name, seeds in systems.by_name.items()}
    shared = [seed for seed in next(iter(own.values())) if all(seed in seeds for seeds in own.values())]
    if not shared:
        said = "; ".join(f"{name}: {', '.join(map(str, seeds))}" for name, seeds in own.items())
        raise UserError(f"the systems have no seed in common, so their folds differ ({said})")
    return shared


def _of_seed(own: Sequence[Measurement], seed: int) -> Predictions:
    return next(one.predictions for one in own if one.scores[0].seed == seed)


def _together(
    first: Sequence[Predictions], other: Sequence[Predictions], units: Sequence[np.ndarray], size: int, classes: int
) -> np.ndarray:
    """Return ``(seeds, units, classes, classes)``: decisions of the first in rows, and of the other in columns."""
    counts = np.zeros((len(first), size, classes, classes), dtype=np.int64)
    for seed, (one, two, own) in enumerate(zip(first, other, units, strict=True)):
        counts[seed, np.unique(own)] = confusion_counts(one.predicted, two.predicted, own, range(classes))
    return counts


def _between(seeds: Sequence[Predictions]) -> float:
    """Return the mean mismatch of pairs of seeds, on the clips that both test."""
    decided = [dict(zip(p.clips, p.predicted.tolist(), strict=True)) for p in seeds]
    pairs = [(one, other) for place, one in enumerate(decided) for other in decided[place + 1 :]]
    shared = [(one, other, one.keys() & other.keys()) for one, other in pairs]
    values = [np.mean([one[clip] != other[clip] for clip in both]) for one, other, both in shared if both]
    return float(np.mean(values)) if values else 0.0
