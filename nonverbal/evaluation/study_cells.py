"""The results of a study, cell by cell, from score files, manifests and analyses."""

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
    """The results of one model on one corpus under one protocol."""

    label: str
    """Name of its row."""
    printed: str
    """The paper's name for the model; the label if the paper has none."""
    corpus: str
    """Name of its corpus."""
    head: str
    """The paper's name for the head, if the table states it; otherwise that in scores."""
    protocol: str
    """Empty if no clips are divided."""
    classes: int
    """Number of classes; 0 if there are none."""
    pretraining: str
    """Whether the model was trained on the clips; empty if nothing is scored."""
    values: dict[str, Value]
    """Values by metric."""
    step: str
    """Full name of the step that measured them."""


class Names:
    """Names of a study's models and corpora in its tables."""

    def __init__(self, record: StudyRecord) -> None:
        self.models = {model.source: model for model in record.models if model.source is not None}
        self.by_name = {model.name: model for model in record.models}
        self.corpora = {corpus.name: corpus for corpus in record.corpora}
        printed = [model.printed for model in record.models]
        self.shared = {name for name in printed if printed.count(name) > 1}
        self.steps = {Path(step.out).name: step for step in record.steps if step.out is not None}

    def label(self, model: StudyModel) -> str:
        """Return the name of a model's row: as printed, with its own name too if several are printed alike."""
        if model.printed is None:
            return model.name
        alone = model.printed not in self.shared or spelled(model.printed) == spelled(model.name)
        return model.printed if alone else f"{model.printed}: {model.name}"

    def corpus(self, corpus: StudyCorpus) -> str:
        """Return the name of a corpus."""
        return corpus.printed or corpus.name

    def of_step(self, step: StudyStep, shape: TableShape) -> str | None:
        """Return the name of the rows of a step, if the table states it."""
        said = shape.names.get(step.step)
        model = self.by_name.get(step.loop.get("model", ""))
        return said.replace("{model}", model.printed or model.name if model else "") if said is not None else None

    def of_scores(self, step: StudyStep, model: str, shape: TableShape) -> tuple[str, str] | None:
        """Return the names of a model of a score file, here and in the paper; None if it is not in the study."""
        if (said := self.of_step(step, shape)) is not None:
            return said, said
        members = [self._model(step, source) for source in _members(step, model)]
        known = [member for member in members if member is not None]
        if len(known) < len(members):
            return None
        return "+".join(map(self.label, known)), "+".join(member.printed or member.name for member in known)

    def _model(self, step: StudyStep, source: str) -> StudyModel | None:
        """Return the model with a source; if several have the same source, that of the step's loop."""
        looped = self.by_name.get(step.loop.get("model", ""))
        return looped if looped is not None and looped.source == source else self.models.get(source)

    def of_system(self, system: str, shape: TableShape) -> tuple[str, str] | None:
        """Return the names of a system of an analysis: a model's source, or a fine-tuned run of a step."""
        if system in self.models:
            model = self.models[system]
            return self.label(model), model.printed or model.name
        step = self.steps.get(Path(system).name)
        said = None if step is None else self.of_step(step, shape)
        return None if said is None else (said, said)


def _members(step: StudyStep, model: str) -> list[str]:
    if step.run != "fuse":
        return [model]
    # This imports torch, which takes seconds.
    from nonverbal.evaluation.fusing import JOINED

    return model.split(JOINED)


def score_cells(record: StudyRecord, folder: Path, shape: TableShape, steps: Sequence[str]) -> list[OwnCell]:
    """Return the results in the score files of steps, without models that the study does not name, like random twins.

    Args:
        record: record of the study.
        folder: folder of the study, to which outputs are relative.
        shape: format of the table.
        steps: names of steps; see ``StudyRecord.matching``.

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
    """Return facts about the prepared clips of each corpus that is present, by the corpus's name."""
    names = Names(record)
    return {
        names.corpus(corpus): _prepared(corpus.name, folder / corpus.shards)
        for corpus in record.corpora
        if corpus.present and corpus.shards is not None and os.path.isfile(folder / corpus.shards / "index.json")
    }


def _prepared(name: str, shards: Path) -> dict[str, Value]:
    """Return clips, hours, mean length and classes of a corpus; of all clips in the shards if none has its name."""
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
    """Return the values in analyses of decisions and distances for each system that is compared with the first.

    Args:
        record: record of the study.
        folder: folder of the study.
        shape: format of the table, which names the rows of fine-tuned runs.
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
    """Yield each system or encoder of an analysis except the first, with its values by metric in published.csv."""
    made = read_analysis(path)
    if isinstance(made, Decisions):
        for difference in made.others:
            yield difference.system, {"mismatch_with_ser": Value(difference.differ.value)}
    if isinstance(made, Distances):
        for distance in made.others:
            values = {"data_within": Value(distance.inside), "cosine_beyond_1": Value(distance.beyond)}
            inside = distance.agree_inside
            yield distance.encoder, values | ({} if inside is None else {"match": Value(inside.value)})
