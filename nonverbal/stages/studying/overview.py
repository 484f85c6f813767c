"""A study as it stands, as tables: what is done, what there is to do, what it takes, and what it shows."""

import shutil
from collections.abc import Sequence

from nonverbal.evaluation.tables import Table
from nonverbal.grouping import grouped
from nonverbal.stages.studying.costs import Cost, total
from nonverbal.stages.studying.planning import PREPARE, Plan
from nonverbal.stages.studying.standing import Row, models_of
from nonverbal.text import duration, size


def tables_of(plan: Plan, rows: Sequence[Row]) -> list[Table]:
    """Return what a study is as tables: its steps, and the paper's tables and figures that they fill.

    Args:
        plan: the study.
        rows: its steps, or some of them.
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
    """Put the combinations of a step that are left out for one reason together; each other step is by itself."""

    def reason(row: Row) -> tuple[str, ...]:
        return (row.step.step, row.why or "") if row.status == "left out" else (row.step.name,)

    return list(grouped(rows, reason).values())


def _cells(plan: Plan, rows: Sequence[Row]) -> list[str]:
    """The cells of one step, or of several that are left out for one reason."""
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
    """Say in one line what there is to do, and what it will take."""
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
    """Warn where the disk has less room than the steps are known to take."""
    place = next(folder for folder in (plan.out.absolute(), *plan.out.absolute().parents) if folder.exists())
    free, wanted = shutil.disk_usage(place).free, total([row.cost for row in rows if row.waits])[1]
    return [f"warning: only {size(free)} is free for {plan.out}, less than the steps need"] if free < wanted else []


def absent(plan: Plan) -> list[str]:
    """Say which corpora and models are absent, a line for each reason."""
    corpora = [name for name, placed in plan.corpora.items() if placed.why is not None]
    lines = [f"absent corpora, left out with all steps that need them: {', '.join(corpora)}"] if corpora else []
    models = [f"{model.name} ({model.why})" for model in models_of(plan) if not model.present]
    return lines + ([f"absent models: {', '.join(models)}"] if models else [])


def _together(plan: Plan, name: str, rows: Sequence[Row]) -> str:
    """How all steps of a table stand: how many of each status where they differ."""
    counts = {status: sum(row.status == status for row in rows) for status in ("done", "to do", "failed", "left out")}
    there = [(status, count) for status, count in counts.items() if count]
    if not there:
        # A table of corpora, whose shards were given or that are absent.
        present = any(placed.path is not None for placed in plan.corpora.values())
        return "done" if present and PREPARE in plan.shown.get(name, []) else "left out"
    return there[0][0] if len(there) == 1 else ", ".join(f"{count} {status}" for status, count in there)


def _time(cost: Cost) -> str:
    return "unknown" if cost.seconds is None else duration(cost.seconds)


def _disk(cost: Cost) -> str:
    return "unknown" if cost.bytes is None else size(cost.bytes)
