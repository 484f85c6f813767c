"""The drawings of a task's results: names begin with the anchor of its section."""

from collections.abc import Sequence

import numpy as np

from nonverbal.evaluation.results import ModelResult, TaskResult
from nonverbal.evaluation.results import recalls as recalls_of
from nonverbal.report.drawing import SERIES, Drawing
from nonverbal.report.score_charts import (
    Lane,
    calibration_chart,
    confusion_chart,
    folds_chart,
    layers_chart,
    recalls_chart,
    weights_chart,
)
from nonverbal.tasks.measurements import Measurement
from nonverbal.tasks.statistics.probabilities import calibration_bins


def folds(anchor: str, task: TaskResult) -> Drawing:
    """Draw every fold, and all folds together."""
    lanes = [Lane(task.name(m), m.pooled["uar"], [score.metrics["uar"] for score in m.scores]) for m in task.models]
    return folds_chart(f"{anchor}-folds", "UAR", lanes, 1 / len(task.classes))


def confusions(anchor: str, task: TaskResult) -> list[Drawing]:
    """Draw a confusion matrix a model."""
    return [
        confusion_chart(f"{anchor}-confusion-{n}", task.name(model), task.classes, model.counts.sum(1).mean(0))
        for n, model in enumerate(task.models)
    ]


def recalls(anchor: str, task: TaskResult) -> Drawing:
    """Draw the recall of each class by each model."""
    by_model = {task.name(model): [one.value for one in recalls_of(model).values()] for model in task.models}
    return recalls_chart(f"{anchor}-recalls", task.classes, by_model)


def layers(anchor: str, task: TaskResult) -> list[Drawing]:
    """Draw the layer curve of each model whose head compared layers."""
    drawn = []
    for number, model in enumerate(task.models):
        rows = [score for score in model.scores if len(score.inner_uar) > 1 and "layer" in score.chosen]
        if rows and len({len(score.inner_uar) for score in rows}) == 1:
            inner, chosen = np.array([row.inner_uar for row in rows]), [int(row.chosen["layer"]) for row in rows]
            name, chance = f"{anchor}-layers-{number}", 1 / len(task.classes)
            drawn.append(layers_chart(name, task.name(model), inner, chosen, chance, _series(number)))
    return drawn


def weights(anchor: str, task: TaskResult) -> list[Drawing]:
    """Draw the layers' weights of each model whose head learned some, and kept them."""
    drawn = []
    for number, model in enumerate(task.models):
        rows = _layer_weights(model)
        if rows is not None:
            name, first = f"{anchor}-weights-{number}", _first_layer(model)
            drawn.append(weights_chart(name, task.name(model), rows, _series(number), first))
    return drawn


def _layer_weights(model: ModelResult) -> np.ndarray | None:
    """Return the weights that heads kept, ``(folds, layers)``; None where they kept none."""
    rows = [row for score in model.scores if isinstance(row := score.details.get("layer_weights"), list)]
    try:
        weights = np.array(rows, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    fit = weights.ndim == 2 and weights.shape[1] > 1 and np.isfinite(weights).all() and weights.max() > 0
    return weights if fit else None


def _first_layer(model: ModelResult) -> int:
    """Return the layer of the first weight: 1 where rows do not say, as those of the probe ``multilayer``."""
    said = model.scores[0].details.get("first_layer", 1)
    return said if isinstance(said, int) and said >= 0 else 1


def calibrations(anchor: str, task: TaskResult, own: Sequence[Measurement]) -> list[Drawing]:
    """Draw the calibration of each model whose head gives probabilities."""
    drawn = []
    for number, model in enumerate(task.models):
        seeds = [m.predictions for m in own if m.row == (model.model, model.head)]
        if "calibration_error" in model.probabilities:
            labels = np.concatenate([one.labels for one in seeds])
            values = np.concatenate([one.values for one in seeds if one.values is not None])
            bins, error = calibration_bins(labels, values), model.probabilities["calibration_error"]
            name = f"{anchor}-calibration-{number}"
            drawn.append(calibration_chart(name, task.name(model), bins, error, _series(number)))
    return drawn


def _series(number: int) -> str:
    return f"series{number % len(SERIES)}"
