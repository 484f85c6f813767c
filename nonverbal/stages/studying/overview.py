"""The status of a study as tables: what is done, what remains, what it costs, and what it shows."""

import shutil
from collections.abc import Sequence

from nonverbal.evaluation.tables import Table
from nonverbal.grouping import grouped
from nonverbal.stages.studying.costs import Cost, total
from nonverbal.stages.studying.planning import PREPARE, Plan
from nonverbal.stages.studying.standing import Row, models_of
from nonverbal.text import duration, size


def tables_of(plan: Plan, rows: Sequence[Row]) -> list[Table]:
    """Return the tables of a study: its steps, and the tables and figures of the paper that they fill.

    Args:
        plan: the study.
        rows: all or some of its steps.
    """
    if plan.steps and not rows:
        return []
    tables = [_steps(plan, rows)]
    names = list(dict.fromkeys([*plan.shown, *(name for row in rows for name in row.step.template.shows)]))
    if names:
        captions = {name: table.caption for name, table in plan.study.tables.items()}
        captions |= {name: figure.caption for name, figure in plan.study.figures.items()}
        of = {name: [row for row in rows if name in plan.shows(row.step)] for name in names}
        columns = ["name", "status", "caption"]
        whole = len(rows) == len(plan.steps)
        shown = [[name, _together(plan, name, of[name]), captions.get(name, "")] for name in names if whole or of[name]]
        tables.append(Table("Tables and figures", columns, shown, texts=len(columns)))
    return tables


def _steps(plan: Plan, rows: Sequence[Row]) -> Table:
    columns = ["step", "status", "time", "disk", "shows", "remarks"]
    cells = [_cells(plan, own) for own in _grouped(rows)]
    notes = [summary(rows), *room(plan, rows), *absent(plan)]
    return Table(plan.study.title, columns, cells, notes, texts=len(columns))


def _grouped(rows: Sequence[Row]) -> list[list[Row]]:
    """Group the combinations of a step that are left out for the same reason; all other steps are separate."""

    def reason(row: Row) -> tuple[str, ...]:
        return (row.step.step, row.why or "") if row.status == "left out" else (row.step.name,)

    return list(grouped(rows, reason).values())


def _cells(plan: Plan, rows: Sequence[Row]) -> list[str]:
    """Return the cells of one step, or of several that are left out for the same reason."""
    first = rows[0]
    return [
        first.step.name if len(rows) == 1 else f"{first.step.step}, {len(rows)} combinations",
        first.status,
        _time(first.cost) if first.waits else "",
        _disk(first.cost) if first.waits else "",
        ", ".join(dict.fromkeys(name for row in rows for name in plan.shows(row.step))),
        "; ".join(filter(None, [first.why, first.cost.by, first.step.template.note if first.waits else None])),
    ]


def summary(rows: Sequence[Row]) -> str:
    """Summarise in one line what remains to be done, and what it costs."""
    counts = {status: sum(row.status == status for row in rows) for status in ("done", "to do", "failed", "left out")}
    waiting = [row.cost for row in rows if row.waits]
    seconds, disk, unknown = total(waiting)
    known = f"{duration(seconds)} and {size(disk)}"
    if unknown == len(waiting):
        known = "unknown time and disk"
    elif unknown:
        known = f"{known} for {len(waiting) - unknown} of them, unknown for the others"
    counted = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    return f"{len(rows)} steps: {counted}" + (f"; remaining: {known}" if waiting else "")


def room(plan: Plan, rows: Sequence[Row]) -> list[str]:
    """Warn if the disk has less free space than the known costs of the steps."""
    place = next(folder for folder in (plan.out.absolute(), *plan.out.absolute().parents) if folder.exists())
    free, wanted = shutil.disk_usage(place).free, total([row.cost for row in rows if row.waits])[1]
    return [f"warning: only {size(free)} is free for {plan.out}, less than the steps need"] if free < wanted else []


def absent(plan: Plan) -> list[str]:
    """Say which corpora and models are absent, with one line for corpora and one for models."""
    corpora = [name for name, placed in plan.corpora.items() if placed.why is not None]
    lines = [f"absent corpora, left out with all steps that need them: {', '.join(corpora)}"] if corpora else []
    models = [f"{model.name} ({model.why})" for model in models_of(plan) if not model.present]
    return lines + ([f"absent models: {', '.join(models)}"] if models else [])


def _together(plan: Plan, name: str, rows: Sequence[Row]) -> str:
    """Return the status of all steps of a table: one status, or if they differ, the number of steps for each."""
    counts = {status: sum(row.status == status for row in rows) for status in ("done", "to do", "failed", "left out")}
    there = [(status, count) for status, count in counts.items() if count]
    if not there:
        # A table of corpora that are absent or whose shards were given.
        present = any(placed.path is not None for placed in plan.corpora.values())
        return "done" if present and PREPARE in plan.shown.get(name, []) else "left out"
    return there[0][0] if len(there) == 1 else ", ".join(f"{count} {status}" for status, count in there)


def _time(cost: Cost) -> str:
    return "unknown" if cost.seconds is None else duration(cost.seconds)


def _disk(cost: Cost) -> str:
    return "unknown" if cost.bytes is None else size(cost.bytes)
