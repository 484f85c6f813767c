from itertools import product

import numpy as np
import pytest
from grouped import drawn
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import balanced_accuracy_score, f1_score

from nonverbal.errors import UserError
from nonverbal.tasks.statistics import comparisons
from nonverbal.tasks.statistics.comparisons import compare, groups_won, holm, is_testable, swap_test
from nonverbal.tasks.statistics.confusions import ACCURACY, F1_SEEN, UAR, Metric, confusion_counts


def _pair(seed: int, clips: int, groups: int, classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    labels, first, where = drawn(seed, clips, groups, classes, 0.75)
    second = drawn(seed, clips, groups, classes, 0.5)[1]
    return labels, np.stack([first, second]), where


@pytest.mark.parametrize(
    ("metric", "score"),
    [(UAR, balanced_accuracy_score), (F1_SEEN, lambda labels, guess: f1_score(labels, guess, average="macro"))],
)
def test_exact_p_is_the_share_of_all_swaps_of_clips(metric, score) -> None:
    labels, both, groups = _pair(0, 60, 6, 3)
    differences = []
    for swapped in product([False, True], repeat=6):
        one, other = np.where(np.array(swapped)[groups], both[::-1], both)
        differences.append(abs(score(labels, one) - score(labels, other)))
    expected = np.mean(np.array(differences) >= differences[0] - 1e-12)
    assert 2**-5 < expected < 1
    counts = confusion_counts(labels, both, groups, range(3))
    assert swap_test(*counts, metric) == expected


@pytest.mark.parametrize("clips", [12, 40])
def test_swaps_of_single_clips_are_scipys_permutation_test(clips: int) -> None:
    labels, both, _ = _pair(1, clips, clips, 3)
    right = (both == labels).astype(float)
    ours = swap_test(*confusion_counts(labels, both, np.arange(clips), range(3)), ACCURACY)
    theirs = stats.permutation_test(
        tuple(right),
        lambda a, b, axis: np.abs((a - b).mean(axis)),
        permutation_type="samples",
        alternative="greater",
        n_resamples=20_000,
        vectorized=True,
        rng=0,
    )
    wins, losses = int((right[0] > right[1]).sum()), int((right[0] < right[1]).sum())
    sign_test = stats.binomtest(wins, wins + losses).pvalue
    exact = clips <= 15
    assert ours == pytest.approx(theirs.pvalue, abs=1e-12 if exact else 0.015)
    assert ours == pytest.approx(sign_test, abs=1e-12 if exact else 0.006)


def test_a_linear_metric_and_its_plain_form_agree() -> None:
    plain = Metric("uar without weights", UAR.of)
    for groups in (5, 20):
        labels, both, where = _pair(2, 100, groups, 4)
        counts = confusion_counts(labels, both, where, range(4))
        assert swap_test(*counts) == swap_test(*counts, plain)


def test_drawn_swaps_agree_with_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, both, groups = _pair(3, 150, 14, 3)
    counts = confusion_counts(labels, both, groups, range(3))
    exact = swap_test(*counts)
    monkeypatch.setattr(comparisons, "EXACT_GROUPS", 13)
    drawn_p = [swap_test(*counts, seed=seed) for seed in range(3)]
    assert len(set(drawn_p)) == 3
    # Four standard deviations of a share of 100 000 draws.
    assert max(abs(p - exact) for p in drawn_p) < 4 * np.sqrt(exact * (1 - exact) / 100_000) + 1e-5


def test_a_drawn_p_counts_what_was_observed() -> None:
    labels, _, groups = drawn(4, 200, 40, 2)
    counts = confusion_counts(labels, np.stack([labels, 1 - labels]), groups, range(2))
    assert swap_test(*counts) == 1 / 100_001


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(2, 12), st.integers(2, 4))
def test_exchanging_models_changes_the_sign_alone(seed: int, groups: int, classes: int) -> None:
    labels, both, where = _pair(seed, 50, groups, classes)
    one, other = confusion_counts(labels, both, where, range(classes))
    for metric in (UAR, F1_SEEN):
        (there,) = compare({"one": one, "other": other}, metric)
        (back,) = compare({"one": one, "other": other}, metric, pairs=[("other", "one")])
        assert (there.first, there.second) == (back.second, back.first)
        assert there.difference.value == pytest.approx(-back.difference.value, abs=1e-12)
        assert there.difference.low == pytest.approx(-back.difference.high, abs=1e-12)
        assert (there.p, there.better, there.worse, there.equal) == (back.p, back.worse, back.better, back.equal)


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(2, 12))
def test_order_of_groups_and_clips_changes_nothing(seed: int, groups: int) -> None:
    labels, both, where = _pair(seed, 50, groups, 3)
    random = np.random.default_rng(seed)
    order, names = random.permutation(50), random.permutation(groups)
    moved = confusion_counts(labels[order], both[:, order], names[where[order]], range(3))
    counts = confusion_counts(labels, both, where, range(3))
    assert swap_test(*moved) == swap_test(*counts)
    assert groups_won(*moved) == groups_won(*counts)


