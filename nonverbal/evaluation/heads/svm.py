"""A linear support vector machine on one layer of frozen embeddings (Emotion information recovery, 2024)."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from nonverbal.evaluation.heads.base import Job, Pooled
from nonverbal.evaluation.heads.choosing import FittedOnLayer, layer_and_strength, one_layer, one_thread
from nonverbal.tasks.folds import Fold

STRENGTHS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Costs ``C`` to try. The paper searches a grid but does not print it: this one goes from almost the means of the
classes to machines that separate all clips, for vectors of 100 to 6000 standardised values."""

LAYER_STRENGTH = 1e-3
"""The ``C`` at which layers are compared. The paper uses the last layer, and does not say how it is pooled."""


class Svm:
    """A linear support vector machine for each pair of classes, in which all classes have equal weight.

    Using only the inner folds, features are standardised, the layer is chosen at ``C`` = ``LAYER_STRENGTH``, then ``C``
    among ``STRENGTHS`` on that layer (``layer_and_strength``). The machine is then trained on the job's own rows. It is
    scikit-learn's ``SVC(kernel="linear", class_weight="balanced")``; the paper does not say whether it weights classes,
    but UAR, which it reports, does.
    """

    gives: Literal["decision_values"] = "decision_values"

    def fit(self, jobs: Iterable[Job[Pooled]]) -> Iterator[FittedOnLayer]:
        """Yield a machine for each job, fitted when it is needed."""
        for job in jobs:
            with one_thread():
                layer, C, by_layer = layer_and_strength(job, _held_out, STRENGTHS, LAYER_STRENGTH)
                rows = job.own_rows()
                (machine,) = machines(one_layer(job.features[rows], layer), job.labels[rows], [C])
            details = {"support_vectors": len(machine.classifier.support_)}
            yield FittedOnLayer({"layer": layer, "C": C}, by_layer, details, layer, machine.decide)


@dataclass(frozen=True)
class Machine:
    """A fitted machine."""

    scaler: Any
    standard: np.ndarray
    """Standardised training clips, ``(clips, dim)``."""
    classifier: Any
    """Classifier of scikit-learn, on scalar products with the training clips."""

    def decide(self, features: np.ndarray) -> np.ndarray:
        """Return decision values ``(clips, classes)`` for ``(clips, dim)``, for the classes of its training clips.

        With two classes they are minus and plus the signed distance. With more they are, as in scikit-learn, the number
        of other classes against which a class wins, and within less than 1/2 of it how clearly it wins.
        """
        products = self.scaler.transform(features) @ self.standard.T
        values: np.ndarray = self.classifier.decision_function(products)
        return np.stack([-values, values], axis=1) if values.ndim == 1 else values


def machines(features: np.ndarray, labels: np.ndarray, strengths: Sequence[float]) -> Iterator[Machine]:
    """Yield a machine for each strength. The scalar products of all clips, ``(clips, clips)``, are computed once."""
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    scaler = StandardScaler().fit(features)
    standard = scaler.transform(features)
    products = standard @ standard.T
    for C in strengths:
        classifier = SVC(C=C, kernel="precomputed", class_weight="balanced").fit(products, labels)
        yield Machine(scaler, standard, classifier)


def _held_out(
    features: np.ndarray, labels: np.ndarray, inner: Sequence[Fold], strengths: Sequence[float]
) -> np.ndarray:
    decided = np.empty((len(strengths), len(labels)), labels.dtype)
    for fold in inner:
        fitted = machines(features[fold.train], labels[fold.train], strengths)
        for row, machine in zip(decided, fitted, strict=True):
            row[fold.test] = machine.classifier.classes_[machine.decide(features[fold.test]).argmax(axis=1)]
    return decided
