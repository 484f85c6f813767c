"""What a study measured, cell by cell: of score files, of manifests, and of analyses."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nonverbal.data.index import open_shards
from nonverbal.evaluation.analyses.decisions import Decisions
from nonverbal.evaluation.analyses.distances import Distances
from nonverbal.evaluation.analyses.kinds import read_analysis
from nonverbal.evaluation.printed_cells import Value, spelled
from nonverbal.evaluation.results import ModelResult, TaskResult, results
from nonverbal.evaluation.studies import StudyCorpus, StudyModel, StudyRecord, StudyStep, TableShape
from nonverbal.tasks.measurements import SCORES, read_measurements


@dataclass(frozen=True)
class OwnCell:
    """What one model has on one corpus under one protocol."""

    label: str
    """What its row is called."""
    printed: str
    """What the paper calls the model; its label where the paper does not."""
    corpus: str
    """What its corpus is called."""
    head: str
    """As the paper calls it, where the table says so; else as scores do."""
    protocol: str
    """Empty where no clips are divided."""
    classes: int
    """0 where none are told apart."""
    pretraining: str
    """Whether the model was trained on the clips; empty if nothing is scored."""
    values: dict[str, Value]
    """By metric."""
    step: str
    """The whole name of the step that measured them."""


class Names:
    """What a study's models and corpora are called in its tables."""

    def __init__(self, record: StudyRecord) -> None:
        self.models = {model.source: model for model in record.models if model.source is not None}
        self.by_name = {model.name: model for model in record.models}
        self.corpora = {corpus.name: corpus for corpus in record.corpora}
        printed = [model.printed for model in record.models]
        self.shared = {name for name in printed if printed.count(name) > 1}
        self.steps = {Path(step.out).name: step for step in record.steps if step.out is not None}

    def label(self, model: StudyModel) -> str:
        """Return what a model's row is called: as printed, and with its own name where several are printed alike."""
        if model.printed is None:
            return model.name
        alone = model.printed not in self.shared or spelled(model.printed) == spelled(model.name)
        return model.printed if alone else f"{model.printed}: {model.name}"

    def corpus(self, corpus: StudyCorpus) -> str:
        """Return what a corpus is called."""
        return corpus.printed or corpus.name

    def of_step(self, step: StudyStep, shape: TableShape) -> str | None:
        """Return what the rows of a step are called, where the table says so."""
        said = shape.names.get(step.step)
        model = self.by_name.get(step.loop.get("model", ""))
        return said.replace("{model}", model.printed or model.name if model else "") if said is not None else None

    def of_scores(self, step: StudyStep, model: str, shape: TableShape) -> tuple[str, str] | None:
        """Return what a model of a score file is called, here and in the paper; None for one that the study has not."""
        if (said := self.of_step(step, shape)) is not None:
            return said, said
        members = [self._model(step, source) for source in _members(step, model)]
        known = [member for member in members if member is not None]
        if len(known) < len(members):
            return None
        return "+".join(map(self.label, known)), "+".join(member.printed or member.name for member in known)

    def _model(self, step: StudyStep, source: str) -> StudyModel | None:
        """Return the model of a source; of several that are read from one, that of the step's loop."""
        looped = self.by_name.get(step.loop.get("model", ""))
        return looped if looped is not None and looped.source == source else self.models.get(source)

    def of_system(self, system: str, shape: TableShape) -> tuple[str, str] | None:
        """Return what a system of an analysis is called: a model's source, or a fine-tuned run of a step."""
        if system in self.models:
            model = self.models[system]
            return self.label(model), model.printed or model.name
        step = self.steps.get(Path(system).name)
        said = None if step is None else self.of_step(step, shape)
        return None if said is None else (said, said)


def _members(step: StudyStep, model: str) -> list[str]:
    if step.run != "fuse":
        return [model]
    # With torch, seconds to import.
    from nonverbal.evaluation.fusing import JOINED

    return model.split(JOINED)


