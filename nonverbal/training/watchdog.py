"""Notices from its metrics that a run has stopped learning, and says what usually causes it."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from nonverbal.batch import Metrics
from nonverbal.errors import UserError
from nonverbal.objectives.base import Symptom

VANISHED = Symptom(
    name="the gradient is zero",
    holds=lambda row: row.get("grad_norm", 1.0) == 0,
    reading=("grad_norm",),
    causes="weights that have grown too large: lower trainer.optimizer.lr or raise trainer.optimizer.warmup_steps",
)
"""What any objective may show."""


@dataclass(frozen=True)
class WatchdogSettings:
    """What is done about a run that has stopped learning."""

    on_collapse: Literal["stop", "warn"] = "stop"
    """Stop the run, or say so and go on."""
    patience: int = 10
    """Rows of metrics, after the warm-up, that must show a symptom, beyond those that do not; a row is
    `trainer.log_every` steps."""

    def __post_init__(self) -> None:
        """Refuse a patience of nothing."""
        if self.patience < 1:
            raise UserError(f"watchdog.patience must be at least 1, but is {self.patience}")


class Watchdog:
    """Reads each row of training metrics. What it has counted is not kept when a run is interrupted."""

    def __init__(self, settings: WatchdogSettings, symptoms: Sequence[Symptom], warmup_steps: int, steps: int) -> None:
        """Watch a run for ``symptoms``, the most specific first."""
        self.settings, self.symptoms = settings, (*symptoms, VANISHED)
        self.warmup_steps, self.steps = warmup_steps, steps
        self.rows = dict.fromkeys((symptom.name for symptom in self.symptoms), 0)
        """For each symptom the rows that have shown it minus those that have not, 0 to ``patience``: a symptom that
        comes and goes lasts if most rows show it."""
        self.told: set[str] = set()
        """Symptoms that have lasted and not yet passed, which means that their count is back at 0."""
        self.last: deque[Metrics] = deque(maxlen=settings.patience)

    def healthy(self, row: Metrics) -> bool:
        """Whether a row shows none of the symptoms that no healthy run shows."""
        return not any(symptom.holds(row) for symptom in self.symptoms if not symptom.slow)

    def read(self, row: Metrics, step: int) -> str | None:
        """Count a row. Returns what to warn of, once each time that a symptom has lasted.

        Raises:
            UserError: a symptom has lasted, and the settings say to stop.
        """
        self.last.append(row)
        mean = self._mean(row)
        counting = [symptom for symptom in self.symptoms if self._counts(symptom, step)]
        for symptom in self.symptoms:
            holds = symptom in counting and symptom.holds(mean if symptom.slow else row)
            self._count(symptom.name, holds)
        lasting = {name for name, count in self.rows.items() if count == self.settings.patience}
        if lasting <= self.told:
            return None
        self.told |= lasting
        # Which of several was the first to last may hang on rounding: all that hold are named.
        shown = {symptom.name: mean if symptom.holds(mean) else row for symptom in counting}
        return self._report([(symptom, row) for symptom in counting if symptom.holds(row := shown[symptom.name])], step)

    def _count(self, name: str, holds: bool) -> None:
        self.rows[name] = min(max(self.rows[name] + (1 if holds else -1), 0), self.settings.patience)
        if not self.rows[name]:
            self.told.discard(name)

    def _counts(self, symptom: Symptom, step: int) -> bool:
        return step > (max(self.warmup_steps, self.steps // 5) if symptom.slow else self.warmup_steps)

    def _mean(self, row: Metrics) -> Metrics:
        """Return the mean of the last rows: what is at chance is above it in every other row."""
        return {name: sum(last.get(name, value) for last in self.last) / len(self.last) for name, value in row.items()}

    def _report(self, shown: Sequence[tuple[Symptom, Metrics]], step: int) -> str:
        seen = [
            f"{symptom.name} ({', '.join(f'{name} {row[name]:.4g}' for name in symptom.reading)})"
            for symptom, row in shown
        ]
        # The most specific causes the others.
        message = (
            f"step {step}: {', and '.join(seen)}, in at least {self.settings.patience} rows of metrics; usual causes: "
            f"{shown[0][0].causes}"
        )
        if self.settings.on_collapse == "stop":
            raise UserError(f"stopped at {message}; with --trainer.watchdog.on_collapse warn it would have gone on")
        return message
