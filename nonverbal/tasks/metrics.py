"""What decisions on clips are worth: the metrics of ``statistics.confusions``, of labels as they are."""

import numpy as np

from nonverbal.tasks.statistics.confusions import ACCURACY, F1_TRUE, UAR

METRICS = {"uar": UAR, "accuracy": ACCURACY, "f1": F1_TRUE}
"""Name in a score to metric."""


def metrics(labels: np.ndarray, predicted: np.ndarray, seen: bool = False) -> dict[str, float]:
    """Return ``uar`` (mean recall over classes), ``accuracy`` and ``f1`` (mean F1 over classes), each in [0, 1].

    The classes are those that ``labels`` holds: a fold without clips of a class says nothing of its recall.

    Args:
        labels: each clip's class, ``(clips,)``, by name or number; at least one clip.
        predicted: the class decided for, in the same way.
        seen: whether a class that is only predicted counts in ``uar`` and ``f1`` too, as 0: scikit-learn's macro
            averages of recall and F1, as the code of voc2vec has them.
    """
    hits, true = _hits(labels, predicted)
    found = np.array([np.count_nonzero(predicted == label) for label in np.unique(labels)])
    values = {name: float(metric.of(hits, true, found)) for name, metric in METRICS.items()}
    if seen:
        share = len(true) / len(np.union1d(labels, predicted))
        values |= {"uar": values["uar"] * share, "f1": values["f1"] * share}
    return values


def uar(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Return the unweighted average recall alone, of what ``metrics`` takes."""
    hits, true = _hits(labels, predicted)
    return float(UAR.of(hits, true, true))


def _hits(labels: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the clips of each class that were recognised, and all of them, ``(classes,)`` each."""
    _, own = np.unique(labels, return_inverse=True)
    return np.bincount(own, weights=labels == predicted), np.bincount(own)