def score_cells(record: StudyRecord, folder: Path, shape: TableShape, steps: Sequence[str]) -> list[OwnCell]:
    """Return what the score files of steps have; models that the study does not name, random twins say, are left out.

    Args:
        record: of the study.
        folder: of the study, to which outputs are relative.
        shape: of the table.
        steps: names, see ``StudyRecord.matching``.

    Raises:
        UserError: scores or predictions are damaged.
    """
    names = Names(record)
    return [
        cell
        for step in record.matching(steps)
        if step.status == "done" and step.out is not None
        for task in _results_of(folder / step.out / SCORES)
        for model in task.models
        if (cell := _score_cell(names, step, task, model, shape)) is not None
    ]


def _results_of(path: Path) -> list[TaskResult]:
    return results(read_measurements([path])) if os.path.isfile(path) else []


def _score_cell(
    names: Names, step: StudyStep, task: TaskResult, model: ModelResult, shape: TableShape
) -> OwnCell | None:
    called = names.of_scores(step, model.model, shape)
    corpus = names.corpora.get(step.loop.get("corpus", task.corpus))
    if called is None or corpus is None:
        return None
    several = model.folds > 1
    values = {name: Value(mean, model.fold_std[name] if several else None) for name, mean in model.fold_mean.items()}
    head = next((name for name, own in shape.heads.items() if model.head.partition(":")[0] == own), model.head)
    label, printed = called
    classes, heard = len(task.classes), model.pretraining
    return OwnCell(label, printed, names.corpus(corpus), head, task.protocol, classes, heard, values, step.name)


def corpus_values(record: StudyRecord, folder: Path) -> dict[str, dict[str, Value]]:
    """Return of each corpus that is present what was prepared of it, by what it is called."""
    names = Names(record)
    return {
        names.corpus(corpus): _prepared(corpus.name, folder / corpus.shards)
        for corpus in record.corpora
        if corpus.present and corpus.shards is not None and os.path.isfile(folder / corpus.shards / "index.json")
    }


def _prepared(name: str, shards: Path) -> dict[str, Value]:
    """Return clips, hours, mean length and classes of a corpus; of all in the shards where none has its name."""
    clips = open_shards(shards).clips()
    own = [clip for clip in clips if clip.corpus == name] or list(clips)
    seconds = sum(clip.end - clip.start for clip in own)
    classes = float(len({clip.label for clip in own} - {None}))
    return {
        "clips": Value(float(len(own))),
        "hours": Value(seconds / 3600),
        "mean_seconds": Value(seconds / max(len(own), 1)),
        "classes": Value(classes),
        "emotions": Value(classes),
    }


def analysis_cells(record: StudyRecord, folder: Path, shape: TableShape, steps: Sequence[str]) -> list[OwnCell]:
    """Return what analyses of decisions and distances have of each system but the first, against which they stand.

    Args:
        record: of the study.
        folder: of the study.
        shape: of the table, which says what the rows of fine-tuned runs are called.
        steps: names of steps of ``nonverbal analyze``.

    Raises:
        UserError: an analysis is damaged.
    """
    names = Names(record)
    return [
        OwnCell(*called, names.corpus(names.corpora[step.loop["corpus"]]), "", "", 0, "", values, step.name)
        for step in record.matching(steps)
        if step.status == "done" and step.out is not None and step.loop.get("corpus") in names.corpora
        for system, values in _of_others(folder / step.out)
        if (called := names.of_system(system, shape)) is not None
    ]


def _of_others(path: Path) -> Iterator[tuple[str, dict[str, Value]]]:
    """Yield each other system or encoder of an analysis, and its numbers by the metrics of published.csv."""
    made = read_analysis(path)
    if isinstance(made, Decisions):
        for difference in made.others:
            yield difference.system, {"mismatch_with_ser": Value(difference.differ.value)}
    if isinstance(made, Distances):
        for distance in made.others:
            values = {"data_within": Value(distance.inside), "cosine_beyond_1": Value(distance.beyond)}
            inside = distance.agree_inside
            yield distance.encoder, values | ({} if inside is None else {"match": Value(inside.value)})
