import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nonverbal.tasks.metrics import metrics, uar
from nonverbal.tasks.statistics.confusions import UAR


def test_metrics_by_hand() -> None:
    labels = np.array(["a", "a", "a", "a", "b", "b"])
    predicted = np.array(["a", "a", "a", "b", "b", "c"])
    found = metrics(labels, predicted)
    assert found["uar"] == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert found["accuracy"] == pytest.approx(4 / 6)
    # a: precision 1, recall 3/4; b: precision 1/2, recall 1/2; c is no class of these clips.
    assert found["f1"] == pytest.approx((6 / 7 + 1 / 2) / 2)


def test_metrics_are_those_of_scikit_learn_where_every_class_is_present() -> None:
    from sklearn.metrics import balanced_accuracy_score, f1_score

    random = np.random.default_rng(0)
    labels, predicted = random.choice(list("abcd"), 200), random.choice(list("abcd"), 200)
    found = metrics(labels, predicted)
    assert found["uar"] == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert found["f1"] == pytest.approx(f1_score(labels, predicted, average="macro"))


@given(st.data())
def test_uar_is_to_the_bit_that_of_scikit_learn(data: st.DataObject) -> None:
    from sklearn.metrics import recall_score

    numbers = st.integers(0, 4)
    clips = data.draw(st.integers(1, 40))
    labels, predicted = (np.array(data.draw(st.lists(numbers, min_size=clips, max_size=clips))) for _ in range(2))
    present = np.unique(labels)
    expected = recall_score(labels, predicted, labels=present, average="macro", zero_division=0)
    assert uar(labels, predicted) == expected
    names = np.array([f"class {number}" for number in range(5)])
    assert uar(names[labels], names[predicted]) == expected


@given(st.data())
def test_metrics_are_to_the_bit_those_of_scikit_learn(data: st.DataObject) -> None:
    from sklearn.metrics import accuracy_score, f1_score

    numbers = st.integers(0, 11)
    clips = data.draw(st.integers(1, 60))
    labels, predicted = (np.array(data.draw(st.lists(numbers, min_size=clips, max_size=clips))) for _ in range(2))
    found = metrics(labels, predicted)
    assert found["uar"] == uar(labels, predicted)
    assert found["accuracy"] == accuracy_score(labels, predicted)
    assert found["f1"] == f1_score(labels, predicted, labels=np.unique(labels), average="macro", zero_division=0)


def test_uar_follows_from_sums_over_batches() -> None:
    labels, predicted = np.array([0, 0, 1, 1, 1, 3]), np.array([0, 1, 1, 1, 0, 3])
    hits, clips = np.zeros(4), np.zeros(4)
    for rows in (slice(0, 2), slice(2, 5), slice(5, 6)):
        np.add.at(clips, labels[rows], 1)
        np.add.at(hits, labels[rows], labels[rows] == predicted[rows])
    assert UAR.of(hits, clips, clips) == uar(labels, predicted) == pytest.approx((1 / 2 + 2 / 3 + 1) / 3)
