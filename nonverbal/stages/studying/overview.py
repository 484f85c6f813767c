"""A study as it stands: each step with its state, its cost, and what it shows; as tables, and as its record."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nonverbal.evaluation.studies import VERSION, Status, StudyCorpus, StudyModel, StudyRecord, StudyStep
from nonverbal.evaluation.tables import Table
from nonverbal.stages.studying.arguments import arguments
from nonverbal.stages.studying.costs import Cost, Costs, total
from nonverbal.stages.studying.kept import Kept
from nonverbal.stages.studying.planning import Paths, Plan, Planned
from nonverbal.stages.studying.words import LeftOut
from nonverbal.text import size


@dataclass(frozen=True)
class Row:
    """A step as it stands."""

    step: Planned
    status: Status
    why: str | None
    cost: Cost
    """What it will take; nothing of one that is done or left out."""

    @property
    def waits(self) -> bool:
        """Whether it is still to be run."""
        return self.status in ("to do", "failed")


def rows_of(plan: Plan, kept: Kept, costs: Costs) -> list[Row]:
    """Return how each step stands, in the order in which they run."""
    rows = []
    for step in plan.steps:
        status, why = status_of(plan, kept, step)
        waits = status in ("to do", "failed")
        key = kept.state(plan, step).key if waits else None
        rows.append(Row(step, status, why, costs.of(plan, step, key) if waits else Cost(0.0, 0.0, "")))
    return rows


def status_of(plan: Plan, kept: Kept, step: Planned) -> tuple[Status, str | None]:
    """Return how a step stands, and what is to be said of it."""
    if step.why is not None:
        return "left out", step.why
    state = kept.state(plan, step)
    if state.done is not None:
        return "done", None
    if state.key is None:
        return "to do", f"after {next(name for name in step.needs if kept.key_if_done(plan, name) is None)}"
    if state.past is not None:
        return "to do", f"settings, inputs or version have changed: what is there goes to {kept.past(step, state.past)}"
    if state.begun is not None and state.begun.failed is not None:
        return "failed", state.begun.failed
    return "to do", "continues" if state.begun is not None else None


def command_of(step: Planned) -> list[str]:
    """Return what follows ``nonverbal`` on a step's command line."""
    settings = {**step.settings, step.template.out: str(step.out)}
    return arguments(step.template.run, step.recipe, settings)


def tables_of(plan: Plan, rows: Sequence[Row]) -> list[Table]:
    """Return what a study is as tables: its steps, and the paper's tables and figures that they fill."""
    tables = [_steps(plan, rows)]
    names = list(dict.fromkeys([*plan.shown, *(name for row in rows for name in row.step.template.shows)]))
    if names:
        captions = {name: table.caption for name, table in plan.study.tables.items()}
        captions |= {name: figure.caption for name, figure in plan.study.figures.items()}
        of = {name: [row for row in rows if name in plan.shows(row.step)] for name in names}
        columns = ["shown", "status", "what it is"]
        shown = [[name, _together(of[name]), captions.get(name, "")] for name in names]
        tables.append(Table("Tables and figures", columns, shown, texts=len(columns)))
    return tables


def _steps(plan: Plan, rows: Sequence[Row]) -> Table:
    columns = ["step", "status", "time", "disk", "shows", "remarks"]
    cells = [
        [
            row.step.name,
            row.status,
            _time(row.cost) if row.waits else "",
            _disk(row.cost) if row.waits else "",
            ", ".join(plan.shows(row.step)),
            "; ".join(filter(None, [row.why, row.cost.by, row.step.template.note if row.waits else None])),
        ]
        for row in rows
    ]
    return Table(
        plan.study.title, columns, cells, [summary(rows), *room(plan, rows), *absent(plan)], texts=len(columns)
    )


def summary(rows: Sequence[Row]) -> str:
    """Say in one line what there is to do, and what it will take."""
    counts = {status: sum(row.status == status for row in rows) for status in ("done", "to do", "failed", "left out")}
    waiting = [row.cost for row in rows if row.waits]
    seconds, disk, unknown = total(waiting)
    known = f"{duration(seconds)} and {size(disk)}"
    if unknown == len(waiting):
        known = "nobody knows what they take"
    elif unknown:
        known = f"{known} for {len(waiting) - unknown} of them, unknown for the others"
    counted = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    return f"{len(rows)} steps: {counted}" + (f"; to come: {known}" if waiting else "")


