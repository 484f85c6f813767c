"""Tables in a paper's format: the results of a study, by protocol, beside those that the paper printed.

Shares are in [0, 1]; percentages in papers are divided by 100. Our results are means over folds with their population
standard deviation, as printed in papers; intervals and tests are in the tables of each corpus and protocol.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nonverbal.errors import UserError
from nonverbal.evaluation.printed_cells import PrintedTable, Value, printed_table
from nonverbal.evaluation.published import SOURCES
from nonverbal.evaluation.studies import StudyRecord, TableShape, not_done
from nonverbal.evaluation.study_cells import Names, OwnCell, analysis_cells, corpus_values, score_cells
from nonverbal.evaluation.table_grids import BETWEEN, NONE, Grid, ambiguous, in_order, means, place_of
from nonverbal.evaluation.tables import Table
from nonverbal.tasks.contamination import HELD_OUT
from nonverbal.text import some_of

PREPARE = "prepare"
"""The step from which tables of corpora are made."""

HERE = "here"
"""Label of the columns in a table whose steps all have one protocol."""

FEW = 9
"""Largest number of numeric columns with which all metrics share a table."""

KINDS = ("model", "corpus", "head")
"""What rows and columns can stand for."""

SHOWN = 4
"""Largest number of names in a reason."""


@dataclass(frozen=True)
class PaperTable:
    """A table of the paper, which may become several tables here, one per metric."""

    name: str
    caption: str
    tables: list[Table]


def paper_tables(record: StudyRecord, folder: Path) -> list[PaperTable]:
    """Return the tables of a study, in the order of its recipe.

    Args:
        record: record of the study.
        folder: folder of the study.

    Raises:
        UserError: scores, predictions, manifests or analyses are damaged; or a table has a kind of row or column that
            does not exist.
    """
    made = []
    for name, shape in record.tables.items():
        tables = _corpora if shape.all_steps == [PREPARE] else _scores
        made.append(PaperTable(name, shape.caption, tables(record, folder, name, shape)))
    return made


def _corpora(record: StudyRecord, folder: Path, name: str, shape: TableShape) -> list[Table]:
    """Return the table of corpora as prepared, beside the printed numbers."""
    own, printed, names = corpus_values(record, folder), printed_table(record.paper, name, {}), Names(record)
    known = [(names.corpus(corpus), corpus.printed or corpus.name) for corpus in record.corpora]
    listed = [label for label in in_order(printed.corpora, known) if shape.total is None or label != shape.total]
    if shape.total is not None:
        own[shape.total] = _total([own[label] for label in listed if label in own])
    sides = [HERE, "printed"] if printed.cells else [HERE]
    columns = [f"{metric}, {side}" for metric in shape.metrics for side in sides]
    rows = []
    for label in [*listed, *([shape.total] if shape.total is not None else [])]:
        pairs = [(own.get(label, {}).get(metric), printed.value("", label, "", metric)) for metric in shape.metrics]
        both = zip(pairs, shape.metrics, strict=True)
        cells = [_text(value, metric) for pair, metric in both for value in pair[: len(sides)]]
        rows.append([label, *cells])
    notes = [f"{HERE}: clips as prepared, without unreadable files and duplicates"]
    if shape.total is not None:
        notes.append(f"{shape.total}, {HERE}: {sum(label in own for label in listed)} of {len(listed)} corpora")
    notes += _absent(record, listed)
    notes += [
        f"{names.corpus(corpus)}: {corpus.note}"
        for corpus in record.corpora
        if corpus.note and names.corpus(corpus) in listed
    ]
    return [Table(f"{name}: {shape.caption}", ["corpus", *columns], rows, [*notes, *_said(shape)])]


def _text(value: Value | None, metric: str) -> str:
    return NONE if value is None else value.text(metric)


def _total(corpora: Sequence[dict[str, Value]]) -> dict[str, Value]:
    if not corpora:
        return {}
    clips, hours = (sum(corpus[metric].value for corpus in corpora) for metric in ("clips", "hours"))
    return {"clips": Value(clips), "hours": Value(hours), "mean_seconds": Value(3600 * hours / max(clips, 1))}


def _scores(record: StudyRecord, folder: Path, name: str, shape: TableShape) -> list[Table]:
    """Return tables of models by corpora, from scores or analyses, one per metric; for means, one for all metrics."""
    groups = shape.groups or {HERE: shape.steps}
    read = analysis_cells if any(step.run == "analyze" for step in record.matching(shape.all_steps)) else score_cells
    cells = {group: read(record, folder, shape, steps) for group, steps in groups.items()}
    printed = printed_table(record.paper, name, shape.heads)
    cells = {group: [replace(cell, label=printed.spelling(cell.label)) for cell in own] for group, own in cells.items()}
    scored = [Names(record).corpus(corpus) for corpus in record.corpora if corpus.use == "score"]
    notes: list[str] = []
    if shape.mean is not None:
        found = {group: means(own, shape.mean, scored) for group, own in cells.items()}
        notes = [_over(group, own.over, scored) for group, own in found.items()]
        notes += [note for group, own in found.items() for note in _several(f"{group}: no mean", own.several)]
        cells = {_counted(group, own.over, scored): own.cells for group, own in found.items()}
    grid = _grid(record, name, shape, cells, printed)
    by_metric = bool(grid.columns) and (len(shape.metrics) == 1 or len(grid.column_keys(shape.metrics)) > FEW)
    parts = [[metric] for metric in shape.metrics] if by_metric else [shape.metrics]
    notes = [*_protocols(record, cells), *notes, *_several(f"a{BETWEEN}b", grid.several(shape.metrics))]
    notes += [*_heard(cells), *_classes(cells)]
    notes += [*_reasons(record, shape, grid), *_said(shape)]
    return [_table(f"{name}: {shape.caption}", grid, part, by_metric, notes) for part in parts]


def _grid(
    record: StudyRecord, name: str, shape: TableShape, cells: dict[str, list[OwnCell]], printed: PrintedTable
) -> Grid:
    names = Names(record)
    every = [cell for own in cells.values() for cell in own]
    known = [(printed.spelling(names.label(model)), model.printed or model.name) for model in record.models]
    called = {(cell.label, cell.printed) for cell in every}
    ordered = [pair for pair in known if printed.models or pair in called]
    ordered += [(cell.label, cell.printed) for cell in every if (cell.label, cell.printed) not in known]
    corpora = [(names.corpus(corpus), corpus.printed or corpus.name) for corpus in record.corpora]
    there = {cell.corpus for cell in every}
    grid = Grid(
        rows=_kinds(name, shape.rows),
        columns=[kind for kind in _kinds(name, shape.columns) if shape.mean is None or kind != "corpus"],
        cells=cells,
        printed=printed,
        models=in_order(printed.models, ordered),
        corpora=[shape.mean]
        if shape.mean is not None
        else in_order(printed.corpora, [pair for pair in corpora if printed.corpora or pair[0] in there]),
        heads=list(shape.heads),
        printed_names=dict(ordered),
    )
    return replace(grid, rows=[*grid.rows, "head"]) if ambiguous(grid) else grid


def _kinds(name: str, kinds: str | list[str]) -> list[str]:
    """Return the kinds of things in a table's rows or columns.

    Raises:
        UserError: there is no such kind.
    """
    found = [kinds] if isinstance(kinds, str) else kinds
    if unknown := [kind for kind in found if kind not in KINDS]:
        raise UserError(f"the table {name!r} has {unknown[0]!r} in rows or columns, which may be of {', '.join(KINDS)}")
    return found


def _table(title: str, grid: Grid, metrics: Sequence[str], by_metric: bool, notes: list[str]) -> Table:
    rows, columns = grid.row_keys(), grid.column_keys(metrics)
    return Table(
        f"{title}: {metrics[0]}" if by_metric else title,
        [*grid.rows, *(column.header(not by_metric) for column in columns)],
        [[*row.values(), *(grid.text(row, column) for column in columns)] for row in rows],
        notes,
        len(grid.rows),
    )


def _protocols(record: StudyRecord, cells: dict[str, list[OwnCell]]) -> list[str]:
    """Describe each group of columns, and the protocol of the printed ones."""
    notes = []
    for group, own in cells.items():
        names = dict.fromkeys(cell.protocol for cell in own if cell.protocol)
        notes += [f"{group}: {'; '.join(names)}"] if names else []
    if record.paper in SOURCES and notes:
        notes.append(
            f"printed: {SOURCES[record.paper].protocol}, measured by others, with other code, and not "
            "necessarily on the same clips"
        )
    if any(cell.protocol for own in cells.values() for cell in own):
        notes.append(
            "means over folds ± population std over folds, not an interval; F1 over true and predicted classes"
        )
    return notes


def _counted(group: str, over: Sequence[str], scored: Sequence[str]) -> str:
    """Return the label of columns of means, with the number of corpora if these are not all."""
    return group if len(over) in (0, len(scored)) else f"{group}, {len(over)} of {len(scored)} corpora"


def _over(group: str, over: Sequence[str], scored: Sequence[str]) -> str:
    if len(over) == len(scored):
        return f"{group}: mean ± population std over all {len(scored)} corpora"
    which = f", {', '.join(over)}: those with scores under one protocol" if over else ""
    return f"{group}: {len(over)} of {len(scored)} corpora{which}"


def _several(what: str, places: dict[str, list[str]]) -> list[str]:
    """Say where several steps measured a number that should be unique."""
    listed = some_of([f"{place} by {', '.join(steps)}" for place, steps in places.items()], SHOWN, "; ")
    told = "in the table's groups, give each step a group of its own"
    return [f"{what}: measured several times: {listed}; {told}"] if places else []


def _heard(cells: dict[str, list[OwnCell]]) -> list[str]:
    """Say for which numbers the clips are not known to be held out from the model."""
    heard: dict[str, dict[str, None]] = {}
    for cell in (cell for own in cells.values() for cell in own):
        if cell.pretraining and not cell.pretraining.startswith(HELD_OUT):
            heard.setdefault(cell.pretraining, {})[place_of(cell)] = None
    return [f"pretraining on these clips: {status}: {some_of(list(names), SHOWN)}" for status, names in heard.items()]


def _classes(cells: dict[str, list[OwnCell]]) -> list[str]:
    """Say where groups have different numbers of classes."""
    counts: dict[str, dict[int, str]] = {}
    for group, own in cells.items():
        for cell in own:
            if cell.classes:
                counts.setdefault(cell.corpus, {}).setdefault(cell.classes, group)
    return [
        f"{corpus}: " + ", ".join(f"{number} classes in {group}" for number, group in by_count.items())
        for corpus, by_count in counts.items()
        if len(by_count) > 1
    ]


def _reasons(record: StudyRecord, shape: TableShape, grid: Grid) -> list[str]:
    """Say why numbers are missing: which steps, corpora and models were absent."""
    steps = record.matching(shape.all_steps)
    notes = [f"{NONE}: {why}: {some_of(names, SHOWN)}" for why, names in not_done(steps).items()]
    models = set(grid.models) if "model" in (*grid.rows, *grid.columns) else set()
    names = Names(record)
    absent = [model for model in record.models if not model.present and names.label(model) in models]
    return [*notes, *_absent(record, grid.corpora), *(f"{names.label(model)}: {model.why}" for model in absent)]


def _absent(record: StudyRecord, listed: Sequence[str]) -> list[str]:
    names = Names(record)
    return [
        f"{names.corpus(corpus)}: {corpus.why}"
        for corpus in record.corpora
        if not corpus.present and names.corpus(corpus) in listed
    ]


def _said(shape: TableShape) -> list[str]:
    return [shape.note] if shape.note else []
