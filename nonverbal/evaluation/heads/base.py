"""The interfaces of heads, small models that learn classes from frozen features."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar

import numpy as np

from nonverbal.tasks.folds import Fold

Pooled = np.ndarray
"""Features of some clips: ``(clips, layers, dim)`` float32, finite."""

Frames = Sequence[np.ndarray]
"""Features of some clips frame by frame: ``(layers, frames, dim)`` float for each, finite; numbers of frames differ."""

F = TypeVar("F", contravariant=True)
G = TypeVar("G")


@dataclass(frozen=True)
class Job(Generic[G]):
    """Clips to fit one classifier to: a training side, and the test side only if the protocol makes choices on it."""

    features: G
    """``Pooled`` or ``Frames``, whichever the head reads."""
    labels: np.ndarray
    """Each clip's class, ``(clips,)`` int64, as a position in ``classes``."""
    classes: Sequence[str]
    """Names of the classes, each of which has clips."""
    groups: Sequence[str]
    """Each clip's group."""
    inner: Sequence[Fold]
    """Folds on which a head makes all its choices, by its decisions on their test rows, which need not be all rows.
    Each trains every class. Empty if there are too few clips to divide: a head then uses its defaults."""
    seed: int
    """Seed of everything random in a head."""
    training: np.ndarray | None = None
    """Rows to which the classifier is fitted after all choices, increasing, with clips of every class; None for all.
    Rows that are neither here nor in ``inner`` are not read."""

    one_frame: bool = False
    """Whether a clip is one vector. The values of ``Pooled`` are then this vector; otherwise they are means over
    frames, followed by as many standard deviations."""

    def own_rows(self) -> np.ndarray:
        """Return ``training``, ``(rows,)`` int64."""
        return np.arange(len(self.labels)) if self.training is None else self.training


class Fitted(Protocol[F]):
    """A classifier that was fitted to a job."""

    @property
    def chosen(self) -> Mapping[str, float | str]:
        """What was chosen on the training side, by name; empty if nothing was. Tables show the first entry."""

    @property
    def inner_uar(self) -> Sequence[float]:
        """UAR of each layer on the training side, from layer 0; empty if layers were not compared."""

    @property
    def details(self) -> Mapping[str, Any]:
        """Further facts for scores, by name: plain numbers, text and lists; may be empty.

        ``parameters`` is the number of fitted values, ``stated`` the number that the paper states.
        """

    def predict(self, features: F) -> np.ndarray:
        """Return what the head ``gives`` for each clip and class, ``(clips, classes)`` float64.

        The decision is the class with the highest value, or the first of equal ones.
        """


class Head(Protocol[G]):
    """Fits classifiers. It is in ``nonverbal.evaluation.heads.HEADS`` under its name."""

    @property
    def gives(self) -> Literal["probabilities", "decision_values"]:
        """What ``predict`` of its classifiers returns: probabilities sum to 1, decision values need not."""

    def fit(self, jobs: Iterable[Job[G]]) -> Iterator[Fitted[G]]:
        """Yield a classifier for each job, in their order.

        Jobs are those of several folds, and may be of several encoders. A head that reads one job at a time needs
        memory for one; a head that fits many together makes a list of them first.
        """
