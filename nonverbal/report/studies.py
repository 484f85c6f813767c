"""A study on a page: the paper's tables, where its figures are, every step with its command, and what was left out."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nonverbal.evaluation.paper_tables import PaperTable, paper_tables
from nonverbal.evaluation.studies import FILE, StudyCorpus, StudyModel, StudyRecord, StudyStep, not_done, read_study
from nonverbal.evaluation.tables import Table
from nonverbal.files import files_below, sha256_of
from nonverbal.text import duration, slug

KEY = 8
"""Characters of a step's key that are shown, those that name its past outputs too."""


@dataclass(frozen=True)
class Link:
    """A section of the page."""

    anchor: str
    heading: str


@dataclass(frozen=True)
class FigureEntry:
    """A figure of the paper: the sections that show it, or why there is none."""

    name: str
    caption: str
    note: str | None
    links: list[Link]
    missing: list[str]
    """Steps that made nothing, and why."""


@dataclass(frozen=True)
class StudySection:
    """A study."""

    anchor: str
    heading: str
    paper: str | None
    summary: str
    notes: list[str]
    parts: list[PaperTable]
    figures: list[FigureEntry]
    steps: Table
    left_out: Table | None
    commands: list[tuple[str, str]]
    """Of each step that has one, its name and its command line."""
    recipe: str
    """YAML, its bases resolved."""
    origin: tuple[str, str]
    """The record's file and its SHA-256."""

    @property
    def tables(self) -> list[Table]:
        """All tables but those of steps."""
        return [table for part in self.parts for table in part.tables]


def studies_in(paths: Sequence[Path]) -> list[Path]:
    """Return the records of studies in folders, or the files that are such records."""
    inside = (files_below(path, FILE) if path.is_dir() else [path] if path.name == FILE else [] for path in paths)
    return list(dict.fromkeys(file for files in inside for file in files))


def outputs_of(records: Sequence[Path]) -> dict[Path, list[Path]]:
    """Return what the steps of studies have made, by the studies' folders.

    Raises:
        UserError: a record cannot be read.
    """
    return {
        path.parent: [path.parent / step.out for step in read_study(path).steps if step.out and step.status == "done"]
        for path in records
    }


def counts(path: Path, outputs: Mapping[Path, Sequence[Path]]) -> bool:
    """Whether a file or folder is shown: in a study, what steps have made, and not what was made before or failed."""
    studies = [folder for folder in outputs if path.is_relative_to(folder)]
    return not studies or any(path.is_relative_to(made) for folder in studies for made in outputs[folder])


def study_section(number: int, path: Path, shown: Mapping[Path, Link]) -> StudySection:
    """Return the section of a study.

    Args:
        number: of the section.
        path: of the record.
        shown: files of analyses, and the sections that show them.

    Raises:
        UserError: the record, or what a table is made of, is damaged.
    """
    record, folder = read_study(path), path.parent
    done = [step for step in record.steps if step.status == "done"]
    seconds = sum(step.seconds or 0.0 for step in done)
    return StudySection(
        slug(f"study-{number}-{record.title}"),
        record.title,
        record.paper,
        f"{len(done)} of {len(record.steps)} steps done, in {duration(seconds)} together; "
        f"{_present(record.corpora)} corpora, {_present(record.models)} models",
        record.notes,
        paper_tables(record, folder),
        list(_figures(record, folder, shown)),
        _steps(record.steps),
        _left_out(record),
        [(step.name, shlex.join(step.command)) for step in record.steps if step.command],
        record.recipe,
        (str(path), sha256_of(path)),
    )


def _present(named: Sequence[StudyCorpus] | Sequence[StudyModel]) -> str:
    return f"{sum(one.present for one in named)} of {len(named)}"


def _figures(record: StudyRecord, folder: Path, shown: Mapping[Path, Link]) -> Iterator[FigureEntry]:
    for name, shape in record.figures.items():
        steps = record.matching(shape.steps)
        made = [folder / step.out for step in steps if step.status == "done" and step.out is not None]
        missing = not_done(steps)
        yield FigureEntry(
            name,
            shape.caption,
            shape.note,
            [shown[path] for path in made if path in shown],
            [f"{why}: {', '.join(names)}" for why, names in missing.items()] or ([] if made else ["no step shows it"]),
        )


def _steps(steps: Sequence[StudyStep]) -> Table:
    rows = [
        [
            step.name,
            ", ".join(step.shows) or "-",
            step.status,
            "-" if step.seconds is None else f"{step.seconds:.0f}",
            "-" if step.bytes is None else f"{step.bytes / 1e6:.1f}",
            (step.key or "-")[:KEY],
            step.when or "-",
            step.machine or "-",
        ]
        for step in steps
    ]
    columns = ["step", "shows", "state", "seconds", "MB", "key", "ended", "machine"]
    notes = [
        "seconds of all its runs together; key: the start of the SHA-256 of command, settings and contents of inputs: "
        "a step whose key is the same is not run again"
    ]
    return Table("Steps", columns, rows, notes, 3)


def _left_out(record: StudyRecord) -> Table | None:
    """Return what is absent or went wrong, and why; None where nothing did."""
    absent = [("corpus", corpus) for corpus in record.corpora if not corpus.present]
    rows = [[kind, one.name, one.why or "not given", one.note or "-"] for kind, one in absent]
    rows += [
        ["model", model.name, model.why or "not given", model.note or "-"]
        for model in record.models
        if not model.present
    ]
    rows += [["steps", ", ".join(names), why, "-"] for why, names in not_done(record.steps).items()]
    return Table("Left out", ["what", "name", "why", "to know"], rows, [], 4) if rows else None
