"""Multinomial logistic regression with balanced classes and an L2 penalty, fitted to a defined optimum.

The problem is that of scikit-learn's ``StandardScaler`` and ``LogisticRegression(C, class_weight="balanced")``: with
``x`` standardised over the training clips, minimise over weights ``W`` and intercepts ``b``::

    J(W, b) = C * sum_i v_i * -log softmax(x_i W + b)[answer_i] + 1/2 |W|^2
    v_i     = clips / (classes * clips of the class of i)

For two classes scikit-learn has one weight vector ``w`` and the penalty ``1/2 |w|^2``. That is ``J`` at ``C / 2``, with
``w`` the difference of the two columns of ``W``; ``C`` has scikit-learn's meaning here too.

If there are fewer clips than features, ``W`` lies in the span of the clips, and the penalty does not change under
rotation. The clips are therefore rotated once into as many dimensions as there are clips (a QR decomposition), which
does not change the problem, and all strengths are fitted there. Each fit takes Newton steps (Nocedal and Wright,
Numerical Optimization, 2nd edition, chapter 7.1) by conjugate gradients, preconditioned by the Hessian at equal
probabilities. Everything is float64 and deterministic.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cholesky, lapack, solve_triangular
from scipy.special import log_softmax, softmax

from nonverbal.errors import UserError

TOLERANCE = 1e-9
"""2-norm of the gradient of ``J``, over all weights and intercepts, at which a fit ends.

``J`` is 1-strongly convex in ``W``: with the intercepts at their optimum, ``W`` is no farther from the optimum than
this norm, and a decision value of a standardised clip ``x`` no farther than ``|x|`` times it. A clip of 1920 features,
each of variance 1, has ``|x|`` of about 44: its decision values are right to about 5e-8. For the gradient of the mean
loss, ``J / (C * clips)``, this is a norm of 1e-9 / (C * clips). scikit-learn ends where the largest value of that
gradient is 1e-4, which lets the weights err by 1e-4 * C * clips and more.
"""

MOST_STEPS, MOST_PRODUCTS, MOST_HALVINGS = 100, 1000, 40
"""Limits on Newton steps of a fit, Hessian products of a step, and halvings of a step. Usual: 5 to 10, 3 to 40, 0."""

Array = np.ndarray
Side = tuple[Array, Array]
"""Rows to train on and rows to decide on, int64."""


@dataclass(frozen=True)
class Optimum:
    """The minimum of ``J``."""

    weights: Array
    """``(dim, classes)``; they sum to 0 over the classes."""
    intercepts: Array
    """``(classes,)``; they sum to 0."""
    gradient: float
    """2-norm of the gradient of ``J``; see ``TOLERANCE``."""
    steps: int
    """Number of Newton steps."""


@dataclass(frozen=True)
class SoftmaxRegression:
    """A fitted classifier. It knows only the classes of its training clips."""

    classes: Array
    """``(classes,)``, sorted."""
    centre: Array
    """Mean of each feature over the training clips, ``(dim,)``."""
    scale: Array
    """Population standard deviation of each feature, or 1 if a feature is constant, ``(dim,)``."""
    strength: float
    """``C``."""
    optimum: Optimum
    """The optimum for standardised features."""

    def decisions(self, features: Array) -> Array:
        """Return the decision values, logarithms of probabilities up to a constant, for features ``(clips, dim)``."""
        standard = (features.astype(np.float64) - self.centre) / self.scale
        values: Array = standard @ self.optimum.weights + self.optimum.intercepts
        return values

    def probabilities(self, features: Array) -> Array:
        """Return ``(clips, classes)`` probabilities, which sum to 1 over the classes."""
        return np.asarray(softmax(self.decisions(features), axis=1))

    def predict(self, features: Array) -> Array:
        """Return each clip's class with the highest probability, the first of equal ones, ``(clips,)``."""
        chosen: Array = self.classes[self.decisions(features).argmax(axis=1)]
        return chosen


