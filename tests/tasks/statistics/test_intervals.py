import numpy as np
import pytest
from grouped import drawn
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats
from sklearn.metrics import balanced_accuracy_score, f1_score

from nonverbal.errors import UserError
from nonverbal.seeding import Stream, generator
from nonverbal.tasks.statistics.confusions import ACCURACY, F1_TRUE, UAR, confusion_counts, only_class
from nonverbal.tasks.statistics.intervals import Interval, bootstrap, difference_t, jackknife_t, rate_t


def _ends(interval: Interval) -> tuple[float, float]:
    return interval.low, interval.high


@pytest.mark.parametrize(
    ("metric", "score"),
    [(UAR, balanced_accuracy_score), (F1_TRUE, lambda a, b: f1_score(a, b, labels=np.unique(a), average="macro"))],
)
def test_jackknife_is_scores_without_each_group_on_the_logit_scale(metric, score) -> None:
    labels, predicted, groups = drawn(0, 120, 8, 3)
    interval = jackknife_t(confusion_counts(labels, predicted, groups, range(3)), metric)
    without = special.logit([score(labels[groups != name], predicted[groups != name]) for name in range(8)])
    error = np.sqrt(7 / 8 * ((without - without.mean()) ** 2).sum())
    centre = special.logit(score(labels, predicted))
    expected = special.expit(stats.t.interval(0.95, 7, centre, error))
    assert interval.value == pytest.approx(score(labels, predicted))
    assert interval.groups == 8
    np.testing.assert_allclose(_ends(interval), expected)


def test_a_difference_of_accuracies_of_single_clips_is_students_t_of_pairs() -> None:
    labels, first, _ = drawn(1, 40, 40, 3)
    second = drawn(2, 40, 40, 3)[1]
    counts = confusion_counts(labels, np.stack([first, second]), np.arange(40), range(3))
    interval = difference_t(*counts, ACCURACY, level=0.9)
    expected = stats.ttest_rel((first == labels).astype(float), (second == labels).astype(float))
    assert interval.value == pytest.approx(np.mean(first == labels) - np.mean(second == labels))
    np.testing.assert_allclose(_ends(interval), expected.confidence_interval(0.9))


def test_the_delta_method_is_taken_where_one_group_has_all_errors() -> None:
    labels, groups = np.zeros(40, dtype=int), np.arange(40) // 4
    predicted = labels.copy()
    predicted[:2] = 1
    interval = jackknife_t(confusion_counts(labels, predicted, groups, range(2)), ACCURACY)
    shares = np.r_[0.5, np.ones(9)]
    error = shares.std(ddof=1) / np.sqrt(10) / (0.95 * 0.05)
    expected = special.expit(stats.t.interval(0.95, 9, special.logit(0.95), error))
    np.testing.assert_allclose(_ends(interval), expected)


def test_without_an_error_the_bound_is_that_of_groups_without_an_error() -> None:
    labels, _, groups = drawn(3, 60, 12, 3)
    interval = jackknife_t(confusion_counts(labels, labels, groups, range(3)))
    assert _ends(interval) == pytest.approx(tuple(stats.binomtest(12, 12).proportion_ci(0.95, "exact")))
    interval = jackknife_t(confusion_counts(labels, (labels + 1) % 3, groups, range(3)))
    assert (interval.value, *_ends(interval)) == pytest.approx((0, *stats.binomtest(0, 12).proportion_ci(0.95)))


def test_a_class_of_one_group_leaves_the_others_when_that_is_deleted() -> None:
    labels, predicted, groups = drawn(4, 120, 8, 3)
    labels = np.where((labels == 2) & (groups != 5), 0, labels)
    interval = jackknife_t(confusion_counts(labels, predicted, groups, range(3)))
    rows = [(labels[groups != name], predicted[groups != name]) for name in range(8)]
    recalls = [[np.mean(guess[label == k] == k) for k in np.unique(label)] for label, guess in rows]
    without = special.logit([np.mean(values) for values in recalls])
    assert [len(values) for values in recalls] == [3] * 5 + [2] + [3] * 2
    error = np.sqrt(7 / 8 * ((without - without.mean()) ** 2).sum())
    expected = special.expit(stats.t.interval(0.95, 7, special.logit(interval.value), error))
    np.testing.assert_allclose(_ends(interval), expected)


def test_the_recall_of_a_class_is_over_the_groups_that_have_it() -> None:
    labels, predicted, groups = drawn(5, 120, 8, 3)
    labels = np.where((labels == 2) & (groups > 3), 0, labels)
    counts = confusion_counts(labels, predicted, groups, range(3))
    assert jackknife_t(only_class(counts, 2)).groups == 4
    kept = labels == 2
    own = confusion_counts(labels[kept], predicted[kept], groups[kept], range(3))
    assert jackknife_t(only_class(counts, 2)) == jackknife_t(own, ACCURACY)


