"""Results as unrounded numbers: rows for CSV, and everything for JSON."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from nonverbal.evaluation.published import printed
from nonverbal.evaluation.results import Estimate, ModelResult, Ranking, TaskResult, recalls
from nonverbal.tasks.statistics.comparisons import Comparison
from nonverbal.tasks.statistics.probabilities import CALIBRATION_BINS


def csv_rows(tasks: Sequence[TaskResult], texts: Sequence[dict[str, Any]] = ()) -> list[dict[str, Any]]:
    """Return one flat row per model, task and protocol; all have the same columns, with None for missing numbers.

    Args:
        tasks: the results for classes.
        texts: rows of the results for texts.
    """
    rows = [*(_flat(task, model) for task in tasks for model in task.models), *texts]
    columns = dict.fromkeys(name for row in rows for name in row)
    return [{name: row.get(name) for name in columns} for row in rows]


def as_dict(
    tasks: Sequence[TaskResult], families: Sequence[Sequence[Comparison]], ranked: Sequence[Ranking], percentile: bool
) -> dict[str, Any]:
    """Return everything in a form that JSON can hold.

    Args:
        tasks: the results.
        families: the comparisons for each task.
        ranked: average ranks over corpora.
        percentile: whether intervals are those of the bootstrap.
    """
    return {
        "interval": {"method": "percentile bootstrap" if percentile else "jackknife t", "level": 0.95},
        "calibration_bins": CALIBRATION_BINS,
        "tasks": [_task(task, family, percentile) for task, family in zip(tasks, families, strict=True)],
        "rankings": [asdict(one) | {"uar": one.uar.tolist(), "ranks": one.ranks.tolist()} for one in ranked],
    }


def _flat(task: TaskResult, model: ModelResult) -> dict[str, Any]:
    row: dict[str, Any] = {
        "corpus": task.corpus,
        "classes": len(task.classes),
        "protocol": task.protocol,
        "model": model.model,
        "head": model.head,
        "pretraining": model.pretraining,
        "clips": sum(task.clips.values()),
        "units": task.units,
        "unit": task.unit,
        "folds": model.folds,
    }
    for name, estimate in model.pooled.items():
        row |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    for name, mean in model.fold_mean.items():
        row |= {f"{name}_fold_mean": mean, f"{name}_fold_std": model.fold_std[name]}
    row |= {f"null_{name}": value for name, value in model.null.items()}
    return row | model.probabilities


def _task(task: TaskResult, family: Sequence[Comparison], percentile: bool) -> dict[str, Any]:
    return {
        "corpus": task.corpus,
        "data_sha256": task.data_sha256,
        "classes": task.classes,
        "merged": task.merged,
        "protocol": task.protocol,
        "clips": task.clips,
        "units": task.units,
        "unit": task.unit,
        "models": [_model(task, model, percentile) for model in task.models],
        "comparisons": [asdict(one) for one in family],
    }


def _model(task: TaskResult, model: ModelResult, percentile: bool) -> dict[str, Any]:
    by_class = recalls(model, percentile)
    return {
        "model": model.model,
        "model_key": model.scores[0].model_key,
        "head": model.head,
        "pretraining": model.pretraining,
        "seeds": sorted({score.seed for score in model.scores}),
        "folds": model.folds,
        "pooled": {name: estimate._asdict() for name, estimate in model.pooled.items()},
        "by_fold": {name: {"mean": mean, "std": model.fold_std[name]} for name, mean in model.fold_mean.items()},
        "recalls": {name: _finite(estimate) for name, estimate in by_class.items()},
        "probabilities": model.probabilities,
        "null": model.null,
        "printed": [asdict(one) for one in printed(task, model)],
    }


def _finite(estimate: Estimate) -> dict[str, float | None]:
    """Return an estimate whose value is None if no clip was tested."""
    return estimate._asdict() | ({"value": None} if estimate.value != estimate.value else {})