def fit_path(features: Array, answers: Array, strengths: Sequence[float]) -> list[SoftmaxRegression]:
    """Fit one classifier for each strength on standardised features.

    Problems with a few hundred clips run fastest on one thread; the caller must limit threads.

    Args:
        features: ``(clips, dim)`` of the training clips, finite, not standardised.
        answers: ``(clips,)``, each clip's class.
        strengths: see ``optima``.

    Raises:
        UserError: all clips have the same class; or see ``optima``.
    """
    classes, targets = np.unique(answers, return_inverse=True)
    if len(classes) < 2:
        raise UserError(f"a classifier needs at least two classes to train on, but all clips are {classes.tolist()}")
    standard, centre, scale = _standardised(features)
    found = zip(strengths, optima(standard, targets, strengths), strict=True)
    return [SoftmaxRegression(classes, centre, scale, strength, optimum) for strength, optimum in found]


def optima(standard: Array, targets: Array, strengths: Sequence[float], tolerance: float = TOLERANCE) -> list[Optimum]:
    """Find the optimum for each strength, each starting from the one before: increasing strengths are fastest.

    Args:
        standard: ``(clips, dim)`` float64, used as it is; it may be overwritten.
        targets: ``(clips,)`` int64, classes numbered from 0, each of which has a clip.
        strengths: inverse L2 strengths, scikit-learn's ``C``, each above 0.
        tolerance: see ``TOLERANCE``.

    Raises:
        UserError: a strength is so high that rounding keeps the gradient above ``tolerance``.
    """
    reduced = _Reduced(standard)
    problem = _Problem(reduced.clips, targets)
    found, parameters = [], np.zeros((reduced.clips.shape[1] + 1, int(targets.max()) + 1))
    for strength in strengths:
        parameters, gradient, steps = problem.fit(strength, parameters, tolerance)
        found.append(Optimum(reduced.restored(parameters[:-1]), parameters[-1], gradient, steps))
    return found


def held_out(features: Array, answers: Array, sides: Sequence[Side], strengths: Sequence[float]) -> Array:
    """Decide on clips with classifiers that were not trained on them.

    Args:
        features: ``(clips, dim)``, finite.
        answers: ``(clips,)``, each clip's class.
        sides: divisions of the clips; each clip must be decided on in exactly one, as in cross-validation.
        strengths: as in ``fit_path``.

    Returns:
        ``(strengths, clips)`` classes.
    """
    predicted = np.empty((len(strengths), len(answers)), answers.dtype)
    for train, test in sides:
        for row, fit in zip(predicted, fit_path(features[train], answers[train], strengths), strict=True):
            row[test] = fit.predict(features[test])
    return predicted


def _standardised(features: Array) -> tuple[Array, Array, Array]:
    """Return standardised features, their means and standard deviations, by scikit-learn's rule for constant ones."""
    values = features.astype(np.float64)
    centre = values.mean(axis=0)
    values -= centre
    variance = np.einsum("ij,ij->j", values, values) / len(values)
    epsilon = np.finfo(np.float64).eps
    constant = variance <= len(values) * epsilon * variance + (len(values) * centre * epsilon) ** 2
    scale = np.where(constant, 1.0, np.sqrt(variance))
    values /= scale
    return values, centre, scale


class _Reduced:
    """Clips in at most as many dimensions as there are clips, with the same scalar products."""

    def __init__(self, standard: Array) -> None:
        self.clips = standard
        self._rotation: tuple[Array, Array] | None = None
        count, dim = standard.shape
        if count < dim:
            packed, tau, _, _ = lapack.dgeqrf(standard.T, lwork=64 * dim, overwrite_a=True)
            self.clips = np.ascontiguousarray(np.triu(packed[:count]).T)
            self._rotation = packed, tau

    def restored(self, weights: Array) -> Array:
        """Return the weights of the standardised features, ``(dim, classes)``."""
        if self._rotation is None:
            return weights
        packed, tau = self._rotation
        padded = np.zeros((len(packed), weights.shape[1]), order="F")
        padded[: len(weights)] = weights
        rotated, _, _ = lapack.dormqr("L", "N", packed, tau, padded, 64 * len(packed), overwrite_c=True)
        return np.ascontiguousarray(rotated)


