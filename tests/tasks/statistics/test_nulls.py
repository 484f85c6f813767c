from collections import Counter
from itertools import permutations
from math import comb, exp

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from nonverbal.errors import UserError
from nonverbal.tasks.statistics.nulls import permutable, permutation_null, permute_labels

CLIPS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 6)), min_size=1, max_size=40)


@given(CLIPS, st.integers(0, 1000))
def test_each_group_keeps_its_kind_and_each_class_its_groups(clips: list[tuple[str, int]], seed: int) -> None:
    labels, groups = np.array([label for label, _ in clips]), np.array([group for _, group in clips])
    permuted = permute_labels(labels, groups, np.random.default_rng(seed))
    before, after = [], []
    for group in set(groups.tolist()):
        old, new = Counter(labels[groups == group].tolist()), Counter(permuted[groups == group].tolist())
        if len(old) > 1:
            assert new == old
        else:
            assert len(new) == 1
            before.extend(old)
            after.extend(new)
    assert Counter(before) == Counter(after)


@pytest.mark.parametrize(
    ("labels", "groups", "ways"),
    [
        ("aabbab", "111122", comb(4, 2) * 2),  # both groups are mixed
        ("aaabbbb", "1123345", comb(5, 2)),  # all groups are pure, of several sizes
        ("abaabcc", "1122344", 2 * 6),  # one is mixed, three are pure
        ("abaa", "1122", 2),  # the only pure group keeps its class
    ],
)
def test_all_labellings_are_equally_likely(labels: str, groups: str, ways: int) -> None:
    random = np.random.default_rng(0)
    found = Counter("".join(permute_labels(list(labels), list(groups), random)) for _ in range(200 * ways))
    assert len(found) == ways
    assert stats.chisquare(list(found.values())).pvalue > 1e-3
    assert exp(permutable(list(labels), list(groups)).log_distinct) == pytest.approx(ways)


def test_what_is_permuted_is_said() -> None:
    assert str(permutable(list("abab"), list("1122"))) == "labels permuted within 2 groups"
    assert str(permutable(list("aab"), list("112"))) == "the classes of 2 groups of one class permuted among them"
    both = "labels permuted within 1 group, and the classes of 2 groups of one class permuted among them"
    assert str(permutable(list("abaab"), list("11223"))) == both
    assert str(permutable(list("abaa"), list("1122"))) == "labels permuted within 1 group"


def test_few_labellings_cannot_be_tested() -> None:
    assert not permutable(list("aaabbb"), list("112334")).testable  # 4 recordings: 6 labellings
    assert permutable(list("aaabbb"), list("123456")).testable  # 6 clips: exactly 20


@pytest.mark.parametrize(("labels", "groups"), [("aaa", "123"), ("aaa", "111")])
def test_what_cannot_be_permuted_is_refused(labels: str, groups: str) -> None:
    with pytest.raises(UserError, match="a null needs two classes"):
        permutable(list(labels), list(groups))
    assert "".join(permute_labels(list(labels), list(groups), np.random.default_rng(0))) == labels


def test_p_of_single_clips_is_scipys() -> None:
    random = np.random.default_rng(1)
    values = random.standard_normal(12) + np.r_[np.zeros(6), np.ones(6)]
    labels = np.r_[np.zeros(6), np.ones(6)]
    null = permutation_null(
        lambda label: values[label == 1].mean() - values[label == 0].mean(), labels, np.arange(12), 0, 4000, 4001
    )
    exact = stats.permutation_test(
        (values[6:], values[:6]), lambda a, b: a.mean() - b.mean(), alternative="greater"
    ).pvalue
    assert null.draws == 4000
    assert null.p == (null.exceeding + 1) / 4001
    assert null.p == pytest.approx(exact, abs=4 * np.sqrt(exact / 4000))
    assert null.mean == pytest.approx(0, abs=0.05)


def test_p_within_groups_is_that_of_all_orders() -> None:
    """Groups differ in loudness, and classes only within them: a permutation over groups would not see it."""
    values = np.array([0.0, 1.0, 2.0, 50.0, 51.0, 52.0, 53.0])
    labels, groups = np.array([0, 0, 1, 0, 1, 0, 1]), np.array([0, 0, 0, 1, 1, 1, 1])

    def score(label: np.ndarray) -> float:
        return float(values[label == 1].sum())

    inside = [
        (first, second)
        for first in sorted(set(permutations([0, 0, 1])))
        for second in sorted(set(permutations([0, 1, 0, 1])))
    ]
    exact = np.mean([score(np.array([*a, *b])) >= score(labels) for a, b in inside])
    null = permutation_null(score, labels, groups, seed=1, most=3000, stop=3001)
    assert null.p == pytest.approx(exact, abs=4 * np.sqrt(exact / 3000))


def test_it_stops_once_enough_draws_score_as_high() -> None:
    calls = []

    def score(label: np.ndarray) -> float:
        calls.append(label)
        return 0.0

    null = permutation_null(score, list("ababab"), list("123456"), seed=0, most=999, stop=10)
    assert (null.draws, null.exceeding, null.p) == (10, 10, 1)
    assert len(calls) == 11
    np.testing.assert_array_equal(calls[0], list("ababab"))
    assert len({"".join(label) for label in calls}) > 5
    again = permutation_null(score, list("ababab"), list("123456"), seed=0, most=5, stop=10)
    assert again.draws == 5
    np.testing.assert_array_equal(calls[1:6], calls[12:17])


def test_stopping_makes_false_alarms_no_more_frequent() -> None:
    """Scores without meaning: the share of p at most alpha is at most alpha, and not far below."""
    random = np.random.default_rng(2)
    p = np.array(
        [permutation_null(lambda _: random.random(), list("ab" * 4), range(8), seed, 99, 5).p for seed in range(2000)]
    )
    for alpha in (0.05, 0.1, 0.5):
        expected_error = np.sqrt(alpha * (1 - alpha) / 2000)
        assert np.mean(p <= alpha) < alpha + 3 * expected_error
        assert np.mean(p <= alpha) > 0.75 * alpha - 3 * expected_error


def test_bad_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="`most` and `stop` must be at least 1, but are 0 and 20"):
        permutation_null(lambda _: 0.0, list("ab"), [0, 1], most=0)
    with pytest.raises(ValueError, match="returned NaN"):
        permutation_null(lambda _: float("nan"), list("ab"), [0, 1])
    with pytest.raises(ValueError, match="must have one length, but have 2 and 3"):
        permute_labels(list("ab"), [0, 1, 2], np.random.default_rng(0))


def test_labels_that_cannot_be_scored_are_passed_over() -> None:
    """The null is that of the labellings that can: here those that begin with ``a``, as the true labels do."""
    labels, groups = list("abab"), list("stuv")
    seen: list[str] = []

    def score(permuted: np.ndarray) -> float | None:
        seen.append("".join(permuted))
        return None if permuted[0] == "b" else float("".join(permuted) == "abab")

    null = permutation_null(score, labels, groups, most=200, stop=200)
    assert null.draws == 200
    assert len(seen) > 300
    assert null.exceeding == seen[1:].count("abab")
    assert 1 / 5 < null.mean < 1 / 2  # one labelling in three

    ten, alone = list("aaaaabbbbb"), list("0123456789")
    with pytest.raises(UserError, match=r"of 50 permuted labellings, 50 cannot be divided or trained"):
        permutation_null(lambda permuted: 1.0 if permuted.tolist() == ten else None, ten, alone)
    with pytest.raises(ValueError, match="must return a number for the true labels"):
        permutation_null(lambda _: None, labels, groups)
