"""Results of measurements: estimates with intervals, comparisons and ranks, by task and protocol.

Everything is computed from counts of decisions by unit (``nonverbal.tasks.groups.units``).
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from nonverbal.errors import UserError
from nonverbal.evaluation.of_data import OfData, told_apart_by_data
from nonverbal.grouping import grouped
from nonverbal.tasks.groups import units
from nonverbal.tasks.measurements import Measurement
from nonverbal.tasks.predictions import AGAIN, Predictions
from nonverbal.tasks.scores import Score, summarise
from nonverbal.tasks.statistics.comparisons import Comparison, compare
from nonverbal.tasks.statistics.confusions import (
    ACCURACY,
    F1_SEEN,
    F1_TRUE,
    UAR,
    Metric,
    confusion_counts,
    only_class,
)
from nonverbal.tasks.statistics.intervals import Interval, bootstrap, jackknife_t
from nonverbal.tasks.statistics.probabilities import area_under_roc, brier_score, calibration_error
from nonverbal.tasks.statistics.ranks import average_ranks, friedman

POOLED = (UAR, ACCURACY, F1_TRUE, F1_SEEN)
"""Metrics of the decisions of all folds together."""

Method = Callable[[np.ndarray, Metric], Interval]


class Estimate(NamedTuple):
    """A metric of the decisions on all clips, averaged over seeds."""

    value: float
    low: float | None
    """Lower bound of the .95 interval over units; None if only one unit has clips."""
    high: float | None


@dataclass(frozen=True)
class Result:
    """One model with one head, over all seeds."""

    model: str
    head: str
    pretraining: str
    """Leak status."""
    pooled: dict[str, Estimate]
    """Metrics by name, for the clips of all folds together."""
    fold_mean: dict[str, float]
    """Mean over folds and seeds of each fold's own metrics."""
    fold_std: dict[str, float]
    """Their population standard deviation."""
    scores: list[Score]
    """One per fold and seed."""


def lets_through(models: Sequence[Result]) -> list[str]:
    """Return the possible leakage under the protocol of models on one task; see ``Score``."""
    return list(dict.fromkeys(text for model in models for score in model.scores for text in score.lets_through))


@dataclass(frozen=True)
class ModelResult(Result):
    """A classifier. ``pooled`` has metrics of ``POOLED``; folds: ``uar``, ``accuracy``, ``f1_true``, ``f1_seen``."""

    folds: int
    """Number of folds of all seeds."""
    probabilities: dict[str, float]
    """``auc`` with two classes, and ``calibration_error`` and ``brier`` if the head gives probabilities: for the clips
    of all folds together, averaged over seeds."""
    counts: np.ndarray
    """``(seeds, units, classes, classes)`` int64."""

    @property
    def null(self) -> dict[str, float | str]:
        """The ``null`` in the scores; empty if none was drawn."""
        return next((score.null for score in self.scores if score.null), {})


@dataclass(frozen=True, kw_only=True)
class TaskResult(OfData):
    """Models on the same clips under one protocol."""

    classes: list[str]
    merged: dict[str, str]
    clips: dict[str, int]
    """Number of clips of each class."""
    units: int
    unit: str
    """What units are: ``speakers``, ``recordings``, ``clips``, or ``groups`` of the folds."""
    models: list[ModelResult]
    heads: list[str]
    """Heads of the models, each once."""

    def name(self, model: ModelResult) -> str:
        """Return a model's name in comparisons, with its head if there are several."""
        return f"{model.model}, {model.head}" if len(self.heads) > 1 else model.model


@dataclass(frozen=True)
class Ranking:
    """Models on several corpora, under one protocol."""

    protocol: str
    corpora: list[str]
    models: list[str]
    uar: np.ndarray
    """Pooled UAR, ``(corpora, models)``."""
    ranks: np.ndarray
    """Average rank of each model; 1 is the best."""
    friedman: tuple[float, float] | None
    """Statistic and p-value; None with fewer than 6 corpora or 3 models."""


def results(measurements: Sequence[Measurement], percentile: bool = False) -> list[TaskResult]:
    """Return the results of measurements, one for each task and protocol, in their order.

    Args:
        measurements: measurements of any tasks.
        percentile: use intervals of the percentile bootstrap over units instead of the jackknife.

    Raises:
        UserError: models of one task and protocol were tested on different clips.
    """
    tables = grouped(measurements, lambda one: one.table)
    found = [_task_result(table, bootstrap if percentile else jackknife_t) for table in tables.values()]
    return told_apart_by_data(found, lambda task: task.classes)


