import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, roc_auc_score

from nonverbal.tasks.statistics.probabilities import (
    CALIBRATION_BINS,
    area_under_roc,
    brier_score,
    calibration_bins,
    calibration_error,
)


def _drawn(seed: int, clips: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = random.permutation(np.arange(clips) % classes)
    logits = random.standard_normal((clips, classes)) + 1.5 * np.eye(classes)[labels]
    return labels, np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


@given(st.integers(0, 10_000), st.integers(2, 60))
def test_area_under_roc_is_scikit_learns_ties_included(seed: int, clips: int) -> None:
    labels, probabilities = _drawn(seed, clips, 2)
    rounded = np.round(probabilities, 1)
    for values in (probabilities, rounded):
        assert area_under_roc(labels, values) == pytest.approx(roc_auc_score(labels, values[:, 1]))


@given(st.integers(0, 10_000), st.integers(2, 6))
def test_brier_score_is_scikit_learns(seed: int, classes: int) -> None:
    labels, probabilities = _drawn(seed, 40, classes)
    expected = brier_score_loss(labels, probabilities, labels=range(classes), scale_by_half=False)
    assert brier_score(labels, probabilities) == pytest.approx(expected)


@given(st.integers(0, 10_000), st.integers(2, 5))
def test_calibration_error_is_that_of_clips_repeated_until_classes_are_equal(seed: int, classes: int) -> None:
    random = np.random.default_rng(seed)
    labels, probabilities = _drawn(seed, 60, classes)
    kept = random.random(60) < np.where(labels == 0, 1, 0.4)
    kept[np.unique(labels, return_index=True)[1]] = True
    labels, probabilities = labels[kept], probabilities[kept]
    counts = np.bincount(labels)
    times = np.lcm.reduce(counts) // counts
    rows = np.repeat(np.arange(len(labels)), times[labels])
    confidence, right = probabilities[rows].max(1), probabilities[rows].argmax(1) == labels[rows]
    accurate, confident = calibration_curve(right, confidence, n_bins=CALIBRATION_BINS)
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)
    inside = np.bincount(np.searchsorted(edges[1:-1], confidence), minlength=CALIBRATION_BINS)
    expected = (inside[inside > 0] / len(rows) * np.abs(accurate - confident)).sum()
    assert calibration_error(labels, probabilities) == pytest.approx(expected)


def test_a_rare_class_counts_as_much_as_a_frequent_one() -> None:
    """All are called class 0 with certainty: right for 99 clips of 100, and for one class of two."""
    labels = np.r_[np.zeros(99, dtype=int), 1]
    assert calibration_error(labels, np.tile([1.0, 0.0], (100, 1))) == pytest.approx(0.5)


def test_probabilities_that_hold_have_no_error() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1, 1, 0])
    probabilities = np.array([[0.75, 0.25]] * 4 + [[0.25, 0.75]] * 4)
    assert calibration_error(labels, probabilities) == pytest.approx(0)
    assert brier_score(labels, probabilities) == pytest.approx(2 * 0.75 * 0.25)


def test_what_is_no_probability_is_refused() -> None:
    for measure in (calibration_error, brier_score):
        with pytest.raises(ValueError, match=r"sum to 1, but row 1 is \[0\.5, 0\.6\]"):
            measure(np.array([0, 1]), np.array([[0.5, 0.5], [0.5, 0.6]]))
        with pytest.raises(ValueError, match="row 0 is"):
            measure(np.array([0]), np.array([[np.nan, 0.6]]))
        with pytest.raises(ValueError, match=r"`labels` must be in \[0, 2\)"):
            measure(np.array([2]), np.array([[0.5, 0.5]]))
        with pytest.raises(ValueError, match="at least one clip"):
            measure(np.array([], dtype=int), np.empty((0, 2)))
    with pytest.raises(ValueError, match=r"classes 0 and 1 .* there are classes \[0\]"):
        area_under_roc(np.array([0, 0]), np.array([[0.5, 0.5], [0.5, 0.5]]))


def test_bins_of_a_figure_are_those_of_the_error():
    labels = np.array([0, 0, 0, 1])
    probabilities = np.array([[0.9, 0.1], [0.95, 0.05], [0.4, 0.6], [0.3, 0.7]])
    weight, confidence, right = calibration_bins(labels, probabilities, bins=4)
    # Clips of class 0 weigh 1/6 each, the one of class 1 1/2; bins are (.5, .75] and (.75, 1].
    np.testing.assert_allclose(weight, [1 / 6 + 1 / 2, 2 / 6])
    np.testing.assert_allclose(confidence, [(0.6 / 6 + 0.7 / 2) / (4 / 6), (0.9 + 0.95) / 2])
    np.testing.assert_allclose(right, [(1 / 2) / (4 / 6), 1])
    error = (weight * np.abs(confidence - right)).sum()
    assert calibration_error(labels, probabilities, bins=4) == pytest.approx(error)
