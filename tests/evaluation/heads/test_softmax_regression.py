import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from nonverbal.errors import UserError
from nonverbal.evaluation.heads.softmax_regression import TOLERANCE, Optimum, fit_path, held_out, optima
from nonverbal.tasks.folds import group_folds

STRENGTHS = (1e-4, 1e-2, 1.0)
SHAPES = [(90, 12, 3), (60, 200, 4), (50, 50, 2), (70, 150, 2)]
"""Clips, features and classes: more clips than features, fewer, as many."""


def _task(clips: int, dim: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Correlated features of many scales, off zero, in which classes overlap; their counts differ. And other clips."""
    random = np.random.default_rng(seed)
    targets = np.minimum(random.geometric(0.4, 2 * clips) - 1, classes - 1)
    targets[:classes] = np.arange(classes)
    hidden = random.standard_normal((2 * clips, 30)) + random.standard_normal((classes, 30))[targets]
    mixing = random.standard_normal((30, dim)) / (1 + np.arange(30))[:, None] ** 1.5
    features = (hidden @ mixing + 0.01 * random.standard_normal((2 * clips, dim))) * np.exp(
        random.standard_normal(dim)
    ) + 3
    names = np.array([f"class {chr(97 + number)}" for number in range(classes)])
    return features[:clips], names[targets[:clips]], features[clips:]


def _theirs(features: np.ndarray, answers: np.ndarray, strength: float) -> LogisticRegression:
    """scikit-learn's, ended as late as it will."""
    classifier = LogisticRegression(C=strength, class_weight="balanced", solver="newton-cg", tol=1e-10, max_iter=10000)
    return make_pipeline(StandardScaler(), classifier).fit(features, answers)


def _differences(weights: np.ndarray) -> np.ndarray:
    """Weights as scikit-learn has them, ``(classes, dim)``, one row for two classes."""
    return (weights[:, 1:] - weights[:, :1]).T if weights.shape[1] == 2 else weights.T


@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_the_regression_of_scikit_learn(shape: tuple[int, int, int]) -> None:
    features, answers, others = _task(*shape)
    for fit in fit_path(features, answers, STRENGTHS):
        theirs = _theirs(features, answers, fit.strength)
        np.testing.assert_allclose(_differences(fit.optimum.weights), theirs[-1].coef_, atol=1e-6, rtol=0)
        np.testing.assert_allclose(fit.probabilities(others), theirs.predict_proba(others), atol=1e-7, rtol=0)
        np.testing.assert_array_equal(fit.predict(others), theirs.predict(others))
        np.testing.assert_array_equal(fit.classes, theirs.classes_)


def test_one_feature_and_two_classes_are_as_by_hand() -> None:
    """Clips at -1 and 1, one of each class: by symmetry b = 0, and the optimum w solves w = 2 C / (1 + exp(w))."""
    for strength in (0.01, 1.0, 50.0):
        (fit,) = fit_path(np.array([[-1.0], [1.0]]), np.array(["no", "yes"]), [strength])
        expected = brentq(lambda w, C=strength: w - 2 * C / (1 + np.exp(w)), 0, 100, xtol=1e-14)
        assert np.diff(fit.optimum.weights[0])[0] == pytest.approx(expected, abs=1e-9)
        assert np.abs(fit.optimum.intercepts).max() < 1e-12


def _gradient(optimum: Optimum, standard: np.ndarray, targets: np.ndarray, strength: float) -> float:
    """Norm of the gradient of J as the module's docstring writes it, by autograd, over all clips and features."""
    weights, intercepts = (
        torch.from_numpy(part.copy()).requires_grad_() for part in (optimum.weights, optimum.intercepts)
    )
    answers = torch.from_numpy(targets)
    count = torch.bincount(answers)
    values = torch.from_numpy(standard) @ weights + intercepts
    loss = torch.nn.functional.cross_entropy(values, answers, reduction="none")
    C = strength / (2 if len(count) == 2 else 1)
    (C * (len(targets) / (len(count) * count[answers].double()) * loss).sum() + 0.5 * (weights**2).sum()).backward()
    assert weights.grad is not None
    assert intercepts.grad is not None
    return float(torch.cat((weights.grad.flatten(), intercepts.grad)).norm())


@pytest.mark.parametrize("shape", SHAPES)
def test_the_gradient_is_as_small_as_stated(shape: tuple[int, int, int]) -> None:
    features, answers, _ = _task(*shape)
    standard, targets = StandardScaler().fit_transform(features), np.unique(answers, return_inverse=True)[1]
    for strength, optimum in zip(STRENGTHS, optima(standard.copy(), targets, STRENGTHS), strict=True):
        found = _gradient(optimum, standard, targets, strength)
        assert found <= 1.01 * TOLERANCE
        assert found == pytest.approx(optimum.gradient, abs=0.01 * TOLERANCE)
    (coarse,) = optima(standard.copy(), targets, [1.0], tolerance=1.0)
    assert TOLERANCE < _gradient(coarse, standard, targets, 1.0) <= 1.0


@pytest.mark.parametrize("shape", SHAPES)
def test_rotated_features_are_decided_on_alike(shape: tuple[int, int, int]) -> None:
    features, answers, others = _task(*shape)
    scaler, targets = StandardScaler().fit(features), np.unique(answers, return_inverse=True)[1]
    train, test = scaler.transform(features), scaler.transform(others)
    rotation = np.linalg.qr(np.random.default_rng(1).standard_normal((shape[1], shape[1])))[0]
    plain, turned = (optima(part, targets, STRENGTHS) for part in (train.copy(), train @ rotation))
    for one, other in zip(plain, turned, strict=True):
        expected, found = (
            inputs @ optimum.weights + optimum.intercepts for inputs, optimum in ((test, one), (test @ rotation, other))
        )
        np.testing.assert_allclose(softmax(found, axis=1), softmax(expected, axis=1), atol=1e-8, rtol=0)
        np.testing.assert_array_equal(found.argmax(axis=1), expected.argmax(axis=1))


def test_a_path_ends_where_single_fits_do() -> None:
    """From a strength so much higher, whole Newton steps go too far: they are halved."""
    features, answers, others = _task(60, 200, 4, seed=1)
    for fit in fit_path(features, answers, (100.0, 1e-4, 1.0)):
        (alone,) = fit_path(features, answers, [fit.strength])
        assert alone.strength == fit.strength
        np.testing.assert_allclose(alone.probabilities(others), fit.probabilities(others), atol=1e-8, rtol=0)


def test_what_is_fitted_is_fitted_again() -> None:
    features, answers, others = _task(60, 200, 4)
    before = features.copy()
    first, second = (fit_path(features, answers, [1.0])[0].decisions(others) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(features, before)


def test_clips_are_decided_on_by_classifiers_that_did_not_train_on_them() -> None:
    features, answers, _ = _task(90, 12, 3)
    groups = [str(number // 3) for number in range(len(answers))]
    sides = [(fold.train, fold.test) for fold in group_folds(answers.tolist(), groups, 3, 0)]
    predicted = held_out(features, answers, sides, STRENGTHS)
    assert predicted.shape == (3, 90)
    for row, strength in zip(predicted, STRENGTHS, strict=True):
        for train, test in sides:
            theirs = _theirs(features[train], answers[train], strength)
            np.testing.assert_array_equal(row[test], theirs.predict(features[test]))


class TestUnusual:
    """Training sides as small corpora have them, against scikit-learn's."""

    def _check(self, features: np.ndarray, answers: np.ndarray, others: np.ndarray, strength: float = 1.0) -> None:
        (fit,) = fit_path(features, answers, [strength])
        theirs = _theirs(features.astype(np.float64), answers, strength)
        expected = theirs.predict_proba(others.astype(np.float64))
        np.testing.assert_allclose(fit.probabilities(others), expected, atol=1e-7, rtol=0)
        np.testing.assert_array_equal(fit.predict(others), theirs.predict(others.astype(np.float64)))

    def test_classes_far_apart(self) -> None:
        features, answers, others = _task(60, 200, 3)
        features[:, :3] += 1000 * np.eye(3)[np.unique(answers, return_inverse=True)[1]]
        self._check(features, answers, others)

    def test_constant_features(self) -> None:
        features, answers, others = _task(60, 80, 3)
        features[:, ::2] = 0.1
        self._check(features, answers, others)
        (fit,) = fit_path(features, answers, [1.0])
        np.testing.assert_array_equal(fit.scale[::2], 1.0)

    def test_features_all_of_which_are_constant(self) -> None:
        _, answers, _ = _task(60, 80, 3)
        (fit,) = fit_path(np.ones((60, 80)), answers, [1.0])
        np.testing.assert_allclose(fit.probabilities(np.ones((2, 80))), 1 / 3, atol=1e-8)

    def test_a_class_of_one_clip(self) -> None:
        features, answers, others = _task(60, 80, 3)
        answers[1:][answers[1:] == answers[0]] = answers[1]
        assert (answers == answers[0]).sum() == 1
        self._check(features, answers, others)

    def test_a_class_that_is_not_there(self) -> None:
        features, answers, others = _task(60, 80, 4)
        kept = answers != "class b"
        self._check(features[kept], answers[kept], others)
        assert fit_path(features[kept], answers[kept], [1.0])[0].classes.tolist() == ["class a", "class c", "class d"]

    def test_one_feature(self) -> None:
        features, answers, others = _task(60, 1, 3)
        self._check(features, answers, others)

    def test_two_clips(self) -> None:
        features, _, others = _task(2, 80, 2)
        self._check(features, np.array(["x", "y"]), others)

    def test_the_same_clip_many_times(self) -> None:
        features, answers, others = _task(60, 80, 3)
        self._check(features[np.arange(60) // 10 * 10], answers[np.arange(60) // 10 * 10], others)

    def test_features_of_wildly_different_scale(self) -> None:
        features, answers, others = _task(60, 80, 3)
        scale = 10.0 ** np.linspace(-12, 12, 80)
        self._check(features * scale, answers, others * scale)

    def test_single_precision(self) -> None:
        features, answers, others = (
            part.astype(np.float32) if part.dtype == float else part for part in _task(60, 80, 3)
        )
        self._check(features, answers, others)

    def test_one_class_is_refused(self) -> None:
        with pytest.raises(UserError, match="at least two classes"):
            fit_path(np.ones((3, 2)), np.array(["a"] * 3), [1.0])

    def test_a_strength_beyond_rounding_is_refused(self) -> None:
        features, answers, _ = _task(30, 5, 3)
        with pytest.raises(UserError, match="C = 1e\\+12"):
            fit_path(features, answers, [1e12])
