"""The drawings of a task's results; their names begin with the anchor of its section."""

from collections.abc import Sequence

import numpy as np

from nonverbal.evaluation.layer_weights import first_layer, layer_weights
from nonverbal.evaluation.results import TaskResult
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
    """Draw each fold, and all folds together."""
    lanes = [Lane(task.name(m), m.pooled["uar"], [score.metrics["uar"] for score in m.scores]) for m in task.models]
    return folds_chart(f"{anchor}-folds", "UAR", lanes, 1 / len(task.classes))


def confusions(anchor: str, task: TaskResult) -> list[Drawing]:
    """Draw a confusion matrix for each model."""
    return [
        confusion_chart(f"{anchor}-confusion-{n}", task.name(model), task.classes, model.counts.sum(1).mean(0))
        for n, model in enumerate(task.models)
    ]


def recalls(anchor: str, task: TaskResult) -> Drawing:
    """Draw the recall of each class by model."""
    by_model = {task.name(model): [one.value for one in recalls_of(model).values()] for model in task.models}
    return recalls_chart(f"{anchor}-recalls", task.classes, by_model)


def layers(anchor: str, task: TaskResult) -> list[Drawing]:
    """Draw UAR by layer for each model whose head compared layers."""
    drawn = []
    for number, model in enumerate(task.models):
        rows = [score for score in model.scores if len(score.inner_uar) > 1 and "layer" in score.chosen]
        if rows and len({len(score.inner_uar) for score in rows}) == 1:
            inner, chosen = np.array([row.inner_uar for row in rows]), [int(row.chosen["layer"]) for row in rows]
            name, chance = f"{anchor}-layers-{number}", 1 / len(task.classes)
            drawn.append(layers_chart(name, task.name(model), inner, chosen, chance, _series(number)))
    return drawn


def weights(anchor: str, task: TaskResult) -> list[Drawing]:
    """Draw the weights of layers for each model whose head learned them and stored them."""
    drawn = []
    for number, model in enumerate(task.models):
        rows = layer_weights(model.scores)
        if rows is not None:
            name, first = f"{anchor}-weights-{number}", first_layer(model.scores)
            drawn.append(weights_chart(name, task.name(model), rows, _series(number), first))
    return drawn


def calibrations(anchor: str, task: TaskResult, own: Sequence[Measurement]) -> list[Drawing]:
    """Draw the calibration of each model with probabilities."""
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
