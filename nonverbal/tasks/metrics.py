"""Metrics of decisions on clips: those of ``statistics.confusions``, for labels given by name or number."""

import numpy as np

from nonverbal.tasks.statistics.confusions import ACCURACY, F1_TRUE, UAR

METRICS = {"uar": UAR, "accuracy": ACCURACY, "f1": F1_TRUE}
"""From the name of a metric in scores to the metric."""


def metrics(labels: np.ndarray, predicted: np.ndarray, seen: bool = False) -> dict[str, float]:
    """Return ``uar`` (mean recall over classes), ``accuracy`` and ``f1`` (mean F1 over classes), each in [0, 1].

    The classes are those in ``labels``: a fold without clips of a class says nothing about its recall.

    Args:
        labels: each clip's class, ``(clips,)``, by name or number; at least one clip.
        predicted: the predicted class of each clip, in the same way.
        seen: whether a class that is predicted but not in ``labels`` also counts in ``uar`` and ``f1``, as 0:
            scikit-learn's macro averages of recall and F1, as used in the code of voc2vec.
    """
    hits, true = _hits(labels, predicted)
    found = np.array([np.count_nonzero(predicted == label) for label in np.unique(labels)])
    values = {name: float(metric.of(hits, true, found)) for name, metric in METRICS.items()}
    if seen:
        share = len(true) / len(np.union1d(labels, predicted))
        values |= {"uar": values["uar"] * share, "f1": values["f1"] * share}
    return values


def uar(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Return only the unweighted average recall; arguments as for ``metrics``."""
    hits, true = _hits(labels, predicted)
    return float(UAR.of(hits, true, true))


def _hits(labels: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of recognised clips and of all clips of each class, ``(classes,)`` each."""
    _, own = np.unique(labels, return_inverse=True)
    return np.bincount(own, weights=labels == predicted), np.bincount(own)
