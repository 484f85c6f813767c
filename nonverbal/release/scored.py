"""The scores of a model: its rows in score files, with an audit of each task for leaks.

A row belongs to the model if it has the key of the model's weights and of how they are read, whatever the name in the
file. Beside the model, tables show encoders without a checkpoint, the same architecture with random weights, and public
checkpoints. Other models are left out, because their names may be paths.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from nonverbal.data.manifest import Clip
from nonverbal.errors import UserError
from nonverbal.evaluation.encoders import INITIALISED, KINDS
from nonverbal.evaluation.results import Estimate, TaskResult, results
from nonverbal.evaluation.score_tables import classes_table, scores_table
from nonverbal.evaluation.tables import Table, short
from nonverbal.evaluation.text_results import RATES, text_results, text_table
from nonverbal.launches import FILE as LAUNCHES
from nonverbal.launches import launch_key, read_launches
from nonverbal.public_checkpoints import CHECKPOINTS
from nonverbal.release.audits import audit
from nonverbal.release.public import command_line, last_part
from nonverbal.tasks.contamination import LABELS_SEEN
from nonverbal.tasks.divisions import ON_TEST
from nonverbal.tasks.measurements import ScoredFolds, read_measurements, read_text_measurements
from nonverbal.tasks.scores import Score

THIS = "this model"
"""The model's name in a card's tables."""

RANDOM = "same architecture, random weights"

METRICS = {"uar": "UAR", "accuracy": "accuracy", "f1_true": "macro F1"} | RATES
"""The metrics in a card's ``model-index``, with their names."""

CLASSES, TEXTS = "audio-classification", "automatic-speech-recognition"
"""The Hub's names of the tasks."""

Sides = tuple[list[Any], list[Any]]
"""Measurements of classes, and of texts."""


@dataclass(frozen=True)
class Result:
    """An entry of ``model-index``."""

    task: str
    """``CLASSES`` or ``TEXTS``."""
    corpus: str
    how: str
    """Protocol, and head if one was fitted."""
    status: str
    """Leak status."""
    metric: str
    """Identifier of the metric."""
    name: str
    """Name of the metric."""
    value: float
    interval: str
    """95% interval in brackets; empty if there is none."""


@dataclass(frozen=True)
class Scored:
    """What is known about a model's scores."""

    tables: list[Table]
    """One for each task and protocol."""
    recalls: list[Table]
    """The model's recall of each class. Protocols that choose on the test side have none."""
    layers: list[Table]
    """UAR of each layer inside the training sides, and how often the layer was chosen there. Protocols that choose on
    the test side have none."""
    results: list[Result]
    """Entries of ``model-index``; none if labels were seen, or a choice was made on the test side."""
    heard: dict[str, list[str]]
    """From leak status to the corpora of the tasks with that status."""
    audits: list[str]
    """Sentences of the audit for each task and status."""
    commands: list[str]
    """Commands that wrote the model's rows, if known; only the last part of each path."""
    left_out: int
    """Number of other models in the same files that are not shown."""
    seeds: list[int]
    """Seeds of the model's rows."""


class Row(Protocol):
    """A model's row in a table, of classes or of texts."""

    @property
    def model(self) -> str:
        """Name in the scores."""

    @property
    def head(self) -> str:
        """Name of the head."""

    @property
    def pretraining(self) -> str:
        """Leak status."""

    @property
    def pooled(self) -> dict[str, Estimate]:
        """Estimates by metric, over all folds."""

    @property
    def scores(self) -> list[Score]:
        """One for each fold and seed."""


