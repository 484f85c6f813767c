import time

import numpy as np
import pytest

from nonverbal.errors import UserError
from nonverbal.evaluation.cross_validation import FoldResult, cross_validate
from nonverbal.evaluation.heads.logistic import LAYER_STRENGTH, STRENGTHS, Logistic
from nonverbal.tasks import folds as tasks_folds
from nonverbal.tasks.folds import Fold, group_folds, leave_one_group_out


def probe(features: np.ndarray, labels: list[str], groups: list[str], folds: list[Fold], seed: int) -> list[FoldResult]:
    return list(cross_validate(Logistic(), features, labels, groups, folds, seed))


def _task(clips: int = 120, speakers: int = 12, classes: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two layers of noise, of which the second shows the class; speakers add offsets of their own to both."""
    random = np.random.default_rng(0)
    labels = np.arange(clips) % classes
    speaker = np.arange(clips) // classes % speakers
    features = random.standard_normal((clips, 2, 10)) + 2 * random.standard_normal((speakers, 1, 10))[speaker]
    features[:, 1, :classes] += 8 * np.eye(classes)[labels]
    names = np.array([f"class {label}" for label in labels])
    return features.astype(np.float32), names, np.array([f"s{number:02d}" for number in speaker])


def test_a_class_that_is_there_is_found_in_its_layer() -> None:
    features, labels, groups = _task()
    folds = group_folds(labels.tolist(), groups.tolist(), 4, 0)
    results = probe(features, labels.tolist(), groups.tolist(), folds, 0)
    assert [result.chosen["layer"] for result in results] == [1] * 4
    assert all(result.metrics["uar"] > 0.95 for result in results)
    for fold, result in zip(folds, results, strict=True):
        np.testing.assert_array_equal(fold.test, result.test)
        assert result.metrics["accuracy"] == np.mean(labels[fold.test] == result.predicted)


def test_labels_without_meaning_score_chance() -> None:
    features, labels, groups = _task(240)
    shuffled = np.random.default_rng(1).permutation(labels)
    folds = group_folds(shuffled.tolist(), groups.tolist(), 4, 0)
    results = probe(features, shuffled.tolist(), groups.tolist(), folds, 0)
    # 240 decisions at chance 1/3 have a standard deviation of 0.03.
    assert abs(np.mean([result.metrics["uar"] for result in results]) - 1 / 3) < 0.12


def test_the_test_side_decides_nothing() -> None:
    """The class is in the second layer in training clips, in the first in test clips: the choice must be the second."""
    features, labels, groups = _task()
    fold = leave_one_group_out(labels.tolist(), groups.tolist())[0]
    features[fold.test] = features[fold.test][:, ::-1]
    (result,) = probe(features, labels.tolist(), groups.tolist(), [fold], 0)
    assert result.chosen["layer"] == 1
    before = result.chosen["C"]
    features[fold.test] = 1e3
    (result,) = probe(features, labels.tolist(), groups.tolist(), [fold], 0)
    assert result.chosen == {"layer": 1, "C": before}


def test_choices_are_made_between_folds_of_other_speakers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer that tells who speaks looks perfect where speakers have favourite classes and inner folds mix them."""
    features, labels, groups = _task()
    seen: list[tuple[set[str], set[str]]] = []

    def spy(inner_labels: list[str], inner_groups: list[str], folds: int, seed: int) -> list[object]:
        result = group_folds(inner_labels, inner_groups, folds, seed)
        seen.extend(({inner_groups[i] for i in f.train}, {inner_groups[i] for i in f.test}) for f in result)
        return list(result)

    monkeypatch.setattr(tasks_folds, "group_folds", spy)
    folds = group_folds(labels.tolist(), groups.tolist(), 3, 0)
    probe(features, labels.tolist(), groups.tolist(), folds, 0)
    assert len(seen) == 9
    for number, (train, test) in enumerate(seen):
        outside = {groups[i] for i in folds[number // 3].test}
        assert not train & test
        assert not (train | test) & outside


def test_the_classifier_is_the_one_that_is_described() -> None:
    from sklearn.linear_model import LogisticRegression

    features, labels, groups = _task()
    fold = leave_one_group_out(labels.tolist(), groups.tolist())[3]
    (result,) = probe(features, labels.tolist(), groups.tolist(), [fold], 0)
    train, test = (features[rows, result.chosen["layer"]].astype(float) for rows in (fold.train, fold.test))
    mean, std = train.mean(0), train.std(0)
    model = LogisticRegression(
        C=result.chosen["C"], class_weight="balanced", solver="newton-cg", tol=1e-8, max_iter=1000
    )
    model.fit((train - mean) / std, labels[fold.train])
    assert result.predicted == model.predict((test - mean) / std).tolist()
    assert result.classes == model.classes_.tolist()
    np.testing.assert_allclose(result.values, model.predict_proba((test - mean) / std), atol=1e-6)


def test_choices_are_those_of_scikit_learns_own_search() -> None:
    """The same choice by ``cross_val_predict`` over pipelines; classes that overlap, so that settings differ."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features, labels, groups = _task()
    features[:, 1] /= 3
    names, speakers = labels.tolist(), groups.tolist()
    folds = group_folds(names, speakers, 3, 0)
    for fold, result in zip(folds, probe(features, names, speakers, folds, 0), strict=True):
        splits = [(inner.train, inner.test) for inner in fold.inside(names, speakers, 0)]

        def uar(layer: int, strength: float, fold: Fold = fold, splits: list[object] = splits) -> float:  # type: ignore
            model = LogisticRegression(C=strength, class_weight="balanced", solver="newton-cg", tol=1e-8)
            train, answers = features[fold.train, layer].astype(float), labels[fold.train]
            predicted = cross_val_predict(make_pipeline(StandardScaler(), model), train, answers, cv=splits)
            return float(balanced_accuracy_score(answers, predicted))

        curve = [uar(layer, LAYER_STRENGTH) for layer in range(2)]
        layer = int(np.argmax(curve))
        best = int(np.argmax([uar(layer, strength) for strength in STRENGTHS]))
        assert result.inner_uar == curve
        assert result.chosen == {"layer": layer, "C": STRENGTHS[best]}


def test_embeddings_that_are_not_finite_are_refused() -> None:
    features, labels, groups = _task()
    features[3, 0, 0] = np.nan
    with pytest.raises(UserError, match="1 of 120 clips have embeddings that are not finite, the first being clip 3"):
        probe(features, labels.tolist(), groups.tolist(), [], 0)


def test_too_few_groups_to_choose_within() -> None:
    features, labels, groups = _task(24, speakers=2)
    folds = leave_one_group_out(labels.tolist(), groups.tolist())
    with pytest.raises(
        UserError, match="nothing can be chosen within the training side of fold s00: all clips of class"
    ):
        probe(features, labels.tolist(), groups.tolist(), folds, 0)


def test_a_probe_of_many_clips_takes_seconds() -> None:
    random = np.random.default_rng(0)
    labels = np.arange(600) % 6
    features = random.standard_normal((600, 4, 288)).astype(np.float32)
    features[:, :, :6] += 2 * np.eye(6)[labels][:, None]
    names, groups = [str(label) for label in labels], [f"s{i // 30}" for i in range(600)]
    start = time.process_time()
    probe(features, names, groups, group_folds(names, groups, 5, 0), 0)
    assert time.process_time() - start < 30
