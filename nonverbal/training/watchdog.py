"""Notices from the metrics that a run has stopped learning, and names the usual causes."""

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
"""The symptom that any objective may show."""


@dataclass(frozen=True)
class WatchdogSettings:
    """What happens if the run stops learning."""

    on_collapse: Literal["stop", "warn"] = "stop"
    """Stop the run, or print a warning and continue."""
    patience: int = 10
    """How many more rows of metrics must show a symptom than not, after the warm-up; a row is `trainer.log_every`
    steps."""

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        if self.patience < 1:
            raise UserError(f"trainer.watchdog.patience must be at least 1, but is {self.patience}")


class Watchdog:
    """Reads each row of training metrics. Its counts are not saved with a checkpoint."""

    def __init__(self, settings: WatchdogSettings, symptoms: Sequence[Symptom], warmup_steps: int, steps: int) -> None:
        """Watch a run for ``symptoms``, the most specific first."""
        self.settings, self.symptoms = settings, (*symptoms, VANISHED)
        self.warmup_steps, self.steps = warmup_steps, steps
        self.rows = dict.fromkeys((symptom.name for symptom in self.symptoms), 0)
        """For each symptom, the number of rows that have shown it minus those that have not, kept within 0 and
        ``patience``. A symptom lasts when its count is ``patience``, so one that comes and goes lasts if most rows show
        it."""
        self.told: set[str] = set()
        """Symptoms that have lasted, and whose count has not come back to 0 since."""
        self.last: deque[Metrics] = deque(maxlen=settings.patience)

    def healthy(self, row: Metrics) -> bool:
        """Return whether a row shows none of the symptoms that healthy runs never show."""
        return not any(symptom.holds(row) for symptom in self.symptoms if not symptom.slow)

    def read(self, row: Metrics, step: int) -> str | None:
        """Count a row. Return a warning the first time that a symptom lasts, and again after it has passed.

        Raises:
            UserError: a symptom lasts, and the settings say to stop.
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
        # Rounding may decide which of several symptoms is the first to last, so all that hold are named.
        shown = {symptom.name: mean if symptom.holds(mean) else row for symptom in counting}
        return self._report([(symptom, row) for symptom in counting if symptom.holds(row := shown[symptom.name])], step)

    def _count(self, name: str, holds: bool) -> None:
        self.rows[name] = min(max(self.rows[name] + (1 if holds else -1), 0), self.settings.patience)
        if not self.rows[name]:
            self.told.discard(name)

    def _counts(self, symptom: Symptom, step: int) -> bool:
        return step > (max(self.warmup_steps, self.steps // 5) if symptom.slow else self.warmup_steps)

    def _mean(self, row: Metrics) -> Metrics:
        """Return the mean of the last rows, because an accuracy at chance is above chance in every other row."""
        return {name: sum(last.get(name, value) for last in self.last) / len(self.last) for name, value in row.items()}

    def _report(self, shown: Sequence[tuple[Symptom, Metrics]], step: int) -> str:
        seen = [
            f"{symptom.name} ({', '.join(f'{name} {row[name]:.4g}' for name in symptom.reading)})"
            for symptom, row in shown
        ]
        # The first symptom is the most specific, and causes the others.
        message = (
            f"step {step}: {', and '.join(seen)}, in at least {self.settings.patience} rows of metrics; usual causes: "
            f"{shown[0][0].causes}"
        )
        if self.settings.on_collapse == "stop":
            raise UserError(f"stopped at {message}; with --trainer.watchdog.on_collapse warn it would continue")
        return message