def scored(
    key: str,
    source: str,
    own: Sequence[Path],
    paths: Sequence[Path],
    heard: Sequence[Clip],
    data: Sequence[Path],
    complete: bool = False,
) -> Scored:
    """Read a model's scores.

    Args:
        key: the encoder's key, as it was loaded here.
        source: the user's name for the model, for messages.
        own: score files of its fine-tuning; all their rows belong to models made in the same way.
        paths: other score files, or folders with score files.
        heard: the clips of its pretraining.
        data: folders of shards, which may include those that it was scored on.
        complete: whether ``heard`` is everything that it was pretrained on.

    Raises:
        UserError: a file is missing or damaged, or no row in ``paths`` belongs to the model.
    """
    sides: Sides = _by_path(read_measurements, own, paths), _by_path(read_text_measurements, own, paths)
    everything = [*sides[0], *sides[1]]
    mine = _of_model(key, own, everything)
    if paths and not mine & {id(one) for one in everything}:
        models = dict.fromkeys(one.scores[0].model for one in everything)
        raise UserError(
            f"--scores: no row is for {source}; the rows are for {', '.join(models) or 'nothing'}, with other weights "
            "or read differently; probe the model that is released"
        )
    names = {one.scores[0].model for one in everything if id(one) in mine}
    called = {id(one): THIS if id(one) in mine else _public(one, names) for one in everything}
    classes, texts = (_once(_named(one, name) for one in side if (name := called[id(one)])) for side in sides)
    (classes, texts), audits = _audited((classes, texts), heard, data, complete)
    left_out = len({one.row for one in everything if not called[id(one)]})
    return _summary((classes, texts), audits, left_out)


def _audited(sides: Sides, heard: Sequence[Clip], data: Sequence[Path], complete: bool) -> tuple[Sides, list[str]]:
    """Return the tables with a row of this model, in which it has the status that the audit found; and the audits."""
    found = {id(one): audit(one, heard, data, complete) for side in sides for one in side if one.row[0] == THIS}
    tables = {one.table for side in sides for one in side if id(one) in found}
    classes, texts = (
        [_judged(one, found[id(one)][0]) if id(one) in found else one for one in side if one.table in tables]
        for side in sides
    )
    return (classes, texts), list(dict.fromkeys(said for _, said in found.values()))


def _summary(sides: Sides, audits: list[str], left_out: int) -> Scored:
    """Return the tables of measurements, and what else a card shows of this model's."""
    tasks, recognised = results(sides[0]), text_results(sides[1])
    found: list[tuple[str, str, str, Row]] = [
        *((CLASSES, task.corpus, task.protocol, row) for task in tasks for row in task.models),
        *((TEXTS, task.corpus, task.protocol, row) for task in recognised for row in task.models),
    ]
    rows = [row for row in found if row[3].model == THIS]
    return Scored(
        [*map(scores_table, tasks), *map(text_table, recognised)],
        [classes_table(own) for task in tasks if (own := _of_this(task)).models],
        [table for _, corpus, protocol, row in rows if (table := layer_table(corpus, protocol, row))],
        [result for place in rows for result in _results(*place)],
        _by_status(rows),
        audits,
        _commands(one for side in sides for one in side if one.row[0] == THIS),
        left_out,
        sorted({score.seed for *_, row in rows for score in row.scores}),
    )


def _of_this(task: TaskResult) -> TaskResult:
    """Return a task with only this model's rows, without those that were chosen on the test side."""
    return replace(task, models=[row for row in task.models if row.model == THIS and not _chosen_on_test(row)])


def _by_status(rows: Iterable[tuple[str, str, str, Row]]) -> dict[str, list[str]]:
    found: dict[str, dict[str, None]] = {}
    for _, corpus, _, row in rows:
        found.setdefault(row.pretraining, {})[corpus] = None
    return {status: list(corpora) for status, corpora in found.items()}


def _by_path(read: Callable[[Sequence[Path]], list[Any]], own: Sequence[Path], paths: Sequence[Path]) -> list[Any]:
    both = [*own, *paths]
    return read(both) if both else []


def _of_model(key: str, own: Sequence[Path], all_: Iterable[ScoredFolds]) -> set[int]:
    """Return the ids (of Python) of the measurements that belong to the model."""
    ours = {id(one) for one in all_ if _same(one.scores[0].model_key, key)}
    for one in all_:
        if "run" in one.scores[0].details and one.file in own:
            ours.add(id(one))
    return ours


def _same(one: str, other: str) -> bool:
    """Whether two keys name the same weights, read in the same way, on any device."""
    return one.rpartition("-")[0] == other.rpartition("-")[0] != ""