def recalls(model: ModelResult, percentile: bool = False) -> dict[str, Estimate]:
    """Return the recall of each class; its interval is over the units that have clips of it."""
    method = bootstrap if percentile else jackknife_t
    classes = model.scores[0].classes
    return {name: estimate(only_class(model.counts, place), UAR, method) for place, name in enumerate(classes)}


def comparisons(task: TaskResult, against: str | None = None) -> list[Comparison]:
    """Compare the UARs of a task's models as one family; empty if there are fewer than two models or units.

    Args:
        task: the models.
        against: a model's name, with which all others are compared; None for all pairs.
    """
    models = {task.name(model): model.counts for model in task.models}
    baselines = [task.name(model) for model in task.models if against in (model.model, task.name(model))]
    pairs = [(name, baseline) for baseline in baselines for name in models if name not in baselines]
    if len(models) < 2 or task.units < 2 or (against is not None and not pairs):
        return []
    return compare(models, pairs=None if against is None else pairs)


def check_against(against: str | None, tasks: Sequence[TaskResult]) -> None:
    """Refuse a model, given as ``--against``, that no table has.

    Raises:
        UserError: no task has it; the message names those that exist.
    """
    names = sorted({name for task in tasks for model in task.models for name in (model.model, task.name(model))})
    if against is not None and against not in names:
        raise UserError(f"--against must be one of the models {', '.join(names)}, but is {against!r}")


def rankings(tasks: Sequence[TaskResult]) -> list[Ranking]:
    """Rank models that were tested on several corpora under one protocol, by their UAR on each of these corpora.

    Protocols with fewer than two corpora or models in common are left out, and so are those under which one corpus has
    several tasks, because its tasks are not independent.
    """
    protocols = grouped(tasks, lambda task: task.protocol)
    return [ranking for protocol, own in protocols.items() if (ranking := _ranking(protocol, own)) is not None]


def estimate(counts: np.ndarray, metric: Metric, method: Method = jackknife_t) -> Estimate:
    """Return a metric of counts ``(seeds, units, classes, classes)``, and its interval if at least 2 units have any."""
    if (counts.sum((0, 2, 3)) > 0).sum() < 2:
        return Estimate(float(metric(counts.sum((0, 1)) / len(counts))), None, None)
    found = method(counts, metric)
    return Estimate(found.value, found.low, found.high)


def counts_of(seeds: Sequence[Measurement], clips: Collection[str]) -> np.ndarray:
    """Return the counts of one model's decisions on some of its clips, ``(seeds, units, classes, classes)``.

    Args:
        seeds: the model's measurements, one per seed.
        clips: ids of the clips; units without any of them have zeros.
    """
    own = clips_of([seeds])
    classes = len(seeds[0].scores[0].classes)
    return np.stack([_counts(measurement.predictions.of(clips), own, classes) for measurement in seeds])


@dataclass(frozen=True)
class TableClips:
    """The clips of a table."""

    places: dict[str, int]
    """Positions by id."""
    labels: np.ndarray
    """Positions among the classes, ``(clips,)``."""
    units: np.ndarray
    """Numbers from 0, ``(clips,)``."""
    unit: str


def _task_result(measurements: Sequence[Measurement], method: Method) -> TaskResult:
    rows = grouped(measurements, lambda one: one.row)
    clips = clips_of(list(rows.values()))
    models = [_model_result(seeds, clips, method) for seeds in rows.values()]
    for model, seeds in zip(models, rows.values(), strict=True):
        if not np.allclose(_tested(model), _tested(models[0])):
            raise _other_clips(seeds[0].predictions, measurements[0].predictions)
    score = measurements[0].scores[0]
    return TaskResult(
        corpus=score.corpus,
        data_sha256=score.data_sha256,
        protocol=score.protocol,
        classes=score.classes,
        merged=score.merged,
        clips=dict(zip(score.classes, np.bincount(clips.labels, minlength=len(score.classes)).tolist(), strict=True)),
        units=int(clips.units.max()) + 1,
        unit=clips.unit,
        models=models,
        heads=list(dict.fromkeys(model.head for model in models)),
    )


def clips_of(models: Sequence[Sequence[Measurement]]) -> TableClips:
    """Gather the clips from the model whose predictions have the most speakers; those in older files have none."""
    known = [sum(speaker is not None for one in seeds for speaker in one.predictions.speakers) for seeds in models]
    rows: dict[str, tuple[int, str, str | None, str | None]] = {}
    for measurement in models[int(np.argmax(known))]:
        p = measurement.predictions
        rows |= zip(p.clips, zip(p.labels.tolist(), p.groups, p.speakers, p.recordings, strict=True), strict=True)
    labels, groups, speakers, recordings = map(list, zip(*rows.values(), strict=True))
    numbers, unit = units(groups, speakers, recordings)
    return TableClips({clip: place for place, clip in enumerate(rows)}, np.array(labels), numbers, unit)