def test_bootstrap_is_that_of_clips_drawn_by_group() -> None:
    labels, predicted, groups = drawn(6, 90, 6, 3)
    interval = bootstrap(confusion_counts(labels, predicted, groups, range(3)), seed=7, resamples=200)
    scores = []
    for times in generator(7, Stream.RESAMPLE).multinomial(6, np.full(6, 1 / 6), size=200):
        rows = np.repeat(np.arange(90), times[groups])
        scores.append(balanced_accuracy_score(labels[rows], predicted[rows]))
    np.testing.assert_allclose(_ends(interval), np.quantile(scores, [0.025, 0.975]))


def test_bootstrap_of_single_clips_is_scipys() -> None:
    labels, predicted, _ = drawn(7, 200, 200, 3)
    interval = bootstrap(confusion_counts(labels, predicted, np.arange(200), range(3)), ACCURACY)
    right = (labels == predicted).astype(float)
    expected = stats.bootstrap((right,), np.mean, method="percentile", n_resamples=10_000, rng=0).confidence_interval
    # An end is a quantile of 10 000 resamples: known to about .0013, in steps of .005.
    np.testing.assert_allclose(_ends(interval), expected, atol=0.0051)


@given(st.integers(0, 10_000), st.integers(2, 12), st.integers(2, 4))
def test_order_of_clips_and_names_of_groups_change_nothing(seed: int, groups: int, classes: int) -> None:
    labels, predicted, where = drawn(seed, 60, groups, classes)
    other = drawn(seed + 1, 60, groups, classes)[1]
    random = np.random.default_rng(seed)
    order, names = random.permutation(60), random.permutation(groups)
    counts = confusion_counts(labels, np.stack([predicted, other]), where, range(classes))
    moved = confusion_counts(labels[order], np.stack([predicted, other])[:, order], names[where[order]], range(classes))
    for one, same in ((jackknife_t(counts[0]), jackknife_t(moved[0])), (difference_t(*counts), difference_t(*moved))):
        np.testing.assert_allclose([one.value, *_ends(one)], [same.value, *_ends(same)], atol=1e-12)


@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.1, 0.5, 0.9, 0.98, 1.0]), st.integers(2, 12))
def test_intervals_hold_their_value_and_stay_in_range(seed: int, right: float, groups: int) -> None:
    labels, predicted, where = drawn(seed, 40, groups, 3, right)
    counts = confusion_counts(labels, predicted, where, range(3))
    for interval in (jackknife_t(counts), jackknife_t(counts, F1_TRUE), bootstrap(counts, resamples=100)):
        assert 0 <= interval.low <= interval.high <= 1
    interval = jackknife_t(counts)
    assert interval.low - 1e-12 <= interval.value <= interval.high + 1e-12
    narrow = jackknife_t(counts, level=0.8)
    assert interval.low <= narrow.low
    assert narrow.high <= interval.high


def test_repeating_seeds_does_not_narrow_an_interval() -> None:
    labels, predicted, groups = drawn(8, 90, 9, 3)
    counts = confusion_counts(labels, np.stack([predicted] * 5), groups, range(3))
    for interval in (jackknife_t, bootstrap):
        assert interval(counts).value == pytest.approx(interval(counts[0]).value)
        assert _ends(interval(counts)) == pytest.approx(_ends(interval(counts[0])))


def test_what_has_no_interval_is_refused() -> None:
    labels, predicted, groups = drawn(9, 30, 3, 2)
    counts = confusion_counts(labels, predicted, groups, range(2))
    for interval in (jackknife_t, bootstrap, lambda one: difference_t(one, one)):
        with pytest.raises(UserError, match="at least 2 groups, but has clips of 1"):
            interval(counts[:1])
    other = confusion_counts(1 - labels, predicted, groups, range(2))
    with pytest.raises(ValueError, match="same clips in the same groups"):
        difference_t(counts, other)


def test_a_rate_of_equal_groups_is_the_t_interval_of_its_logarithms() -> None:
    """Two groups of 10 words, with 1 and 4 errors: deleting one leaves the rate of the other."""
    found = rate_t(np.array([1, 4, 0]), np.array([10, 10, 0]))
    error = abs(np.log(0.4) - np.log(0.1)) / 2
    reach = 12.706204736 * error
    assert (found.value, found.groups) == (0.25, 2)
    assert found.low == pytest.approx(0.25 * np.exp(-reach))
    assert found.high == pytest.approx(0.25 * np.exp(reach))


def test_a_rate_of_which_one_group_has_all_errors_or_none_has_any() -> None:
    """By the plain scale over the rate: without the second group the rate is 0, without another 3/20."""
    found = rate_t(np.array([0, 3, 0]), np.array([10, 10, 10]))
    error = np.sqrt(2 / 3 * (2 * 0.05**2 + 0.1**2)) / 0.1
    assert found.high == pytest.approx(0.1 * np.exp(4.302652730 * error))
    assert rate_t(np.zeros(3), np.full(3, 10)).high == np.inf
    with pytest.raises(UserError, match="clips of at least 2 groups, but has clips of 1"):
        rate_t(np.array([1, 0]), np.array([10, 0]))
