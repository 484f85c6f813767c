"""Learners: how the objective for a kind of task is built, and how its decisions are scored."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, TypeVar

import numpy as np

from nonverbal.batch import Batch
from nonverbal.data.batching.clips import ClipTargets
from nonverbal.errors import UserError
from nonverbal.evaluation.encoders.models import digest
from nonverbal.models.checkpoints.quiet import quiet
from nonverbal.models.tuned.base import TunedEncoder
from nonverbal.models.tuned.opening import open_tuned
from nonverbal.objectives.base import Objective
from nonverbal.objectives.classification import ClassificationObjective
from nonverbal.stages.finetuning.settings import FinetuneConfig
from nonverbal.stages.predicting import clip_probabilities
from nonverbal.tasks.metrics import metrics
from nonverbal.tasks.task import Task
from nonverbal.training.processes import Processes

Trained = TypeVar("Trained", bound=Objective)


@dataclass(frozen=True)
class Tested:
    """The result of a model on the clips of a test side."""

    metrics: dict[str, float]
    rows: list[dict[str, Any]]
    """For each clip, in the order of the test side, the columns of its prediction besides clip, group and fold."""
    details: dict[str, Any] = field(default_factory=dict)
    """Further values for the score's ``details``."""


class Learner(ABC, Generic[Trained]):
    """Builds, trains and tests objectives of the kind ``Trained`` on the clips of a task."""

    def __init__(self, settings: FinetuneConfig, task: Task) -> None:
        self.settings, self.task = settings, task
        self.keys: dict[int, str] = {}
        """By seed, the hash of the initial encoder."""

    def encoder(self, seed: int) -> TunedEncoder:
        """Return the initial encoder; weights that are drawn depend on the seed.

        Raises:
            UserError: it cannot be read, or its weights have changed since the first call: a run may have replaced it.
        """
        with quiet():
            encoder = open_tuned(self.settings.init, self.settings.encoder, seed)
        key = digest(encoder.model)
        if self.keys.setdefault(seed, key) != key:
            raise UserError(
                f"the weights of {self.settings.init} have changed since this command began, so folds would start from "
                "different weights; restore the old ones and run the same command again, or start again with another "
                "--out and a copy of the encoder that no run writes to"
            )
        return encoder

    @abstractmethod
    def build(self, seed: int) -> Trained:
        """Return the initial objective, which trains ``encoder(seed)``."""

    @abstractmethod
    def encoder_of(self, objective: Trained) -> TunedEncoder:
        """Return the encoder that an objective trains."""

    @abstractmethod
    def targets(self, objective: Trained, fitted: np.ndarray) -> ClipTargets:
        """Return the targets of clips. The run is fitted to those at the positions ``fitted``."""

    @abstractmethod
    def test(self, objective: Trained, test: np.ndarray, batches: Iterable[Batch], processes: Processes) -> Tested:
        """Return the result of a trained objective on the clips at the positions ``test``, which ``batches`` hold."""

    def inexpressible(self, objective: Trained) -> str | None:
        """Return why the final model cannot be written; None if it can."""
        return None


class Classes(Learner[ClassificationObjective]):
    """Learns to assign each clip one of several classes."""

    @cached_property
    def labels(self) -> np.ndarray:
        """The class of each clip, ``(clips,)`` int64, as a position among the classes."""
        places = {name: number for number, name in enumerate(self.task.classes)}
        return np.array([places[label] for label in self.task.labels], dtype=np.int64)

    def build(self, seed: int) -> ClassificationObjective:
        """Return the initial objective."""
        return ClassificationObjective(self.encoder(seed), self.task.classes, self.settings.head, seed)

    def encoder_of(self, objective: ClassificationObjective) -> TunedEncoder:
        """Return the encoder that an objective trains."""
        return objective.encoder

    def targets(self, objective: ClassificationObjective, fitted: np.ndarray) -> ClipTargets:
        """Return the classes, with weights by how frequent they are among the clips at the positions ``fitted``."""
        return objective.targets(self.labels, fitted)

    def test(
        self, objective: ClassificationObjective, test: np.ndarray, batches: Iterable[Batch], processes: Processes
    ) -> Tested:
        """Return the decisions, with the probability of each class."""
        places, probabilities = clip_probabilities(objective, batches, processes)
        of_place = dict(zip(places.tolist(), probabilities, strict=True))
        values = np.stack([of_place[place] for place in test.tolist()])
        decided = values.argmax(axis=1)
        voc2vec = self.task.division.protocol.counting == "voc2vec"
        rows = [
            {
                "predicted": self.task.classes[number],
                "probabilities": dict(zip(self.task.classes, own.tolist(), strict=True)),
            }
            for number, own in zip(decided, values, strict=True)
        ]
        return Tested(metrics(self.labels[test], decided, voc2vec), rows, layer_details(objective))

    def inexpressible(self, objective: ClassificationObjective) -> str | None:
        """Return why transformers' own model cannot represent the classifier; None if it can."""
        return objective.inexpressible()


def layer_details(objective: ClassificationObjective) -> dict[str, Any]:
    """Return the weights of layers that a head has learned, for a score's ``details``; empty for the last layer only.

    ``layer_weights`` sum to 1, as in scores of the probe ``multilayer``. The first of them is for layer 0, the input
    of the first block, which that probe leaves out.
    """
    shares = objective.head.shares()
    return {} if shares is None else {"layer_weights": shares.detach().cpu().tolist(), "first_layer": 0}
