"""Metrics of class probabilities: area under the ROC curve, calibration error, Brier score."""

import numpy as np

CALIBRATION_BINS = 15
"""Number of bins of equal width between 0 and 1, as in Guo et al. (2017) and most printed figures. Their bounds are the
same for all models and corpora, unlike those of bins with equal numbers of clips."""


def area_under_roc(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the chance that class 1 is more probable for a clip of class 1 than for one of class 0; ties count half.

    Computed from midranks (Mann & Whitney, 1947; Hanley & McNeil, 1982).

    Args:
        labels: each clip's class, ``(clips,)`` of 0 and 1, with both present.
        probabilities: ``(clips, 2)``; column 1 is ranked, so any increasing function of it gives the same result.

    Raises:
        ValueError: only one class has clips, or shapes differ.
    """
    from scipy.stats import rankdata

    if probabilities.shape != (len(labels), 2) or set(np.unique(labels)) != {0, 1}:
        raise ValueError(
            f"the area under the ROC curve needs clips of classes 0 and 1 and probabilities ({len(labels)}, 2), but "
            f"there are classes {np.unique(labels).tolist()} and probabilities {probabilities.shape}."
        )
    ranks = rankdata(probabilities[:, 1])
    positive = labels == 1
    hits, misses = int(positive.sum()), int((~positive).sum())
    return float((ranks[positive].sum() - hits * (hits + 1) / 2) / (hits * misses))


def calibration_error(labels: np.ndarray, probabilities: np.ndarray, bins: int = CALIBRATION_BINS) -> float:
    """Return the class-balanced expected calibration error, in [0, 1].

    Clips are put into bins (low, high] of equal width by their highest probability. The error of a bin is its mean
    confidence minus its accuracy; the absolute errors are averaged over bins, weighted by their clips (Naeini et al.,
    2015). Each clip counts as 1 / the number of clips of its class, so that a frequent class does not hide the others:
    the result is the error on a corpus whose classes are equally frequent, and relates to UAR as the usual one relates
    to accuracy. With few clips it is above 0 even for perfect probabilities.

    Args:
        labels: each clip's class, ``(clips,)`` in [0, classes).
        probabilities: ``(clips, classes)``, each row at least 0 and summing to 1 (to .001).
        bins: at least 1.

    Raises:
        ValueError: ``labels`` or ``probabilities`` are not of this form.
    """
    _, confidence, right = _binned(labels, probabilities, bins)
    return float(np.abs(confidence - right).sum())


def calibration_bins(
    labels: np.ndarray, probabilities: np.ndarray, bins: int = CALIBRATION_BINS
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the bins whose error ``calibration_error`` is, for a figure: those that have clips, from the lowest.

    Arguments and errors as for ``calibration_error``.

    Returns:
        each bin's share of the weight, its mean confidence, and its accuracy, ``(bins,)`` each.
    """
    weight, confidence, right = _binned(labels, probabilities, bins)
    some = weight > 0
    return weight[some], confidence[some] / weight[some], right[some] / weight[some]


def _binned(labels: np.ndarray, probabilities: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the weight of each bin's clips, ``(bins,)``, and the weighted sums of confidence and right decisions."""
    _check(labels, probabilities)
    counts = np.bincount(labels)
    weights = 1 / (counts[labels] * np.count_nonzero(counts))
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    where = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], confidence)
    weight, said, true = (np.bincount(where, w, bins) for w in (weights, weights * confidence, weights * right))
    return weight, said, true


def brier_score(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the mean over clips of the squared distance to the true class, summed over classes, in [0, 2].

    This is Brier's (1950) own form: with two classes, it is twice the value that is often printed for them. Arguments
    and errors as for ``calibration_error``.
    """
    _check(labels, probabilities)
    return float(((probabilities - np.eye(probabilities.shape[1])[labels]) ** 2).sum(1).mean())


def _check(labels: np.ndarray, probabilities: np.ndarray) -> None:
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1] or not len(labels):
        raise ValueError(
            f"`labels` must be (clips,) and `probabilities` (clips, classes), at least one clip, but are "
            f"{labels.shape} and {probabilities.shape}."
        )
    if labels.min() < 0 or labels.max() >= probabilities.shape[1]:
        raise ValueError(f"`labels` must be in [0, {probabilities.shape[1]}), but reach {labels.min()} {labels.max()}.")
    rows = np.flatnonzero(~((probabilities >= 0).all(1) & (np.abs(probabilities.sum(1) - 1) <= 1e-3)))
    if len(rows):
        raise ValueError(
            f"`probabilities` must be at least 0 and sum to 1, but row {rows[0]} is {probabilities[rows[0]].tolist()}."
        )
