"""What is learned of clips: how its objective is built, and how its decisions are scored."""

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
    """What a model made of the clips of a test side."""

    metrics: dict[str, float]
    rows: list[dict[str, Any]]
    """Of each clip, in the order of the test side: what its row of predictions has besides clip, group and fold."""
    details: dict[str, Any] = field(default_factory=dict)
    """What else is said of them."""


class Learner(ABC, Generic[Trained]):
    """What is learned of the clips of a task, by an objective of the kind ``Trained``."""

    def __init__(self, settings: FinetuneConfig, task: Task) -> None:
        self.settings, self.task = settings, task
        self.keys: dict[int, str] = {}
        """Of each seed, the hash of the encoder as it starts."""

    def encoder(self, seed: int) -> TunedEncoder:
        """Return the encoder as it starts; what is drawn of it is drawn from the seed.

        Raises:
            UserError: it cannot be read, or has other weights than it had: a run may write a better one meanwhile.
        """
        with quiet():
            encoder = open_tuned(self.settings.init, self.settings.encoder, seed)
        key = digest(encoder.model)
        if self.keys.setdefault(seed, key) != key:
            raise UserError(
                f"{self.settings.init} has other weights than when this command began, so folds would start from "
                "different ones; put those back and run the same command again, or start anew with another --out and a "
                "copy of the encoder that no run writes to"
            )
        return encoder

    @abstractmethod
    def build(self, seed: int) -> Trained:
        """Return the objective at its start, over ``encoder``."""

    @abstractmethod
    def encoder_of(self, objective: Trained) -> TunedEncoder:
        """Return the encoder that an objective trains."""

    @abstractmethod
    def targets(self, objective: Trained, fitted: np.ndarray) -> ClipTargets:
        """Return what is predicted of clips, where the positions ``fitted`` are fitted to."""

    @abstractmethod
    def test(self, objective: Trained, test: np.ndarray, batches: Iterable[Batch], processes: Processes) -> Tested:
        """Return what a trained objective makes of the clips at positions ``test``, which ``batches`` hold."""

    def inexpressible(self, objective: Trained) -> str | None:
        """Return why no model to use can be written of it; None where one can."""
        return None


class Classes(Learner[ClassificationObjective]):
    """One of several classes a clip."""

    @cached_property
    def labels(self) -> np.ndarray:
        """Each clip's class, ``(clips,)`` int64, a position among the classes."""
        places = {name: number for number, name in enumerate(self.task.classes)}
        return np.array([places[label] for label in self.task.labels], dtype=np.int64)

    def build(self, seed: int) -> ClassificationObjective:
        """Return the objective at its start."""
        return ClassificationObjective(self.encoder(seed), self.task.classes, self.settings.head, seed)

    def encoder_of(self, objective: ClassificationObjective) -> TunedEncoder:
        """Return its encoder."""
        return objective.encoder

    def targets(self, objective: ClassificationObjective, fitted: np.ndarray) -> ClipTargets:
        """Return the classes, weighted by how frequent they are among the clips that are fitted to."""
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
        """Return why transformers' own model cannot hold it; None where it can."""
        return objective.inexpressible()


def layer_details(objective: ClassificationObjective) -> dict[str, Any]:
    """Return what a head learned to weigh hidden states by, as scores keep it; empty where it reads the last alone.

    ``layer_weights``, 1 together, as the probe ``multilayer`` keeps them, and the layer of the first: 0, the input to
    the first block, which that probe leaves out.
    """
    shares = objective.head.shares()
    return {} if shares is None else {"layer_weights": shares.detach().cpu().tolist(), "first_layer": 0}
