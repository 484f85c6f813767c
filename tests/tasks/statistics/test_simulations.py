"""How often intervals hold the truth and tests give false alarms, where the truth is known.

Sizes are fixed here: 4 classes, about 30 clips a group of very unequal sizes, an intra-class correlation of .1. Shares
of 2000 draws are known to about .005 (one standard deviation); seeds are fixed, so that results are the same again.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest
from scipy import stats

from nonverbal.tasks.statistics import comparisons
from nonverbal.tasks.statistics.comparisons import swap_test
from nonverbal.tasks.statistics.confusions import UAR, confusion_counts
from nonverbal.tasks.statistics.intervals import bootstrap, difference_t, jackknife_t
from nonverbal.tasks.statistics.nulls import permutation_null

CLASSES = 4
RECALLS = np.array([0.6, 0.7, 0.8, 0.9])
CORRELATION = 0.1
DRAWS = 2000

pytestmark = pytest.mark.slow


def _decisions(random: np.random.Generator, groups: int, models: int, pure: bool) -> np.ndarray:
    """Draw counts ``(models, groups, classes, classes)`` of models whose recalls are ``RECALLS``.

    A group's recalls are of a beta distribution whose variance makes two clips of a class in a group correlate by
    ``CORRELATION``. Each model has its own good and bad groups; a group that is bad for a model is so in all classes.
    """
    sizes = np.maximum(2, random.lognormal(np.log(22), 0.8, groups)).astype(int)
    where = np.repeat(np.arange(groups), sizes)
    labels = where % CLASSES if pure else random.integers(0, CLASSES, len(where))
    spread = 1 / CORRELATION - 1
    rank = random.random((models, groups, 1))
    recalls = stats.beta.ppf(rank, RECALLS * spread, (1 - RECALLS) * spread)
    right = random.random((models, len(where))) < recalls[:, where, labels]
    wrong = (labels + random.integers(1, CLASSES, (models, len(where)))) % CLASSES
    return confusion_counts(labels, np.where(right, labels, wrong), where, range(CLASSES))


@pytest.mark.parametrize("pure", [False, True])
@pytest.mark.parametrize(("groups", "least"), [(10, 0.90), (15, 0.90), (20, 0.925), (40, 0.925)])
def test_intervals_hold_the_true_uar(groups: int, least: float, pure: bool) -> None:
    random = np.random.default_rng(groups)
    intervals = [jackknife_t(_decisions(random, groups, 1, pure)[0]) for _ in range(DRAWS)]
    held = np.mean([interval.low <= RECALLS.mean() <= interval.high for interval in intervals])
    assert least <= held <= 0.985


def test_bootstrap_intervals_are_too_short_at_10_groups() -> None:
    random = np.random.default_rng(0)
    drawn = [_decisions(random, 10, 1, False)[0] for _ in range(DRAWS)]
    intervals = [bootstrap(counts, resamples=1000) for counts in drawn]
    held = np.mean([interval.low <= RECALLS.mean() <= interval.high for interval in intervals])
    assert held < 0.90


@pytest.mark.parametrize("groups", [8, 12, 20])
@pytest.mark.parametrize("pure", [False, True])
def test_models_that_are_equally_good_seldom_differ(groups: int, pure: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparisons, "DRAWS", 10_000)  # of 20 groups; all ways are counted of fewer
    random = np.random.default_rng(groups)
    p = np.array([swap_test(*_decisions(random, groups, 2, pure)) for _ in range(DRAWS)])
    assert 0.03 <= np.mean(p <= 0.05) <= 0.06


@pytest.mark.parametrize("pure", [False, True])
@pytest.mark.parametrize(("groups", "least"), [(10, 0.90), (20, 0.925)])
def test_intervals_hold_the_true_difference(groups: int, least: float, pure: bool) -> None:
    random = np.random.default_rng(groups)
    intervals = [difference_t(*_decisions(random, groups, 2, pure)) for _ in range(DRAWS)]
    assert least <= np.mean([interval.low <= 0 <= interval.high for interval in intervals]) <= 0.985


def _cross_validations(
    random: np.random.Generator, groups: int, truth: bool
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Draw two equally good encoders' embeddings, and train and test nearest class means on them in 5 folds by group.

    Yields:
        Counts ``(2, groups, classes, classes)``, and with ``truth`` the two UARs that the trained classifiers have on
        400 further groups.
    """
    fresh = 400 if truth else 0
    while True:
        where = np.repeat(np.arange(groups + fresh), 20)
        labels = random.integers(0, CLASSES, len(where))
        own, fold = where < groups, where % 5
        predicted, uars = [], []
        for _ in range(2):
            noise = np.sqrt([CORRELATION, CORRELATION, 1 - 2 * CORRELATION])
            x = 2 * np.eye(CLASSES)[labels] + noise[2] * random.standard_normal((len(where), CLASSES))
            x += noise[0] * random.standard_normal((groups + fresh, CLASSES))[where]
            x += noise[1] * random.standard_normal((groups + fresh, CLASSES, CLASSES))[where, labels]
            decided = np.empty(len(where), dtype=int)
            for number in range(5):
                train = own & (fold != number)
                means = np.stack([x[train & (labels == label)].mean(0) for label in range(CLASSES)])
                decided[fold == number] = ((x[fold == number][:, None] - means) ** 2).sum(-1).argmin(1)
            predicted.append(decided[own])
            if truth:
                uars.append(
                    float(UAR(confusion_counts(labels[~own], decided[~own], where[~own], range(CLASSES)).sum(0)))
                )
        yield confusion_counts(labels[own], np.stack(predicted), where[own], range(CLASSES)), np.array(uars)


