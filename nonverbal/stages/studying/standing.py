"""The status of a study's steps, and the study's record."""

from dataclasses import dataclass
from pathlib import Path

from nonverbal.evaluation.studies import VERSION, Status, StudyCorpus, StudyModel, StudyRecord, StudyStep
from nonverbal.stages.studying.arguments import arguments
from nonverbal.stages.studying.costs import Cost, Costs
from nonverbal.stages.studying.kept import Kept
from nonverbal.stages.studying.planning import Paths, Plan, Planned
from nonverbal.stages.studying.words import LeftOut


@dataclass(frozen=True)
class Row:
    """The status of a step."""

    step: Planned
    status: Status
    why: str | None
    cost: Cost
    """Its expected cost; zero if it is done or left out."""

    @property
    def waits(self) -> bool:
        """Whether it is still to be run."""
        return self.status in ("to do", "failed")


def rows_of(plan: Plan, kept: Kept, costs: Costs) -> list[Row]:
    """Return the status of each step, in the order in which they are run."""
    rows = []
    for step in plan.steps:
        status, why = status_of(plan, kept, step)
        waits = status in ("to do", "failed")
        key = kept.state(plan, step).key if waits else None
        rows.append(Row(step, status, why, costs.of(plan, step, key) if waits else Cost(0.0, 0.0, "")))
    return rows


def status_of(plan: Plan, kept: Kept, step: Planned) -> tuple[Status, str | None]:
    """Return the status of a step, and a remark on it, if any."""
    if step.why is not None:
        return "left out", step.why
    state = kept.state(plan, step)
    if state.done is not None:
        return "done", None
    if state.key is None:
        return "to do", f"after {next(name for name in step.needs if kept.key_if_done(plan, name) is None)}"
    if state.past is not None:
        return "to do", f"settings, inputs or version have changed: the output moves to {kept.past(step, state.past)}"
    if state.begun is not None and state.begun.failed is not None:
        return "failed", state.begun.failed
    return "to do", "continues; time and disk are for the whole step" if state.begun is not None else None


def command_of(step: Planned) -> list[str]:
    """Return what follows ``nonverbal`` on a step's command line."""
    settings = {**step.settings, step.template.out: str(step.out)}
    return arguments(step.template.run, step.recipe, settings)


def record_of(plan: Plan, kept: Kept, recipe: str) -> StudyRecord:
    """Return the record of a study as it is now.

    Args:
        plan: its steps.
        kept: the records of its steps.
        recipe: the text of its recipe, with bases resolved.
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
    """Return the models of a study and, for absent ones, the reason."""
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
    """Return a path relative to the study's folder if it is inside, so that the folder can be moved; else absolute."""
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path.resolve())
