"""What neural heads share: epochs are chosen on the inner folds, then the whole training side is trained on."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Generic, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from nonverbal.evaluation.heads.base import Job
from nonverbal.evaluation.heads.settings import NeuralSettings
from nonverbal.evaluation.heads.training import Gather, Network, Unit, at_a_time, build, together, train
from nonverbal.tasks.metrics import uar

G = TypeVar("G")

DEVICE = torch.device("cpu")
"""The device on which heads are trained."""


@dataclass(frozen=True)
class FittedNetwork(Generic[G]):
    """A trained network."""

    chosen: dict[str, float | str]
    """``epochs``."""
    inner_uar: list[float]
    """Empty, because layers are not compared."""
    details: dict[str, Any]
    network: Network
    read: Callable[[G], Any]
    gather: Gather

    def predict(self, features: G) -> np.ndarray:
        """Return class probabilities ``(clips, classes)``."""
        own = self.read(features)
        rows = np.arange(len(own))
        parts = []
        size = self.network.decide_rows
        for start in range(0, len(rows), size):
            inputs = self.gather([own], [rows[start : start + size]])
            with torch.no_grad():
                parts.append(self.network(tuple(value[0] for value in inputs), None))
        probabilities: np.ndarray = torch.cat(parts).double().softmax(dim=1).numpy()
        return probabilities


class NeuralHead(NeuralSettings, Generic[G]):
    """A head that trains a network.

    Only the training side is used: one network is trained for each inner fold, and decides on the inner test clips
    after each epoch. The number of epochs with the highest UAR over all of these clips is chosen, or the lowest if
    several are equal; training stops after ``patience`` epochs without a higher UAR. A network is then trained on the
    whole training side for this number of epochs. Initial weights, the order of clips and dropout are drawn by the
    job's seed.
    """

    gives: Literal["probabilities"] = "probabilities"
    stated: ClassVar[str | None] = None
    """The number of parameters that the paper states."""

    def read(self, features: G, one_frame: bool) -> Any:
        """Return what the network reads of features, with one entry per clip; see ``Job`` for ``one_frame``."""
        raise NotImplementedError

    def network(self, features: Any, rows: np.ndarray, classes: int) -> Network:
        """Return a new network that standardises by ``rows`` of ``features``, the rows that are trained on."""
        raise NotImplementedError

    def gather(self, features: Sequence[Any], rows: Sequence[np.ndarray]) -> tuple[Tensor, ...]:
        """See ``Gather``."""
        raise NotImplementedError

    def fit(self, jobs: Iterable[Job[G]]) -> Iterator[FittedNetwork[G]]:
        """Yield a trained network for each job; as many jobs are read at a time as are trained in one computation."""
        group: list[_Course] = []
        for job in jobs:
            course = self._course(job)
            if group and not _fits(course, group):
                yield from self._trained(group)
                group = []
            group.append(course)
        yield from self._trained(group)

    def _course(self, job: Job[G]) -> "_Course":
        features = self.read(job.features, job.one_frame)

        def unit(train: np.ndarray, test: np.ndarray) -> Unit:
            network = build(lambda: self.network(features, train, len(job.classes)), job.seed)
            return Unit(network, features, job.labels, train, test, self.epochs, job.seed, self.epochs)

        inner = [unit(fold.train, fold.test) for fold in job.inner]
        last = unit(job.own_rows(), np.empty(0, np.int64))
        return _Course(inner, last, self.patience, partial(self.read, one_frame=job.one_frame))

    def _trained(self, group: "list[_Course]") -> Iterator[FittedNetwork[G]]:
        """Choose the number of epochs for each job, and train its network for this number."""
        courses = {unit: course for course in group for unit in course.inner}
        for unit in self._train(list(courses)):
            courses[unit].review()
        last = [course.last for course in group]
        for course in group:
            course.last.epochs = course.epochs
        for _ in self._train([course.last for course in group if not course.recall()]):
            pass
        for course in group:
            chosen: dict[str, float | str] = {"epochs": course.last.epochs}
            details, network = self._details(course.last, len(last)), course.last.network
            yield FittedNetwork(chosen, [], details, network, course.read, self.gather)

    def _details(self, unit: Unit, units: int) -> dict[str, Any]:
        parameters = count(unit.network)
        computed = at_a_time(units, parameters, DEVICE)
        details: dict[str, Any] = {"parameters": parameters, "together": computed, "device": DEVICE.type}
        if self.stated:
            details["stated"] = self.stated
        return details | unit.network.details()

    def _train(self, units: Sequence[Unit]) -> Iterator[Unit]:
        """Train units in several computations, as ``at_a_time`` determines, which take turns epoch by epoch."""
        if not units:
            return
        size = at_a_time(len(units), count(units[0].network), DEVICE)
        parts = [units[start : start + size] for start in range(0, len(units), size)]
        running = [train(part, self.gather, self, DEVICE) for part in parts]
        while running:
            for computation in list(running):
                if unit := next(computation, None):
                    yield unit
                else:
                    running.remove(computation)


class _Course:
    """The networks of one job: those of its inner folds, with their joint UAR after each epoch, and the last one."""

    def __init__(self, inner: list[Unit], last: Unit, patience: int, read: Callable[[Any], Any]) -> None:
        self.inner, self.last, self.patience, self.read = inner, last, patience, read
        self.curve: list[float] = []
        # If a protocol makes choices on the fold that it reports, the last network is one that was already trained.
        self.trained = len(inner) == 1 and np.array_equal(inner[0].train, last.train)

    @property
    def epochs(self) -> int:
        """The number of epochs with the highest UAR so far, the lowest if equal; without inner folds, all epochs."""
        return int(np.argmax(self.curve)) + 1 if self.curve else self.last.epochs

    def review(self) -> None:
        """Score the epochs that all inner networks have completed; end their training if the UAR no longer rises."""
        answers = np.concatenate([unit.labels[unit.test] for unit in self.inner])
        while len(self.curve) < min(len(unit.decided) for unit in self.inner):
            decided = np.concatenate([unit.decided[len(self.curve)] for unit in self.inner])
            self.curve.append(uar(answers, decided))
        self.inner[0].wanted = self.trained and self.epochs == len(self.curve)
        if len(self.curve) - self.epochs >= self.patience:
            for unit in self.inner:
                unit.stopped = True

    def recall(self) -> bool:
        """Give the last network the weights of the chosen epoch, if an inner network has them; return whether so."""
        if self.trained:
            self.last.network.load_state_dict(self.inner[0].weights)
        return self.trained


def _fits(course: _Course, group: list[_Course]) -> bool:
    """Whether the inner networks of one more job can be trained in one computation with those of a group."""
    own, others = course.last.network, group[0].last.network
    alike = [value.shape for value in own.state_dict().values()] == [
        value.shape for value in others.state_dict().values()
    ]
    units = sum(len(member.inner) for member in [*group, course])
    return alike and units <= together(count(own), DEVICE)


def count(network: nn.Module) -> int:
    """Return how many values of a network are trained."""
    return sum(value.numel() for value in network.parameters())