def test_false_alarms_through_whole_cross_validations() -> None:
    random = np.random.default_rng(0)
    p = np.array([swap_test(*counts) for counts, _ in _take(_cross_validations(random, 15, False), DRAWS)])
    assert 0.03 <= np.mean(p <= 0.05) <= 0.06


@pytest.mark.parametrize(("groups", "least"), [(10, 0.90), (20, 0.925)])
def test_intervals_hold_the_truth_through_whole_cross_validations(groups: int, least: float) -> None:
    random = np.random.default_rng(0)
    held = []
    for counts, truth in _take(_cross_validations(random, groups, True), DRAWS // 4):
        intervals = [jackknife_t(model) for model in counts]
        held += [interval.low <= uar <= interval.high for interval, uar in zip(intervals, truth, strict=True)]
    assert least <= np.mean(held) <= 0.985


def _take(draws: Iterator[tuple[np.ndarray, np.ndarray]], count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    return (next(draws) for _ in range(count))


@pytest.mark.parametrize("kind", ["mixed", "pure", "both"])
def test_the_null_of_labels_without_meaning_gives_few_false_alarms(kind: str) -> None:
    """Groups sound different and labels mean nothing; the whole cross-validation is made again for each permutation."""
    random = np.random.default_rng(0)
    where = np.repeat(np.arange(12), [2, 10] * 6)
    p, of_clips = [], []
    for _ in range(500):
        x = 2 * random.standard_normal((12, 3))[where] + random.standard_normal((len(where), 3))
        of_group = random.permutation(np.arange(12) % 2)[where]
        pure = {"mixed": where < 0, "pure": where >= 0, "both": where < 6}[kind]
        labels = np.where(pure, of_group, random.permutation(len(where)) % 2)
        score = partial(_cross_validated, x, where)
        p.append(permutation_null(score, labels, where, 0, 99, 5).p)
        of_clips.append(permutation_null(score, labels, np.arange(len(where)), 0, 99, 5).p)
    assert 0.05 <= np.mean(np.array(p) <= 0.1) <= 0.12
    if kind == "pure":
        # Permuting single clips takes what a group sounds like for its class.
        assert np.mean(np.array(of_clips) <= 0.1) > 0.2


def _cross_validated(x: np.ndarray, where: np.ndarray, labels: np.ndarray) -> float:
    """Return the UAR of nearest class means in 3 folds by group; a class not trained on is not decided for."""
    decided = np.empty(len(x), dtype=int)
    for number in range(3):
        test = where % 3 == number
        train, known = x[~test], labels[~test]
        means = np.stack(
            [train[known == label].mean(0) if (known == label).any() else np.full(3, 1e9) for label in (0, 1)]
        )
        decided[test] = ((x[test][:, None] - means) ** 2).sum(-1).argmin(1)
    return float(UAR(confusion_counts(labels, decided, where, range(2)).sum(0)))
