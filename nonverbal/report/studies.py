"""Sections of a page for studies: the paper's tables, links to its figures, all steps with commands, and omissions."""

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
"""Number of characters of a step's key that are shown; names of its earlier outputs have as many."""


@dataclass(frozen=True)
class Link:
    """A link to a section of the page."""

    anchor: str
    heading: str


@dataclass(frozen=True)
class FigureEntry:
    """A figure of the paper: the sections that show it, or the reason why there are none."""

    name: str
    caption: str
    note: str | None
    links: list[Link]
    missing: list[str]
    """Steps without output, and the reason."""


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
    """Name and command line of each step that has a command."""
    recipe: str
    """YAML with bases resolved."""
    origin: tuple[str, str]
    """File of the record, and its SHA-256."""

    @property
    def tables(self) -> list[Table]:
        """All tables except those of steps."""
        return [table for part in self.parts for table in part.tables]


def studies_in(paths: Sequence[Path]) -> list[Path]:
    """Return the records of studies in folders, and those given as files."""
    inside = (files_below(path, FILE) if path.is_dir() else [path] if path.name == FILE else [] for path in paths)
    return list(dict.fromkeys(file for files in inside for file in files))


def outputs_of(records: Sequence[Path]) -> dict[Path, list[Path]]:
    """Return the outputs of the steps of studies, by folder of the study.

    Raises:
        UserError: a record cannot be read.
    """
    return {
        path.parent: [path.parent / step.out for step in read_study(path).steps if step.out and step.status == "done"]
        for path in records
    }


def counts(path: Path, outputs: Mapping[Path, Sequence[Path]]) -> bool:
    """Whether a file or folder is shown. In a study, only current outputs of finished steps are."""
    studies = [folder for folder in outputs if path.is_relative_to(folder)]
    return not studies or any(path.is_relative_to(made) for folder in studies for made in outputs[folder])


def study_section(number: int, path: Path, shown: Mapping[Path, Link]) -> StudySection:
    """Return the section for a study.

    Args:
        number: of the section.
        path: of the record.
        shown: files of analyses, with the sections that show them.

    Raises:
        UserError: the record, or a file that a table is made from, is damaged.
    """
    record, folder = read_study(path), path.parent
    done = [step for step in record.steps if step.status == "done"]
    seconds = sum(step.seconds or 0.0 for step in done)
    return StudySection(
        slug(f"study-{number}-{record.title}"),
        record.title,
        record.paper,
        f"{len(done)} of {len(record.steps)} steps done, in {duration(seconds)} altogether; "
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
        "seconds: all runs of the step together; key: the start of the SHA-256 of command, settings and contents of "
        "inputs; a step with an unchanged key is not run again"
    ]
    return Table("Steps", columns, rows, notes, 3)


def _left_out(record: StudyRecord) -> Table | None:
    """Return a table of what is absent or failed, with reasons; None if nothing is."""
    absent = [("corpus", corpus) for corpus in record.corpora if not corpus.present]
    rows = [[kind, one.name, one.why or "not given", one.note or "-"] for kind, one in absent]
    rows += [
        ["model", model.name, model.why or "not given", model.note or "-"]
        for model in record.models
        if not model.present
    ]
    rows += [["steps", ", ".join(names), why, "-"] for why, names in not_done(record.steps).items()]
    return Table("Left out", ["what", "name", "why", "note"], rows, [], 4) if rows else None