class _Problem:
    """``J`` of one training side. Parameters are ``(dim + 1, classes)``, the weights and below them the intercepts."""

    def __init__(self, clips: Array, targets: Array) -> None:
        self.inputs = np.column_stack((clips, np.ones(len(clips))))
        self.penalty = np.ones((self.inputs.shape[1], 1))
        self.penalty[-1] = 0.0
        counts = np.bincount(targets)
        self.targets = np.eye(len(counts))[targets]
        self.balance = (len(targets) / (len(counts) * counts))[targets][:, None]

    def fit(self, strength: float, parameters: Array, tolerance: float) -> tuple[Array, float, int]:
        """Return the optimum, the norm of the gradient there, and the number of Newton steps from ``parameters``."""
        costs = self.balance * (strength / 2 if self.targets.shape[1] == 2 else strength)
        factor, whitened = self._whitened(costs)
        values = self.inputs @ parameters
        before = np.inf
        for step in range(MOST_STEPS):
            shares = softmax(values, axis=1)
            gradient = self.inputs.T @ (costs * (shares - self.targets)) + self.penalty * parameters
            norm = float(np.linalg.norm(gradient))
            if norm <= tolerance:
                return parameters, norm, step
            # Steps far from the optimum need not be exact (Eisenstat and Walker 1996, choice 2).
            precision = max(min(0.1, (norm / before) ** 2), 0.1 * tolerance / norm, 1e-4)
            turned = solve_triangular(factor, gradient, lower=True, check_finite=False)
            turned = _direction(whitened, shares, costs, turned, precision)
            direction = solve_triangular(factor, turned, lower=True, trans="T", check_finite=False)
            length = self._length(parameters, values, costs, direction, float(np.vdot(gradient, direction)))
            if not length:
                break
            parameters = parameters + length * direction
            values = self.inputs @ parameters
            before = norm
        raise UserError(
            f"logistic regression at C = {strength:g} does not converge to a gradient of {tolerance:g}: "
            f"it stays at {norm:.2g}; give a lower C"
        )

    def _whitened(self, costs: Array) -> tuple[Array, Array]:
        """Return ``L`` and the inputs times ``L^-T``, with ``L L^T`` the Hessian at equal probabilities.

        That Hessian is the same for each class if rows of parameters sum to 0 over the classes, as all rows here do.
        """
        weighted = self.inputs * np.sqrt(costs / self.targets.shape[1])
        hessian = weighted.T @ weighted
        hessian[np.diag_indices_from(hessian)] += self.penalty[:, 0]
        factor = cholesky(hessian, lower=True, overwrite_a=True, check_finite=False)
        whitened = solve_triangular(factor, self.inputs.T, lower=True, check_finite=False).T
        return factor, np.ascontiguousarray(whitened)

    def _length(self, parameters: Array, values: Array, costs: Array, direction: Array, slope: float) -> float:
        """Halve a step until ``J`` falls (Armijo's rule). Returns 0 if it does not, because ``J`` is rounded."""
        moved, length = self.inputs @ direction, 1.0
        start = self._loss(parameters, values, costs)
        for _ in range(MOST_HALVINGS):
            reached = self._loss(parameters + length * direction, values + length * moved, costs)
            # Close to the optimum, J falls by less than its rounding.
            if reached <= start + 1e-4 * length * slope + 1e-12 * abs(start):
                return length
            length /= 2
        return 0.0

    def _loss(self, parameters: Array, values: Array, costs: Array) -> float:
        fit = -float(np.vdot(costs * self.targets, log_softmax(values, axis=1)))
        return fit + 0.5 * float(np.sum(self.penalty * parameters**2))


def _direction(whitened: Array, shares: Array, costs: Array, gradient: Array, precision: float) -> Array:
    """Solve Hessian @ direction = -gradient by conjugate gradients, to a relative ``precision``.

    For whitened parameters the Hessian at equal probabilities is the identity, and the penalty is the identity minus
    the clips' part of it: so only the difference of the clips' part from that at equal probabilities is multiplied.
    """
    spread, equal = costs * shares, costs / shares.shape[1]
    direction, rest = np.zeros_like(gradient), -gradient
    toward, square = rest.copy(), float(np.vdot(rest, rest))
    goal = precision**2 * square
    for _ in range(MOST_PRODUCTS):
        moved = whitened @ toward
        inner = (shares * moved).sum(axis=1, keepdims=True)
        bent = whitened.T @ (spread * (moved - inner) - equal * moved) + toward
        length = square / float(np.vdot(toward, bent))
        direction += length * toward
        rest -= length * bent
        before, square = square, float(np.vdot(rest, rest))
        if square <= goal:
            break
        toward = rest + (square / before) * toward
    return direction
