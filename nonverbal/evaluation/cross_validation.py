"""A head fitted and tested on every fold of a task."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nonverbal.errors import UserError
from nonverbal.evaluation.heads.base import Head, Job, Pooled
from nonverbal.tasks.folds import Fold
from nonverbal.tasks.metrics import metrics


@dataclass(frozen=True)
class FoldResult:
    """One fold's decisions."""

    fold: str
    test: np.ndarray
    """Rows tested on, ``(tests,)`` int64."""
    classes: list[str]
    """Names of the columns of ``values``, sorted."""
    values: np.ndarray
    """What the head gives for each test row and class, ``(tests, classes)``."""
    chosen: dict[str, float | str]
    """What was chosen inside the training side."""
    inner_uar: list[float]
    """UAR of each layer inside the training side; empty where layers were not compared."""
    details: dict[str, Any]
    """What the head says of its training besides."""
    metrics: dict[str, float]
    """See ``nonverbal.tasks.metrics.metrics``."""

    @property
    def predicted(self) -> list[str]:
        """Class of each test row: that of the highest value, the first of equals."""
        return [self.classes[number] for number in self.values.argmax(axis=1)]


def cross_validate(
    head: Head[Pooled],
    embeddings: Pooled,
    labels: Sequence[str],
    groups: Sequence[str],
    folds: Sequence[Fold],
    seed: int,
) -> Iterator[FoldResult]:
    """Fit ``head`` to each fold's training side, read the test side once, and yield the decisions fold by fold.

    Args:
        head: fits the classifiers.
        embeddings: ``(clips, layers, dim)``, finite.
        labels: each clip's class.
        groups: each clip's group, the same from which ``folds`` were made.
        folds: what to train and test on.
        seed: draws the inner folds, and whatever the head draws.

    Raises:
        UserError: an embedding is not finite, or a training side has too few groups for inner folds.
    """
    unfit = ~np.isfinite(embeddings).all(axis=(1, 2))
    if unfit.any():
        raise UserError(
            f"{unfit.sum()} of {len(unfit)} clips have embeddings that are not finite, the first is clip "
            f"{unfit.argmax()}; the encoder's weights are damaged, or the sound is: run nonverbal prepare again"
        )
    classes = sorted(set(labels))
    answers = np.array([classes.index(label) for label in labels])
    jobs = (
        Job(
            embeddings[fold.train],
            answers[fold.train],
            classes,
            [groups[row] for row in fold.train],
            fold.inside(labels, groups, seed),
            seed,
        )
        for fold in folds
    )
    for fold, fitted in zip(folds, head.fit(jobs), strict=True):
        values = fitted.predict(embeddings[fold.test])
        scores = metrics(answers[fold.test], values.argmax(axis=1))
        chosen, curve = dict(fitted.chosen), list(fitted.inner_uar)
        yield FoldResult(fold.name, fold.test, classes, values, chosen, curve, dict(fitted.details), scores)