def room(plan: Plan, rows: Sequence[Row]) -> list[str]:
    """Warn where the disk has less room than the steps are known to take."""
    place = next(folder for folder in (plan.out.absolute(), *plan.out.absolute().parents) if folder.exists())
    free, wanted = shutil.disk_usage(place).free, total([row.cost for row in rows if row.waits])[1]
    return [f"warning: {size(free)} are free for {plan.out}, which is less than that"] if free < wanted else []


def absent(plan: Plan) -> list[str]:
    """Say which corpora and models are absent, a line for each reason."""
    corpora = [name for name, placed in plan.corpora.items() if placed.why is not None]
    lines = [f"absent corpora, with all that needs them: {', '.join(corpora)}"] if corpora else []
    models = [f"{model.name} ({model.why})" for model in models_of(plan) if not model.present]
    return lines + ([f"absent models: {', '.join(models)}"] if models else [])


def _together(rows: Sequence[Row]) -> str:
    """How all steps of a table stand: of some of them where they differ."""
    counts = {status: sum(row.status == status for row in rows) for status in ("done", "to do", "failed", "left out")}
    there = [(status, count) for status, count in counts.items() if count]
    if not there:
        return "no step shows it"
    return there[0][0] if len(there) == 1 else ", ".join(f"{count} {status}" for status, count in there)


def _time(cost: Cost) -> str:
    return "unknown" if cost.seconds is None else duration(cost.seconds)


def duration(seconds: float) -> str:
    """Return a time as a person reads it: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.3g} h"


def _disk(cost: Cost) -> str:
    return "unknown" if cost.bytes is None else size(cost.bytes)


def record_of(plan: Plan, kept: Kept, recipe: str) -> StudyRecord:
    """Return the record of a study as it stands.

    Args:
        plan: its steps.
        kept: what is kept of them.
        recipe: its text, bases resolved.
    """
    study = plan.study
    corpora = [
        StudyCorpus(
            name,
            one.corpus.use,
            one.path is not None,
            one.why,
            one.corpus.reader,
            one.corpus.printed,
            one.corpus.note,
            _relative(one.shards, plan.out) if one.path is not None else None,
        )
        for name, one in plan.corpora.items()
    ]
    steps = [_step_record(plan, kept, step) for step in plan.steps]
    tables, figures = study.tables, study.figures
    texts = study.title, study.paper, recipe, study.notes
    return StudyRecord(VERSION, *texts, corpora, models_of(plan), steps, tables, figures)


def models_of(plan: Plan) -> list[StudyModel]:
    """Return the models of a study, with why one is absent."""
    found = []
    for name, model in plan.study.models.items():
        source, why = None, None
        try:
            source = " ".join(plan.source(name, Paths(plan)))
        except LeftOut as reason:
            why = str(reason)
        found.append(StudyModel(name, why is None, why, source, model.printed, model.note))
    return found


def _step_record(plan: Plan, kept: Kept, step: Planned) -> StudyStep:
    status, why = status_of(plan, kept, step)
    there = status != "left out"
    state = kept.state(plan, step) if there else None
    done = state.done if state is not None else None
    return StudyStep(
        name=step.name,
        step=step.step,
        run=step.template.run,
        loop=step.loop,
        status=status,
        why=why,
        shows=plan.shows(step),
        note=step.template.note,
        command=["nonverbal", *command_of(step)] if there else None,
        out=_relative(step.out, plan.out) if there else None,
        key=state.key if state is not None else None,
        seconds=done.seconds if done else None,
        bytes=done.bytes if done else None,
        machine=done.machine if done else None,
        when=done.when if done else None,
    )


def _relative(path: Path, folder: Path) -> str:
    """A path relative to the study's folder where it is in it, so that the folder may be moved; else absolute."""
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path.resolve())