def _public(one: ScoredFolds, names: set[str]) -> str | None:
    """Return the public name of another model; None if it has none."""
    name = one.scores[0].model
    if name in CHECKPOINTS or (name in KINDS and not KINDS[name].learned):
        return name
    return RANDOM if name.startswith(INITIALISED) and name.removeprefix(INITIALISED) in names else None


def _named(one: Any, name: str) -> Any:
    """Return a measurement under another name. If its head names a folder, only the folder's last part stays."""
    head, told, folder = one.scores[0].probe.partition(", in ")
    probe = head + told + last_part(folder)
    return replace(one, scores=[replace(score, model=name, probe=probe) for score in one.scores])


def _once(measurements: Iterable[Any]) -> list[Any]:
    """Drop repetitions of a measurement under another name of the same model.

    Raises:
        UserError: a repetition has other scores.
    """
    found: dict[Any, Any] = {}
    for one in measurements:
        first = found.setdefault((one.table, one.row, one.scores[0].seed), one)
        if [score.metrics for score in one.scores] != [score.metrics for score in first.scores]:
            score = one.scores[0]
            raise UserError(
                f"{first.file} and {one.file} have different scores of one model ({score.corpus}, {score.protocol}, "
                f"{score.probe}, seed {score.seed}); give one of them"
            )
    return list(found.values())


def _commands(measurements: Iterable[ScoredFolds]) -> list[str]:
    """Return the commands that wrote measurements, without repetitions."""
    found: dict[str, None] = {}
    for one in measurements:
        path, launch = one.file.parent / LAUNCHES, one.scores[0].launch
        rows = read_launches(path) if launch and path.is_file() else []
        commands = [
            row["command"] for row in rows if launch_key(row) == launch and isinstance(row.get("command"), list)
        ]
        found |= {command_line([str(part) for part in command]): None for command in commands[-1:]}
    return list(found)


def _judged(one: Any, status: str) -> Any:
    """Return a measurement of this model with the status that the audit found."""
    return replace(one, scores=[replace(score, pretraining=status) for score in one.scores])


def layer_table(corpus: str, protocol: str, row: Row) -> Table | None:
    """Return the UAR of each layer inside the training sides of all folds; None if layers were not compared there."""
    if _chosen_on_test(row):
        return None
    curves = [score.inner_uar for score in row.scores if len(score.inner_uar) > 1]
    if not curves or len({len(curve) for curve in curves}) > 1:
        return None
    chosen = Counter(int(score.chosen["layer"]) for score in row.scores if isinstance(score.chosen.get("layer"), int))
    rows = [
        [
            str(layer),
            short(sum(values) / len(values)),
            f"{short(min(values))} to {short(max(values))}",
            str(chosen[layer]),
        ]
        for layer, values in enumerate(zip(*curves, strict=True))
    ]
    notes = [
        f"UAR by validation inside the training side, mean and range over {len(curves)} folds; chosen: in how many of "
        f"the {len(row.scores)} folds this layer was chosen, on the training side only; layer 0: the input of the "
        "first block"
    ]
    return Table(
        f"{corpus}, {protocol}: layers with a {row.head} head", ["layer", "UAR", "range", "chosen"], rows, notes, 0
    )


def _results(task: str, corpus: str, protocol: str, row: Row) -> list[Result]:
    """Return a row's numbers; none if labels of its clips were seen, or a choice was made on the test side."""
    if row.pretraining == LABELS_SEEN or _chosen_on_test(row):
        return []
    tuned = "run" in row.scores[0].details
    how = f"{protocol}; {'models of the folds, ' if tuned else ''}{row.head}{'' if tuned else ' head'}"
    return [
        Result(task, corpus, how, row.pretraining, metric.removesuffix("_true"), name, found.value, _interval(found))
        for metric, name in METRICS.items()
        if (found := row.pooled.get(metric)) is not None and found.value == found.value
    ]


def _chosen_on_test(row: Row) -> bool:
    return any(ON_TEST in score.lets_through for score in row.scores)


def _interval(found: Estimate) -> str:
    return "" if found.low is None or found.high is None else f"[{short(found.low)}, {short(found.high)}]"
