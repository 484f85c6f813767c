import numpy as np
import pytest
from grouped import drawn, one_by_one
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, recall_score

from nonverbal.errors import UserError
from nonverbal.tasks.statistics.confusions import (
    ACCURACY,
    F1_SEEN,
    F1_TRUE,
    UAR,
    by_group,
    confusion_counts,
    margins,
    only_class,
    recalls,
)


def test_counts_are_those_of_clips_one_by_one() -> None:
    labels, predicted, groups = drawn(0, 200, 7, 4)
    counts = confusion_counts(labels, predicted, groups, range(4))
    np.testing.assert_array_equal(counts, one_by_one(labels, predicted, groups, 4))


def test_uar_is_balanced_accuracy() -> None:
    labels, predicted, groups = drawn(7, 100, 5, 3)
    total = confusion_counts(labels, predicted, groups, range(3)).sum(0)
    assert UAR(total) == pytest.approx(balanced_accuracy_score(labels, predicted))


def test_names_in_any_order_and_further_axes_are_counted_alike() -> None:
    labels, predicted, groups = drawn(1, 100, 5, 3)
    names = np.array(["scream", "cry", "laugh"])  # not in the order of the alphabet
    speakers = [f"speaker {group}" for group in groups]
    models = np.stack([predicted, labels])
    counts = confusion_counts(names[labels].tolist(), names[models], speakers, names.tolist())
    assert counts.shape == (2, 5, 3, 3)
    np.testing.assert_array_equal(counts[0], one_by_one(labels, predicted, groups, 3))
    np.testing.assert_array_equal(counts[1], one_by_one(labels, labels, groups, 3))


def test_metrics_are_those_of_scikit_learn() -> None:
    labels, predicted, groups = drawn(2, 150, 6, 5)
    predicted[labels == 4], labels[labels == 4] = 4, 3  # class 4 is predicted and never true
    predicted, labels = np.where(predicted == 2, 1, predicted), np.where(labels == 2, 1, labels)  # class 2 is neither
    total = confusion_counts(labels, predicted, groups, range(5)).sum(0)
    present = np.unique(labels)
    assert UAR(total) == pytest.approx(
        recall_score(labels, predicted, labels=present, average="macro", zero_division=0)
    )
    assert ACCURACY(total) == pytest.approx(accuracy_score(labels, predicted))
    assert ACCURACY(total) == pytest.approx(recall_score(labels, predicted, average="weighted", zero_division=0))
    assert F1_TRUE(total) == pytest.approx(f1_score(labels, predicted, labels=present, average="macro"))
    assert F1_SEEN(total) == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert F1_SEEN(total) < F1_TRUE(total)
    np.testing.assert_allclose(
        recalls(total)[present], recall_score(labels, predicted, labels=present, average=None, zero_division=0)
    )
    assert np.isnan(recalls(total)[[2, 4]]).all()


@pytest.mark.parametrize("metric", [UAR, ACCURACY])
def test_weights_of_hits_sum_to_the_metric(metric) -> None:
    labels, predicted, groups = drawn(3, 90, 4, 4)
    total = confusion_counts(np.where(labels == 3, 0, labels), predicted, groups, range(4)).sum(0)
    hits, true, _ = margins(total)
    assert hits @ metric.weights(true) == pytest.approx(metric(total))


def test_metrics_take_any_number_of_matrices() -> None:
    labels, predicted, groups = drawn(4, 80, 4, 3)
    counts = confusion_counts(labels, predicted, groups, range(3))
    for metric in (UAR, ACCURACY, F1_TRUE, F1_SEEN):
        np.testing.assert_allclose(metric(counts[None]), [[metric(group) for group in counts]])
        assert np.isnan(metric(np.zeros((3, 3))))


def test_the_uar_of_one_class_is_its_recall() -> None:
    labels, predicted, groups = drawn(5, 80, 4, 3)
    counts = confusion_counts(labels, predicted, groups, range(3))
    for number in range(3):
        assert UAR(only_class(counts, number).sum(0)) == pytest.approx(recalls(counts.sum(0))[number])


def test_seeds_are_averaged_and_empty_groups_left_out() -> None:
    labels, predicted, groups = drawn(6, 60, 4, 3)
    counts = confusion_counts(labels, np.stack([predicted, labels]), groups, range(3))
    counts = np.insert(counts, 2, 0, axis=1)
    assert by_group(counts).shape == (4, 3, 3)
    np.testing.assert_allclose(by_group(counts).sum(0), counts.sum(1).mean(0))


def test_what_cannot_be_counted_is_refused() -> None:
    with pytest.raises(ValueError, match="`predicted` must be of the classes .*'a', 'b'.*, but holds .*'c'"):
        confusion_counts(["a", "b"], ["a", "c"], [0, 1], ["a", "b"])
    with pytest.raises(ValueError, match=r"must have one length, but have shapes \(2,\), \(3,\) and \(2,\)"):
        confusion_counts(["a", "b"], ["a", "b"], [0, 1, 2], ["a", "b"])
    with pytest.raises(UserError, match="at least 2 groups, but has clips of 1; group by something smaller"):
        by_group(confusion_counts(["a", "b"], ["a", "b"], [0, 0], ["a", "b"]))
    with pytest.raises(ValueError, match=r"`counts` must be .*, but is \(3, 3\)"):
        by_group(np.ones((3, 3)))
