"""Confusion counts by group, the basis of every metric, interval and comparison."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from nonverbal.errors import UserError


@dataclass(frozen=True)
class Metric:
    """A number in [0, 1] for a confusion matrix whose rows are true and whose columns are predicted classes."""

    name: str
    of: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
    """Takes each class's hits, true clips and predicted clips, ``(..., classes)`` each, and returns ``(...)``. The
    counts of clips may be fractions: means over seeds."""
    weights: Callable[[np.ndarray], np.ndarray] | None = None
    """Takes each class's true clips, ``(classes,)``, and returns weights ``(classes,)`` such that the weighted sum of
    hits is the metric. None if the metric is not such a sum, like F1."""

    def __call__(self, confusions: np.ndarray) -> np.ndarray:
        """Return the metric of each matrix, ``(...)`` from ``(..., classes, classes)``."""
        return self.of(*margins(confusions))


def margins(confusions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return each class's hits, true clips and predicted clips, ``(..., classes)`` from ``(..., classes, classes)``."""
    return np.diagonal(confusions, axis1=-2, axis2=-1), confusions.sum(-1), confusions.sum(-2)


def recalls(confusions: np.ndarray) -> np.ndarray:
    """Return each class's recall, ``(..., classes)``; NaN for a class without clips."""
    hits, true, _ = margins(confusions)
    return _ratio(hits, true)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return ``part`` / ``whole``; NaN where ``whole`` is 0."""
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1), np.nan)


def _uar(hits: np.ndarray, true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    return _mean_where(hits / np.where(true > 0, true, 1), true > 0)


def _accuracy(hits: np.ndarray, true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    return _ratio(hits.sum(-1), true.sum(-1))


def _f1_true(hits: np.ndarray, true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    return _mean_where(_f1(hits, true + predicted), true > 0)


def _f1_seen(hits: np.ndarray, true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    return _mean_where(_f1(hits, true + predicted), true + predicted > 0)


def _f1(hits: np.ndarray, found: np.ndarray) -> np.ndarray:
    return np.asarray(2 * hits / np.where(found > 0, found, 1))


def _mean_where(values: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Return the mean over the last axis of the values for which ``there`` is true; NaN if there are none."""
    return _ratio(np.where(there, values, 0).sum(-1), there.sum(-1))


def _uar_weights(true: np.ndarray) -> np.ndarray:
    return np.asarray(np.where(true > 0, 1 / np.where(true > 0, true, 1), 0) / (true > 0).sum())


UAR = Metric("uar", _uar, _uar_weights)
"""Unweighted average recall: the mean recall of the classes that have true clips (scikit-learn's balanced accuracy)."""
ACCURACY = Metric("accuracy", _accuracy, lambda true: np.full(len(true), 1 / true.sum()))
"""The share of clips that are right: the recall weighted by the number of clips of each class, often called WAR."""
F1_TRUE = Metric("f1_true", _f1_true)
"""The mean F1 of the classes that have true clips."""
F1_SEEN = Metric("f1_seen", _f1_seen)
"""The mean F1 of the classes that are true or predicted, the default of scikit-learn: a class that is only predicted
counts as 0."""


def confusion_counts(
    labels: Sequence[object] | np.ndarray,
    predicted: Sequence[object] | np.ndarray,
    groups: Sequence[object] | np.ndarray,
    classes: Sequence[object] | np.ndarray,
) -> np.ndarray:
    """Count decisions by group, true class and predicted class.

    Args:
        labels: each clip's class, ``(clips,)``.
        predicted: decisions on the same clips, ``(..., clips)``; further axes are models or seeds.
        groups: each clip's group, ``(clips,)``.
        classes: all classes, in the order of the axes of the result.

    Returns:
        ``(..., groups, classes, classes)`` int64, with groups in the order of ``numpy.unique`` and true classes in
        rows.

    Raises:
        ValueError: lengths differ, or a label or a decision is not one of ``classes``.
    """
    true, decided = _codes("labels", labels, classes), _codes("predicted", predicted, classes)
    names, group = np.unique(np.asarray(groups), return_inverse=True)
    if not true.shape == group.shape == decided.shape[-1:]:
        raise ValueError(
            f"`labels`, `groups` and each row of `predicted` must have one length, but have shapes {true.shape}, "
            f"{group.shape} and {decided.shape}."
        )
    G, C = len(names), len(classes)
    rows = decided.reshape(-1, len(true))
    cells = ((np.arange(len(rows))[:, None] * G + group) * C + true) * C + rows
    return np.bincount(cells.ravel(), minlength=len(rows) * G * C * C).reshape(*decided.shape[:-1], G, C, C)


def only_class(counts: np.ndarray, number: int) -> np.ndarray:
    """Return the counts of the clips of one true class, in the same shape.

    The UAR of such counts is the recall of class ``number``; its interval is over the groups that have such clips.
    """
    kept = np.zeros_like(counts)
    kept[..., number, :] = counts[..., number, :]
    return kept


def by_group(counts: np.ndarray) -> np.ndarray:
    """Return ``(groups, classes, classes)`` float64 of ``counts``, which may have seeds as an additional first axis.

    Seeds are averaged within a group, because they are repetitions on the same clips, not further evidence. Groups
    without clips are left out.

    Raises:
        ValueError: ``counts`` has another shape.
        UserError: fewer than 2 groups have clips.
    """
    if counts.ndim not in (3, 4) or counts.shape[-1] != counts.shape[-2]:
        raise ValueError(
            f"`counts` must be (groups, classes, classes) or (seeds, groups, classes, classes), but is {counts.shape}."
        )
    mean = counts.mean(0) if counts.ndim == 4 else counts.astype(np.float64)
    mean = mean[mean.sum((-2, -1)) > 0]
    check_groups(len(mean))
    return np.asarray(mean)


def check_groups(groups: int) -> None:
    """Refuse fewer than two groups with clips, between which there is no variation.

    Raises:
        UserError: the message says how many there are.
    """
    if groups < 2:
        raise UserError(
            f"an interval or a comparison needs clips of at least 2 groups, but has clips of {groups}; "
            "group by something smaller, such as recordings"
        )


def _codes(name: str, values: Sequence[object] | np.ndarray, classes: Sequence[object] | np.ndarray) -> np.ndarray:
    """Return the position of each value in ``classes``, int64, in the shape of ``values``."""
    known, found = np.asarray(classes), np.asarray(values)
    order = np.argsort(known, kind="stable")
    codes = order[np.minimum(np.searchsorted(known, found, sorter=order), len(known) - 1)]
    wrong = found[known[codes] != found]
    if wrong.size:
        raise ValueError(f"`{name}` must be of the classes {known.tolist()}, but holds {wrong.flat[0]!r}.")
    return codes
