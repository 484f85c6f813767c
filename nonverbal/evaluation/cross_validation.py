"""Fits and tests a head on every fold of a task."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nonverbal.errors import UserError
from nonverbal.evaluation.features import Features
from nonverbal.evaluation.frame_rows import FrameRows
from nonverbal.evaluation.heads.base import Head, Job
from nonverbal.tasks.divisions import plan
from nonverbal.tasks.folds import Fold
from nonverbal.tasks.metrics import metrics
from nonverbal.tasks.protocols import GROUPED, Protocol


@dataclass(frozen=True)
class FoldResult:
    """The decisions of one fold."""

    fold: str
    test: np.ndarray
    """Rows of the test side, ``(tests,)`` int64."""
    train_clips: int
    """Number of clips that the classifier was fitted to."""
    classes: list[str]
    """Names of the columns of ``values``, sorted."""
    values: np.ndarray
    """The head's values for each test row and class, ``(tests, classes)``."""
    chosen: dict[str, float | str]
    """What was chosen on the training side."""
    inner_uar: list[float]
    """UAR of each layer on the training side; empty if layers were not compared."""
    details: dict[str, Any]
    """Further facts that the head reports about its training."""
    metrics: dict[str, float]
    """See ``nonverbal.tasks.metrics.metrics``."""

    @property
    def predicted(self) -> list[str]:
        """The class of each test row: that with the highest value, or the first of equal ones."""
        return [self.classes[number] for number in self.values.argmax(axis=1)]


def cross_validate(
    head: Head[Any],
    features: Features,
    labels: Sequence[str],
    groups: Sequence[str],
    folds: Sequence[Fold],
    seed: int,
    protocol: Protocol = GROUPED,
    one_frame: bool = False,
) -> Iterator[FoldResult]:
    """Fit ``head`` to each fold's training side, test it, and yield the decisions fold by fold.

    The test side is read once, after all choices, unless the protocol makes choices on it.

    Args:
        head: fits the classifiers.
        features: features of all clips, finite; see ``Features``.
        labels: each clip's class.
        groups: each clip's group, as used to make ``folds``.
        folds: the folds to train and test on.
        seed: draws the inner folds, and everything random in the head.
        protocol: the protocol of ``folds``; it says where choices are made, and how classes are counted.
        one_frame: see ``Job``.

    Raises:
        UserError: an embedding is not finite, or a training side has too few groups for inner folds.
    """
    if isinstance(features, np.ndarray):
        _check(features)
    classes = sorted(set(labels))
    answers = np.array([classes.index(label) for label in labels])
    fitted_to: list[int] = []
    tested: deque[Any] = deque()

    def jobs() -> Iterator[Job[Any]]:
        for fold in folds:
            own = plan(protocol, fold, labels, groups, seed)
            fitted_to.append(len(own.training))
            its_groups = [groups[row] for row in own.rows]
            sides = own.inner, seed, own.training
            found = _of_fold(features, fold, own.rows[own.training], seed)
            tested.append(found[fold.test])
            yield Job(found[own.rows], answers[own.rows], classes, its_groups, *sides, one_frame)

    for number, (fold, fitted) in enumerate(zip(folds, head.fit(jobs()), strict=True)):
        values = fitted.predict(tested.popleft())
        scores = metrics(answers[fold.test], values.argmax(axis=1), protocol.counting == "voc2vec")
        chosen, curve = dict(fitted.chosen), list(fitted.inner_uar)
        details = dict(fitted.details)
        yield FoldResult(fold.name, fold.test, fitted_to[number], classes, values, chosen, curve, details, scores)


def _of_fold(features: Features, fold: Fold, training: np.ndarray, seed: int) -> Any:
    if isinstance(features, np.ndarray | FrameRows):
        return features
    found = features.of(fold, training, seed)
    if isinstance(found, np.ndarray):
        _check(found)
    return found


def _check(embeddings: np.ndarray) -> None:
    unfit = ~np.isfinite(embeddings).all(axis=tuple(range(1, embeddings.ndim)))
    if unfit.any():
        raise UserError(
            f"{unfit.sum()} of {len(unfit)} clips have embeddings that are not finite, the first being clip "
            f"{unfit.argmax()}; the encoder's weights or the sound are damaged: run nonverbal prepare again"
        )
