"""Systems whose decisions are analysed: models with a head, as named in tables of scores, under one protocol."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from nonverbal.errors import UserError
from nonverbal.evaluation.analyses.base import Analysis, AnalysisSettings
from nonverbal.evaluation.results import TaskResult, results
from nonverbal.grouping import grouped
from nonverbal.tasks.measurements import Measurement, read_measurements


@dataclass(kw_only=True)
class SystemsSettings(AnalysisSettings):
    """Which systems' decisions are read, on which corpus, under which protocol."""

    scores: list[Path]
    """Score files, or folders, which stand for every scores.jsonl in them; the predictions beside them are read."""
    systems: list[str] = field(default_factory=list)
    """Models as named in tables of scores; "MODEL, HEAD" if a model has several heads."""
    corpus: str | None = None
    """With scores on several corpora: the one to use, as named in tables."""
    protocol: str | None = None
    """With scores under several protocols: a part of the name of the one to use."""


@dataclass(frozen=True)
class Systems:
    """Systems on the same clips under one protocol."""

    task: TaskResult
    by_name: dict[str, list[Measurement]]
    """Names as in tables, each with one measurement per seed."""

    @property
    def about(self) -> str:
        """Corpus, classes and protocol."""
        return f"{self.task.corpus}, {len(self.task.classes)} classes: {self.task.protocol}"


S = TypeVar("S", bound=SystemsSettings)


@dataclass(frozen=True)
class SystemsAnalysis(Analysis[S]):
    """Numbers about systems, and the task that they are for; names of fields are those of ``TaskResult``."""

    corpus: str
    classes: list[str]
    protocol: str
    data_sha256: str
    """Hash of the shards' index."""
    clips: dict[str, int]
    """Number of clips of each true class."""
    units: int
    unit: str
    """What intervals are over."""

    def check(self) -> None:
        """Refuse counts of clips for other classes."""
        if not self.classes or self.clips.keys() != set(self.classes):
            raise ValueError("there is no class, or clips are not of the classes")

    def check_table(self, name: str, table: list[list[float]], by_class: Iterable[str]) -> None:
        """Refuse a table that is not classes by classes, or numbers ``by_class`` for another class."""
        size = len(self.classes)
        if len(table) != size or any(len(row) != size for row in table):
            raise ValueError(f"{name} are not classes by classes")
        if not set(by_class) <= set(self.classes):
            raise ValueError(f"there are {name} of another class")


def facts_of(task: TaskResult) -> dict[str, Any]:
    """Return the fields of ``SystemsAnalysis``."""
    return {field.name: getattr(task, field.name) for field in fields(SystemsAnalysis)}


def systems_of(settings: SystemsSettings, fewest: int) -> Systems:
    """Read the systems that settings name; see ``read_systems``."""
    return read_systems(settings.scores, settings.systems, settings.corpus, settings.protocol, fewest)


def read_systems(
    scores: Sequence[Path], names: Sequence[str], corpus: str | None, protocol: str | None, fewest: int
) -> Systems:
    """Read systems from score files.

    Args:
        scores: files or folders.
        names: names of the systems; if empty, all systems of the table.
        corpus: corpus of the table; None for any.
        protocol: part of the protocol's name; None for any.
        fewest: smallest number of systems.

    Raises:
        UserError: a file is missing or damaged, or the systems are together in no table, or in several.
    """
    tables = grouped(read_measurements(scores), lambda one: one.table)
    kept = [own for own in tables.values() if _asked(own[0], corpus, protocol)]
    if not kept:
        there = _places(tables.values()) or "none with classes"
        raise UserError(
            f"no scores with --corpus {corpus or '(any)'} and --protocol {protocol or '(any)'}; there are: {there}"
        )
    tasks = [(results(own)[0], own) for own in kept]
    fitting = [found for task, own in tasks if (found := _systems(task, own, names)) is not None]
    if not fitting:
        named = "; ".join(f"{' | '.join(map(task.name, task.models))} ({_place(own[0])})" for task, own in tasks)
        raise UserError(f"--systems {', '.join(names)}: not all in one table; there are: {named}")
    if len(fitting) > 1:
        raise UserError(
            f"the systems are in {len(fitting)} tables, whose numbers are not comparable; choose one by --corpus or "
            f"--protocol: {_places(kept)}"
        )
    if len(fitting[0].by_name) < fewest:
        raise UserError(f"--systems must name at least {fewest}, but names {', '.join(fitting[0].by_name)}")
    return fitting[0]


def _asked(measurement: Measurement, corpus: str | None, protocol: str | None) -> bool:
    score = measurement.scores[0]
    return corpus in (None, score.corpus) and (protocol or "") in score.protocol


def _systems(task: TaskResult, own: Sequence[Measurement], names: Sequence[str]) -> Systems | None:
    """Return the systems of a table, in the order of ``names``; None if one is missing."""
    every = {task.name(model): (model.model, model.head) for model in task.models}
    fitting = {
        name: [full for full, (model, head) in every.items() if name in (full, model, f"{model}, {head}")]
        for name in names or every
    }
    if not all(fitting.values()):
        return None
    for name, fulls in fitting.items():
        if len(fulls) > 1:
            raise UserError(f"--systems {name}: it has several heads; give one of {' | '.join(fulls)}, in quotes")
    return Systems(task, {full: [one for one in own if one.row == every[full]] for (full,) in fitting.values()})


def _places(tables: Iterable[Sequence[Measurement]]) -> str:
    return "; ".join(dict.fromkeys(_place(own[0]) for own in tables))


def _place(measurement: Measurement) -> str:
    score = measurement.scores[0]
    return f"{score.corpus}, {len(score.classes)} classes, {score.protocol}"