def test_models_that_decide_alike_do_not_differ() -> None:
    labels, predicted, groups = drawn(5, 60, 6, 3)
    counts = confusion_counts(labels, predicted, groups, range(3))
    (row,) = compare({"a": counts, "b": counts})
    assert (row.p, row.p_holm, row.better, row.worse, row.equal) == (1, 1, 0, 0, 6)
    assert (row.difference.low, row.difference.value, row.difference.high) == (0, 0, 0)


def test_groups_won_counts_accuracy_where_a_group_has_one_class() -> None:
    labels = np.array([0, 0, 0, 1, 0, 0, 1, 1])
    groups = np.array([0, 0, 1, 1, 2, 2, 3, 3])
    first = np.array([0, 1, 0, 1, 0, 0, 1, 1])  # accuracies .5, 1, 1, 1
    second = np.array([1, 1, 1, 1, 0, 0, 0, 1])  # accuracies 0, .5, 1, .5
    assert groups_won(*confusion_counts(labels, np.stack([first, second]), groups, range(2))) == (3, 0, 1)
    assert groups_won(*confusion_counts(labels, np.stack([second, first]), groups, range(2))) == (0, 3, 1)


def test_a_family_is_compared_as_its_pairs_are_alone() -> None:
    labels, _, groups = drawn(6, 200, 20, 3)
    models = {str(i): drawn(6, 200, 20, 3, 0.4 + 0.1 * i)[1] for i in range(4)}
    counts = {name: confusion_counts(labels, guess, groups, range(3)) for name, guess in models.items()}
    rows = compare(counts, seed=3)
    assert [(row.first, row.second) for row in rows] == [(a, b) for a in "0123" for b in "0123" if a < b]
    alone = [swap_test(counts[row.first], counts[row.second], seed=3) for row in rows]
    np.testing.assert_array_equal([row.p for row in rows], alone)
    np.testing.assert_allclose([row.p_holm for row in rows], holm(alone))
    assert len({row.p for row in rows}) > 3
    assert all(row.testable for row in rows)


def test_seeds_are_averaged_within_a_group_before_they_are_swapped() -> None:
    labels, both, groups = _pair(7, 60, 6, 3)
    counts = confusion_counts(labels, both, groups, range(3))
    repeated = [np.stack([one] * 3) for one in counts]
    assert swap_test(*repeated) == swap_test(*counts)
    assert compare({"a": repeated[0], "b": counts[1]})[0].p == swap_test(*counts)


def test_other_clips_and_single_groups_are_refused() -> None:
    labels, both, groups = _pair(8, 60, 6, 3)
    counts = confusion_counts(labels, both, groups, range(3))
    other = confusion_counts((labels + 1) % 3, both, groups, range(3))
    with pytest.raises(ValueError, match="same clips in the same groups"):
        compare({"a": counts[0], "b": counts[1], "c": other[1]}, pairs=[("a", "b")])
    with pytest.raises(UserError, match="at least 2 groups"):
        swap_test(*confusion_counts(labels, both, np.zeros(60), range(3)))


def test_holm_by_hand() -> None:
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    assert holm([]).shape == (0,)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_is_that_of_statsmodels(p: list[float]) -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    np.testing.assert_allclose(holm(p), multitest.multipletests(p, method="holm")[1])


def test_what_is_testable_is_what_can_reach_05() -> None:
    # 4 speakers: 1/8; 6 speakers: 1/32, twice that for two comparisons.
    assert not is_testable(4, 1)
    assert not is_testable(5, 1)
    assert is_testable(6, 1)
    assert not is_testable(6, 2)
    for groups in (5, 6):
        labels = np.arange(4 * groups) % 2
        counts = confusion_counts(labels, np.stack([labels, 1 - labels]), np.arange(len(labels)) // 4, range(2))
        (row,) = compare({"right": counts[0], "wrong": counts[1]})
        assert row.p == 2.0 ** (1 - groups)
        assert row.testable == (row.p_holm <= 0.05)
