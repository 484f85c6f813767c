"""The record of a study, ``study.json``: its corpora, models and steps with their status, and what each table shows."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from nonverbal.errors import UserError
from nonverbal.files import read_json, write_atomically
from nonverbal.records import read_record

FILE = "study.json"
VERSION = 1

Use = Literal["pretrain", "score"]
Status = Literal["done", "to do", "left out", "failed"]
"""Status of a step: it is done, can be run, cannot be run because something is absent, or failed when it last ran."""


@dataclass(frozen=True)
class TableShape:
    """A table in the paper's format, made from the scores of steps."""

    caption: str
    """What it shows, in our words."""
    steps: list[str] = field(default_factory=list)
    """Names of the steps whose scores it shows; each has its own columns. For the table of corpora: prepare."""
    groups: dict[str, list[str]] = field(default_factory=dict)
    """The same for several groups of columns, by their label: "the paper's protocol", "ours"."""
    rows: str | list[str] = "model"
    """What a row stands for: model, corpus, or a word of the steps' loops; a list if rows are nested."""
    columns: str | list[str] = "corpus"
    """What a column stands for; an empty list for none."""
    metrics: list[str] = field(default_factory=list)
    """Metrics of each cell, such as uar, accuracy, f1."""
    mean: str | None = None
    """The name in ``published.csv`` of the mean over corpora."""
    total: str | None = None
    """The name there of the sum over corpora."""
    heads: dict[str, str] = field(default_factory=dict)
    """From the paper's name of a head to its name in our scores."""
    names: dict[str, str] = field(default_factory=dict)
    """Names of the rows of a step, such as "{model} -> SER", if they are not the model's name."""
    note: str | None = None
    """What a reader must know about it, such as what the paper leaves open."""

    @property
    def all_steps(self) -> list[str]:
        """The steps that it shows, including those of groups."""
        return [*self.steps, *(step for steps in self.groups.values() for step in steps)]


@dataclass(frozen=True)
class FigureShape:
    """A figure, and the steps whose analyses show it."""

    caption: str
    """What it shows, in our words."""
    steps: list[str] = field(default_factory=list)
    """Names of steps."""
    note: str | None = None
    """What a reader must know about it."""


@dataclass(frozen=True)
class StudyCorpus:
    """A corpus that steps name."""

    name: str
    use: Use
    present: bool
    why: str | None
    """Why it is absent."""
    reader: str | None
    printed: str | None
    """The paper's name for it in ``published.csv``."""
    note: str | None
    shards: str | None
    """Folder of its shards, relative to the study's folder if it is inside; None if the corpus is absent."""


@dataclass(frozen=True)
class StudyModel:
    """A model that steps name."""

    name: str
    present: bool
    why: str | None
    """Why it is absent."""
    source: str | None
    """Its source, as in commands and in scores; None if the model is absent."""
    printed: str | None
    """The paper's name for it in ``published.csv``."""
    note: str | None


@dataclass(frozen=True)
class StudyStep:
    """One command of a study."""

    name: str
    """Such as ``finetune.vivae.voc2vec``."""
    step: str
    """Its name in the recipe, such as ``finetune``."""
    run: str
    """The command, without ``nonverbal``."""
    loop: dict[str, str]
    """The values of its loops, such as ``corpus: vivae, model: voc2vec``."""
    status: Status
    why: str | None
    """Why it is left out, or how it failed."""
    shows: list[str]
    """Tables and figures of the paper that it fills."""
    note: str | None
    command: list[str] | None
    """The whole command line; None if the step is left out."""
    out: str | None
    """Its output, relative to the study's folder; None if it is left out."""
    key: str | None
    """SHA-256 of command, settings and contents of inputs."""
    seconds: float | None
    """Duration of all its runs together; None if it is not done."""
    bytes: int | None
    """Size of its output."""
    machine: str | None
    when: str | None
    """When it ended: UTC, ISO 8601."""


@dataclass(frozen=True)
class StudyRecord:
    """The status of a study."""

    version: int
    title: str
    paper: str | None
    """The paper whose rows of ``published.csv`` are shown."""
    recipe: str
    """YAML, with bases resolved."""
    notes: list[str]
    """What a reader must know about the whole study."""
    corpora: list[StudyCorpus]
    models: list[StudyModel]
    steps: list[StudyStep]
    """In the order in which they run."""
    tables: dict[str, TableShape]
    figures: dict[str, FigureShape]

    def __post_init__(self) -> None:
        """Refuse a format of another version."""
        if self.version != VERSION:
            raise UserError(f"version is {self.version}, but must be {VERSION}")

    def matching(self, names: Sequence[str]) -> list[StudyStep]:
        """Return the steps that names stand for: a single step, or all combinations of a step in the recipe."""
        return [step for step in self.steps if any(stands_for(name, step.name) for name in names)]


def stands_for(name: str, step: str) -> bool:
    """Whether a name stands for a step: its parts, between dots, are the step's first parts; ``*`` is any part."""
    wanted, parts = name.split("."), step.split(".")
    return len(wanted) <= len(parts) and all(a in ("*", b) for a, b in zip(wanted, parts, strict=False))


def not_done(steps: Sequence[StudyStep]) -> dict[str, list[str]]:
    """Return the names of steps that are not done, by status and reason, such as ``left out, cries is absent``."""
    found: dict[str, list[str]] = {}
    for step in steps:
        if step.status != "done":
            found.setdefault(step.status if step.why is None else f"{step.status}, {step.why}", []).append(step.name)
    return found


def write_study(folder: Path, record: StudyRecord) -> None:
    """Write the record of the study in ``folder``."""
    write_atomically(folder / FILE, json.dumps(asdict(record), ensure_ascii=False, indent=1) + "\n")


def read_study(path: Path) -> StudyRecord:
    """Read a record.

    Raises:
        UserError: the file cannot be read, or is not a record; the message names what is wrong in it.
    """
    try:
        return read_record(StudyRecord, read_json(path), f"in {path}")
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{path} is not a record of a study ({' '.join(str(error).split())}); run nonverbal study again"
        ) from error
