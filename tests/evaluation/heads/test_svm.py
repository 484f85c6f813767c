import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from toys import speakers, toy

from nonverbal.evaluation.cross_validation import cross_validate
from nonverbal.evaluation.heads.svm import LAYER_STRENGTH, STRENGTHS, Svm
from nonverbal.tasks.folds import group_folds


def theirs(C: float) -> object:
    return make_pipeline(StandardScaler(), SVC(C=C, kernel="linear", class_weight="balanced", break_ties=True))


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_choices_and_decisions_are_scikit_learns(classes: int) -> None:
    features, names = toy(120, classes, size=1.5)
    labels, groups = np.array(names), speakers(120, 7)
    folds = group_folds(names, groups, 3, 0)
    for fold, result in zip(folds, cross_validate(Svm(), features, names, groups, folds, 0), strict=True):
        splits = [(inner.train, inner.test) for inner in fold.inside(names, groups, 0)]
        train, test = features[fold.train].astype(float), features[fold.test].astype(float)
        answers = labels[fold.train]

        def inner_uar(layer: int, C: float) -> float:
            predicted = cross_val_predict(theirs(C), train[:, layer], answers, cv=splits)  # noqa: B023
            return float(balanced_accuracy_score(answers, predicted))  # noqa: B023

        curve = [inner_uar(layer, LAYER_STRENGTH) for layer in range(2)]
        layer = int(np.argmax(curve))
        C = STRENGTHS[int(np.argmax([inner_uar(layer, C) for C in STRENGTHS]))]
        assert result.inner_uar == curve
        assert result.chosen == {"layer": layer, "C": C}
        fitted = theirs(C).fit(train[:, layer], answers)  # type: ignore[attr-defined]
        assert result.predicted == fitted.predict(test[:, layer]).tolist()
        values = fitted.decision_function(test[:, layer])
        expected = np.stack([-values, values], axis=1) if classes == 2 else values
        np.testing.assert_allclose(result.values, expected, atol=1e-3)
        assert result.details == {"support_vectors": len(fitted[-1].support_)}


def test_a_class_that_is_there_is_found_and_labels_without_meaning_score_chance() -> None:
    features, names = toy(240)
    groups = speakers(240)
    folds = group_folds(names, groups, 3, 0)
    found = [result.metrics["uar"] for result in cross_validate(Svm(), features, names, groups, folds, 0)]
    assert min(found) > 0.85
    shuffled = np.random.default_rng(1).permutation(names).tolist()
    folds = group_folds(shuffled, groups, 3, 0)
    by_chance = [result.metrics["uar"] for result in cross_validate(Svm(), features, shuffled, groups, folds, 0)]
    assert abs(np.mean(by_chance) - 1 / 3) < 0.12
