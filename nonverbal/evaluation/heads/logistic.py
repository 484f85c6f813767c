"""The logistic probe: how well a linear classifier finds the classes in one layer of frozen embeddings."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import numpy as np

from nonverbal.evaluation.heads import softmax_regression
from nonverbal.evaluation.heads.base import Job, Pooled
from nonverbal.evaluation.heads.choosing import FittedOnLayer, layer_and_strength, one_layer, one_thread
from nonverbal.evaluation.heads.softmax_regression import fit_path
from nonverbal.tasks.folds import Fold

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Inverse L2 strengths (scikit-learn's ``C``) to try, from the strongest penalty on."""

LAYER_STRENGTH = 1e-2
"""The ``C`` at which layers are compared."""


class Logistic:
    """Multinomial logistic regression on one layer, in which all classes have equal weight.

    Using only the inner folds, features are standardised, the layer is chosen at ``C`` = ``LAYER_STRENGTH``, then ``C``
    among ``STRENGTHS`` on that layer (``layer_and_strength``). The classifier is then trained on the job's own rows.
    Each fit continues to the optimum described in ``softmax_regression``, so that decisions do not depend on how
    features are rotated.
    """

    gives: Literal["probabilities"] = "probabilities"

    def fit(self, jobs: Iterable[Job[Pooled]]) -> Iterator[FittedOnLayer]:
        """Yield a classifier for each job, fitted when it is needed."""
        for job in jobs:
            with one_thread():
                fitted = _fit_job(job)
            yield fitted


def _fit_job(job: Job[Pooled]) -> FittedOnLayer:
    layer, C, by_layer = layer_and_strength(job, _held_out, STRENGTHS, LAYER_STRENGTH)
    rows = job.own_rows()
    (classifier,) = fit_path(one_layer(job.features[rows], layer), job.labels[rows], [C])
    assert len(classifier.classes) == len(job.classes), "a class without clips"
    details = {"parameters": classifier.optimum.weights.size + classifier.optimum.intercepts.size}
    return FittedOnLayer({"layer": layer, "C": C}, by_layer, details, layer, classifier.probabilities)


def _held_out(
    features: np.ndarray, labels: np.ndarray, inner: Sequence[Fold], strengths: Sequence[float]
) -> np.ndarray:
    return softmax_regression.held_out(features, labels, [(fold.train, fold.test) for fold in inner], strengths)
