"""The linear probe: how much of the classes a straight line finds in frozen embeddings."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nonverbal.errors import UserError
from nonverbal.evaluation.folds import Fold, group_folds

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Inverse L2 strengths (scikit-learn's ``C``) that are tried, weakest fit first."""

LAYER_STRENGTH = 1e-2
"""The one ``C`` under which layers are compared."""

INNER_FOLDS = 3
"""Folds within a training side, by which layer and ``C`` are chosen."""


@dataclass(frozen=True)
class FoldResult:
    """One fold's decisions."""

    fold: str
    layer: int
    """Chosen inside the training side; 0 is the input to the first transformer block."""
    C: float
    """Chosen inside the training side, after the layer."""
    test: np.ndarray
    """Rows tested on, ``(tests,)`` int64."""
    predicted: list[str]
    """Class of each test row."""
    metrics: dict[str, float]
    """``uar``, ``accuracy`` and ``f1``, see ``metrics``."""


def linear_probe(
    embeddings: np.ndarray,
    labels: Sequence[str],
    groups: Sequence[str],
    folds: Sequence[Fold],
    seed: int,
    advance: Callable[[], object] = lambda: None,
) -> list[FoldResult]:
    """Train and test a multinomial logistic regression on every fold.

    Within each training side alone, by its own folds, which split no group either: features are standardised, the
    layer of highest UAR is chosen at ``C`` = ``LAYER_STRENGTH``, then ``C`` among ``STRENGTHS`` on that layer (the
    lowest of equals both times). The UAR compared is that of all inner test rows together. The classifier is then
    trained on the whole training side, and reads the test rows once. Classes weigh alike however many clips they have.

    Logistic regression rather than a linear SVM: measured on 2400 clips of 1536 values it converges in 0.04 to 0.2 s
    for every ``C`` of the grid on one core, where liblinear's SVM takes 2 to 85 s.

    Args:
        embeddings: ``(clips, layers, dim)``, finite.
        labels: each clip's class.
        groups: each clip's group, the same from which ``folds`` were made.
        folds: what to train and test on.
        seed: draws the inner folds.
        advance: called after each fold.

    Raises:
        UserError: an embedding is not finite, or a training side has too few groups for inner folds.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    if not np.isfinite(embeddings).all():
        raise UserError(
            f"{(~np.isfinite(embeddings).all(axis=(1, 2))).sum()} clips have embeddings that are not finite"
        )
    classes, kinds = np.array(labels), np.array(groups)
    results = []
    # Problems of this size run up to ten times slower on two threads than on one.
    with threadpool_limits(1):
        for fold in folds:
            inner = _inner_folds(classes[fold.train], kinds[fold.train], fold, seed)
            train, answers = embeddings[fold.train], classes[fold.train]
            layer, C = _choose(train, answers, inner)
            test = embeddings[fold.test, layer].astype(np.float64)
            predicted = _fit(train[:, layer].astype(np.float64), answers, C).predict(test)
            scores = metrics(classes[fold.test], predicted)
            results.append(FoldResult(fold.name, layer, C, fold.test, [str(name) for name in predicted], scores))
            advance()
    return results


def metrics(labels: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Return ``uar`` (mean recall over classes), ``accuracy`` and ``f1`` (mean F1 over classes), each in [0, 1].

    The classes are those that ``labels`` holds: a fold without clips of a class says nothing of its recall.
    """
    from sklearn.metrics import f1_score, recall_score

    present = np.unique(labels)
    return {
        "uar": float(recall_score(labels, predicted, labels=present, average="macro", zero_division=0)),
        "accuracy": float(np.mean(labels == predicted)),
        "f1": float(f1_score(labels, predicted, labels=present, average="macro", zero_division=0)),
    }


def _choose(train: np.ndarray, labels: np.ndarray, inner: list[Fold]) -> tuple[int, float]:
    layers = range(train.shape[1])
    by_layer = [_inner_uar(train[:, layer].astype(np.float64), labels, inner, LAYER_STRENGTH) for layer in layers]
    layer = int(np.argmax(by_layer))
    chosen = train[:, layer].astype(np.float64)
    by_strength = [_inner_uar(chosen, labels, inner, C) for C in STRENGTHS]
    return layer, STRENGTHS[int(np.argmax(by_strength))]


def _inner_uar(features: np.ndarray, labels: np.ndarray, inner: list[Fold], C: float) -> float:
    predicted = np.empty_like(labels)
    for fold in inner:
        predicted[fold.test] = _fit(features[fold.train], labels[fold.train], C).predict(features[fold.test])
    return metrics(labels, predicted)["uar"]


def _inner_folds(labels: np.ndarray, groups: np.ndarray, fold: Fold, seed: int) -> list[Fold]:
    """Divide a training side: into three folds, or two where it has no more groups."""
    try:
        return group_folds(labels.tolist(), groups.tolist(), min(INNER_FOLDS, len(set(groups))), seed)
    except UserError as error:
        raise UserError(
            f"layer and C cannot be chosen within the training side of fold {fold.name}: {error}"
        ) from error


def _fit(features: np.ndarray, labels: np.ndarray, C: float) -> Any:
    """Train on float64: in float32, where an array lies in memory decides on some clips."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifier = LogisticRegression(C=C, class_weight="balanced", max_iter=1000)
    return make_pipeline(StandardScaler(), classifier).fit(features, labels)