def _model_result(seeds: Sequence[Measurement], clips: TableClips, method: Method) -> ModelResult:
    scores = [score for measurement in seeds for score in measurement.scores]
    classes = scores[0].classes
    counts = np.stack([_counts(measurement.predictions, clips, len(classes)) for measurement in seeds])
    seen = np.concatenate([_by_fold(measurement.predictions, len(classes)) for measurement in seeds])
    summary = summarise(scores)[0]
    names = {"uar": "uar", "accuracy": "accuracy", "f1_true": "f1"}
    return ModelResult(
        scores[0].model,
        scores[0].probe,
        summary.pretraining,
        {metric.name: estimate(counts, metric, method) for metric in POOLED},
        {name: summary.mean[own] for name, own in names.items()} | {"f1_seen": float(seen.mean())},
        {name: summary.std[own] for name, own in names.items()} | {"f1_seen": float(seen.std())},
        scores,
        summary.folds,
        _of_probabilities([measurement.predictions for measurement in seeds], len(classes)),
        counts,
    )


def _counts(p: Predictions, clips: TableClips, classes: int) -> np.ndarray:
    """Return the counts of one seed, ``(units, classes, classes)``; units without clips have zeros."""
    try:
        places = np.array([clips.places[clip] for clip in p.clips], dtype=np.int64)
    except KeyError as error:
        raise UserError(
            f"{p.path}: clip {error.args[0]} is not among those of the other models of its task and protocol; {AGAIN}"
        ) from error
    if (clips.labels[places] != p.labels).any():
        clip = p.clips[int((clips.labels[places] != p.labels).argmax())]
        raise UserError(f"{p.path}: clip {clip} has a different label with the other models of its task; {AGAIN}")
    own = clips.units[places]
    counts = np.zeros((int(clips.units.max()) + 1, classes, classes), dtype=np.int64)
    if len(own):
        counts[np.unique(own)] = confusion_counts(p.labels, p.predicted, own, range(classes))
    return counts


def _tested(model: ModelResult) -> np.ndarray:
    """Return the number of clips of each unit and class, ``(units, classes)``, a mean over seeds."""
    return np.asarray(model.counts.sum(-1).mean(0))


def _other_clips(one: Predictions, other: Predictions) -> UserError:
    return UserError(
        f"{one.path} and {other.path} are of one task and protocol, but of different clips, so their numbers cannot "
        "share a table; probe both models with the same folds and seeds"
    )


def _by_fold(p: Predictions, classes: int) -> np.ndarray:
    """Return each fold's macro F1 over true and predicted classes."""
    return F1_SEEN(confusion_counts(p.labels, p.predicted, p.folds, range(classes)))


def _of_probabilities(seeds: Sequence[Predictions], classes: int) -> dict[str, float]:
    by_seed = [_of_values(p.labels, p.values, p.gives, classes) for p in seeds]
    return {name: float(np.mean([one[name] for one in by_seed])) for name in by_seed[0]}


def _of_values(labels: np.ndarray, values: np.ndarray | None, gives: str | None, classes: int) -> dict[str, float]:
    found: dict[str, float] = {}
    if values is None:
        return found
    if classes == 2 and len(np.unique(labels)) == 2:
        # Probabilities near 0 remain different, while their differences from the other class's would all be -1.
        ranked = values if gives == "probabilities" else values - values[:, ::-1]
        found["auc"] = area_under_roc(labels, ranked)
    if gives == "probabilities":
        found |= {"calibration_error": calibration_error(labels, values), "brier": brier_score(labels, values)}
    return found


def _ranking(protocol: str, tasks: Sequence[TaskResult]) -> Ranking | None:
    corpora = [task.corpus for task in tasks]
    by_task = [{(m.model, m.head): m.pooled["uar"].value for m in task.models} for task in tasks]
    common = [row for row in by_task[0] if all(row in rows for rows in by_task)]
    if len(set(corpora)) < max(2, len(corpora)) or len(common) < 2:
        return None
    heads = {head for _, head in common}
    names = [f"{model}, {head}" if len(heads) > 1 else model for model, head in common]
    uar = np.array([[rows[row] for row in common] for rows in by_task])
    return Ranking(protocol, corpora, names, uar, average_ranks(uar), friedman(uar))
