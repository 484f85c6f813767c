"""Which classes systems confuse: confusion matrices over all folds together."""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from nonverbal.evaluation.analyses.base import AnalysisSettings
from nonverbal.evaluation.analyses.measured import Measured, cells_of
from nonverbal.evaluation.analyses.systems import SystemsAnalysis, SystemsSettings, facts_of, systems_of
from nonverbal.evaluation.results import Estimate, ModelResult, recalls
from nonverbal.evaluation.tables import Table, short

SHOWN = 3
"""Number of confusions of a system that its summary names."""


@dataclass(kw_only=True)
class ConfusionSettings(SystemsSettings):
    """Which systems' decisions are counted; all systems of the table if none is named."""


@dataclass(frozen=True)
class Confusion:
    """The confusions of one system."""

    system: str
    counts: list[list[float]]
    """``(classes, classes)``: clips by true class and by predicted class; a mean over seeds."""
    uar: Measured
    recalls: dict[str, Measured]
    """The recall of each class that has clips."""


@dataclass(frozen=True)
class Confusions(SystemsAnalysis[ConfusionSettings]):
    """Confusion matrices over all folds together: true classes in rows, decisions in columns.

    Recalls have .95 intervals over the speakers (or other groups of clips) that have clips of the class.
    """

    NAME: ClassVar[str] = "confusion"
    ABOUT: ClassVar[str] = "Which classes systems confuse: confusion matrices, recalls with intervals."
    SETTINGS: ClassVar[type[AnalysisSettings]] = ConfusionSettings

    systems: list[Confusion]

    @classmethod
    def make(cls, settings: ConfusionSettings) -> Self:
        """Count decisions."""
        found = systems_of(settings, fewest=1)
        task = found.task
        by_name = {task.name(model): model for model in task.models}
        systems = [_confusion(name, by_name[name], task.clips) for name in found.by_name]
        return cls(**facts_of(task), systems=systems)

    @property
    def heading(self) -> str:
        """The corpus and the protocol."""
        return f"Confusions on {self.corpus}: {self.protocol}"

    def summary(self) -> str:
        """Give for each system its UAR and its most frequent confusions."""
        chance = f"UAR of guessing: {short(1 / len(self.classes))}. Intervals are of .95 over {self.units} {self.unit}."
        return "\n".join([*map(self._sentence, self.systems), chance])

    def _sentence(self, one: Confusion) -> str:
        counts = np.array(one.counts)
        shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
        np.fill_diagonal(shares, 0)
        most = [divmod(int(cell), len(shares)) for cell in np.argsort(-shares, axis=None, kind="stable")[:SHOWN]]
        said = ", ".join(
            f"{self.classes[a]} for {self.classes[b]} ({shares[a, b]:.0%})" for a, b in most if shares[a, b] > 0
        )
        mistaken = f", and most often mistakes {said}" if said else ", and mistakes no clip for another class"
        return f"{one.system} has a UAR of {one.uar.text}{mistaken}."

    def tables(self) -> list[Table]:
        """Return a row for each system and true class: its recall, and the counts of decisions."""
        rows = [
            [one.system, name, str(self.clips[name]), *cells_of(one.recalls.get(name)), *(f"{n:.4g}" for n in counts)]
            for one in self.systems
            for name, counts in zip(self.classes, one.counts, strict=True)
        ]
        columns = ["system", "true class", "clips", "recall", "interval", *(f"as {name}" for name in self.classes)]
        title = f"{self.corpus}, {len(self.classes)} classes, {self.protocol}: confusions"
        notes = [f".95 intervals over those of the {self.units} {self.unit} that have clips of the class"]
        return [Table(title, columns, rows, [*notes, "as: clips assigned to this class, mean over seeds"], 2)]

    def check(self) -> None:
        """Refuse counts for other classes."""
        super().check()
        if not self.systems:
            raise ValueError("there is no system")
        for one in self.systems:
            self.check_table("counts", one.counts, one.recalls)


def _confusion(name: str, model: ModelResult, clips: dict[str, int]) -> Confusion:
    own = {label: _measured(found, clips[label]) for label, found in recalls(model).items() if clips[label]}
    total = sum(clips.values())
    return Confusion(name, model.counts.sum(1).mean(0).tolist(), _measured(model.pooled["uar"], total), own)


def _measured(found: Estimate, clips: int) -> Measured:
    return Measured(found.value, found.low, found.high, float(clips))
