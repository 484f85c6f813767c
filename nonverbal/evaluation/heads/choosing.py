"""How a head with one strength chooses a layer and that strength on the training side."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from nonverbal.evaluation.heads.base import Job, Pooled
from nonverbal.tasks.folds import Fold
from nonverbal.tasks.metrics import uar


class HeldOut(Protocol):
    """Decides on clips with classifiers that were not trained on them."""

    def __call__(
        self, features: np.ndarray, labels: np.ndarray, inner: Sequence[Fold], strengths: Sequence[float]
    ) -> np.ndarray:
        """Return the class of each clip for each strength, ``(strengths, clips)``; undefined for untested clips.

        Args:
            features: ``(clips, dim)`` float64, not standardised.
            labels: ``(clips,)``.
            inner: folds, each of which trains every class.
            strengths: each above 0.
        """


def layer_and_strength(
    job: Job[Pooled], held_out: HeldOut, strengths: Sequence[float], layer_strength: float
) -> tuple[int, float, list[float]]:
    """Choose the layer with the highest UAR at ``layer_strength``, then a strength on it; if equal, the lowest.

    The UAR is that of all inner test rows together. Without inner folds, the last layer and ``layer_strength`` are
    used.

    Returns:
        the layer, the strength, and the UAR of each layer, which is empty without inner folds.
    """
    layers = job.features.shape[1]
    if not job.inner:
        return layers - 1, layer_strength, []
    tested = np.concatenate([fold.test for fold in job.inner])

    def by_strength(layer: int, tried: Sequence[float]) -> list[float]:
        decided = held_out(one_layer(job.features, layer), job.labels, job.inner, tried)
        return [uar(job.labels[tested], row[tested]) for row in decided]

    by_layer = [by_strength(layer, [layer_strength])[0] for layer in range(layers)]
    layer = int(np.argmax(by_layer))
    return layer, strengths[int(np.argmax(by_strength(layer, strengths)))], by_layer


@dataclass(frozen=True)
class FittedOnLayer:
    """A classifier on one layer."""

    chosen: dict[str, float | str]
    """``layer``, where 0 is the input of the first transformer block, and ``C``, which is chosen after the layer."""
    inner_uar: list[float]
    """UAR at the strength under which layers are compared."""
    details: dict[str, Any]
    layer: int
    values: Callable[[np.ndarray], np.ndarray]
    """Returns what the head gives, ``(clips, classes)``, for features ``(clips, dim)`` float64."""

    def predict(self, features: Pooled) -> np.ndarray:
        """Return what the head gives, ``(clips, classes)``, for features ``(clips, layers, dim)``."""
        with one_thread():
            return self.values(one_layer(features, self.layer))


def one_layer(features: Pooled, layer: int) -> np.ndarray:
    """Return one layer in float64: in float32, the position of an array in memory can change some decisions."""
    return features[:, layer].astype(np.float64)


def one_thread() -> AbstractContextManager[object]:
    """Keep numerical libraries to one thread: problems of this size run up to ten times slower on two."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    limits: AbstractContextManager[object] = threadpool_limits(1)
    return limits
