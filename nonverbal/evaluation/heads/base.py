"""What a head is: something small that learns classes from frozen features."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar

import numpy as np

from nonverbal.tasks.folds import Fold

Pooled = np.ndarray
"""Features of some clips: ``(clips, layers, dim)`` float32, finite."""

Frames = Sequence[np.ndarray]
"""Features of some clips frame by frame: ``(layers, frames, dim)`` float for each, finite; frames differ."""

F = TypeVar("F", contravariant=True)
G = TypeVar("G")


@dataclass(frozen=True)
class Job(Generic[G]):
    """Clips to fit one classifier to: a training side, and the test side only where the protocol chooses on it."""

    features: G
    """``Pooled`` or ``Frames``, as the head reads them."""
    labels: np.ndarray
    """Each clip's class, ``(clips,)`` int64, a position in ``classes``."""
    classes: Sequence[str]
    """Names of the classes, each of which has clips."""
    groups: Sequence[str]
    """Each clip's group."""
    inner: Sequence[Fold]
    """Whatever a head chooses, it chooses between these folds, by its decisions on the rows that they test, which need
    not be all. Each trains every class. None where so few clips cannot be divided: a head then takes what it takes by
    default."""
    seed: int
    """Of all that a head draws."""
    training: np.ndarray | None = None
    """Rows to which the classifier is fitted when all is chosen, increasing, with clips of every class; None for all.
    Rows that are neither here nor in ``inner`` are not read."""

    one_frame: bool = False
    """Whether a clip is one vector. The values of ``Pooled`` are then that, else means over frames and as many standard
    deviations."""

    def own_rows(self) -> np.ndarray:
        """Return ``training``, ``(rows,)`` int64."""
        return np.arange(len(self.labels)) if self.training is None else self.training


class Fitted(Protocol[F]):
    """A classifier that was fitted to a job."""

    @property
    def chosen(self) -> Mapping[str, float | str]:
        """What was chosen inside the training side, by name; empty where nothing was. Tables show the first."""

    @property
    def inner_uar(self) -> Sequence[float]:
        """UAR of each layer inside the training side, from layer 0; empty where layers were not compared."""

    @property
    def details(self) -> Mapping[str, Any]:
        """What else scores keep of it, by name: plain numbers, text and lists; empty where there is nothing to say.

        ``parameters`` is how many numbers were fitted, ``stated`` the count that the paper states.
        """

    def predict(self, features: F) -> np.ndarray:
        """Return what the head ``gives`` for each clip and class, ``(clips, classes)`` float64.

        The decision is the class of the highest value, the first of equals.
        """


class Head(Protocol[G]):
    """Fits classifiers. Stands in ``nonverbal.evaluation.heads.HEADS`` under its name."""

    @property
    def gives(self) -> Literal["probabilities", "decision_values"]:
        """What ``predict`` of its classifiers returns: probabilities sum to 1, decision values need not."""

    def fit(self, jobs: Iterable[Job[G]]) -> Iterator[Fitted[G]]:
        """Yield a classifier for each job, in their order.

        Jobs are those of several folds, and may be of several encoders. A head that takes one at a time needs the
        memory of one; a head that fits many together makes a list of them first.
        """
