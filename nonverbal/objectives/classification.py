"""Classification of clips: an encoder, a head on its frames, and a cross entropy with optional class weights.

Shapes: N rows (windows of clips), C clips, K classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nonverbal.batch import Batch, Loss, Metrics
from nonverbal.curves import Panel
from nonverbal.errors import check_ranges
from nonverbal.models.classifier_heads import ClassifierHead, HeadShape
from nonverbal.models.drawn import drawn_from
from nonverbal.models.functional import exact
from nonverbal.models.parts import Part
from nonverbal.models.tuned.base import TunedEncoder
from nonverbal.objectives.base import Best, Objective, Symptom
from nonverbal.objectives.class_targets import ClassTargets, class_weights
from nonverbal.objectives.classifier_files import Classifier, misfit, write_head, write_plain
from nonverbal.objectives.head_settings import HeadSettings

RECALL, F1 = "recall.", "f1."
"""Prefixes of a class in the names of its metrics."""

ENCODER, HEAD = "encoder.model.", "head."
"""Prefixes of the names of weights."""


@dataclass(frozen=True)
class ClassifierSettings(HeadSettings):
    """The classifier on an encoder's frames. Defaults are those of transformers' classifiers."""

    pooling: Literal["mean", "attentive"] = "mean"
    """How the frames of a clip become one vector: by their mean, or by a mean with weights that are the softmax of
    their products with a learned vector (Safari et al., 2020)."""
    layers: Literal["last", "weighted"] = "last"
    """The encoder's output, or a sum of all its hidden states, including the input of the first block, with learned
    weights of sum 1."""
    projection: int | None = None
    """Size of a linear layer, without activation, between frames and classes; 0: none. Unset: as in transformers'
    classifier for this kind of encoder (256 for wav2vec 2.0 and similar encoders, none for Audio Mamba)."""
    hidden: list[int] = field(default_factory=list)
    """Size of each hidden layer with ReLU between the pooled frames and the classes. Default: none, as in transformers.
    """
    dropout: float = 0.0
    """Share of the inputs of hidden layers and the last layer that training drops; 0 in transformers."""
    class_weights: Literal["balanced", "none"] = "balanced"
    """Weights of clips in the loss: balanced gives all classes the same total weight on the training side; none gives
    all clips the same weight."""
    choose: Literal["uar", "f1"] = "uar"
    """Validation metric by which the best epoch is chosen: unweighted average recall, or the mean of F1 over classes,
    as in voc2vec's code, where a class that is predicted but absent counts as 0."""
    mixup: float = 0.0
    """Mix another clip of the micro-batch into each clip, with a share from Beta(mixup, mixup) (Zhang et al., 2018: 0.1
    to 0.4). Default 0, because two voices at once do not sound like a clip of either class."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        super().__post_init__()
        check_ranges(
            self,
            "head",
            ("projection", (self.projection or 0) >= 0, "at least 0"),
            ("hidden", all(width >= 1 for width in self.hidden), "at least 1 for each layer"),
            ("dropout", 0 <= self.dropout < 1, "at least 0 and below 1"),
            ("mixup", self.mixup >= 0, "at least 0"),
        )


class ClassificationObjective(Objective):
    """An encoder, a head, and the loss. Its gradient is that of a weighted sum over clips."""

    shown = ("loss {loss:.3f}", "UAR {uar:.3f} (chance {chance:.3f})")
    panels = (
        *Objective.panels,
        Panel("uar", "unweighted average recall", "chance", "chance"),
        Panel("accuracy", "accuracy (share of clips)"),
    )

    def __init__(self, encoder: TunedEncoder, classes: Sequence[str], settings: ClassifierSettings, seed: int) -> None:
        """Put a new head on an encoder.

        Args:
            encoder: in float32.
            classes: their names, at least two, in the order of the logits.
            settings: of the head.
            seed: of the head's weights.

        Raises:
            UserError: spans of masked values are wider than a frame.
        """
        super().__init__()
        assert len(set(classes)) == len(classes) > 1, f"expected several different classes, but they are {classes}"
        self.masking = settings.masking(encoder)
        self.encoder, self.classes, self.settings = encoder, list(classes), settings
        self.account, self.warm_steps, self.symptoms = encoder.account, settings.head_steps, SYMPTOMS
        self.best = Best(settings.choose, highest=True)
        if settings.time_masking:
            encoder.learn_mask()
        with drawn_from(seed, 1):
            self.head = ClassifierHead(self._shape())

    def targets(self, labels: np.ndarray, fitted: np.ndarray) -> ClassTargets:
        """Return the targets of clips.

        Args:
            labels: ``(clips,)`` int64, positions in ``classes``, of all clips of the task.
            fitted: positions of the training clips, from which class weights are computed.

        Raises:
            UserError: class weights are wanted, but a class has no training clips.
        """
        settings = self.settings
        weights = np.ones(len(self.classes), np.float32)
        if settings.class_weights == "balanced":
            weights = class_weights(labels[fitted], self.classes)
        return ClassTargets(labels, weights, self.masking, settings.mixup)

    def logits(self, batch: Batch) -> Tensor:
        """Return logits ``(C, K)`` float32: the mean over a clip's windows, weighted by their numbers of frames.

        With mean pooling and without hidden layers, the head is linear, so this is its output for all frames of the
        clip together. Of the targets, only ``clip`` and the length of ``places`` are used.
        """
        seen = self.encoder(batch)
        logits: Tensor = self.head(seen)
        clip, clips = batch.targets.tensors["clip"], len(batch.targets.tensors["places"])
        with exact(logits.device):
            frames = logits.new_full((len(logits),), seen.states[-1].shape[1])
            if seen.valid is not None:
                frames = seen.valid.sum(1).to(logits.dtype)
            of_clips = frames.new_zeros(clips).index_add(0, clip, frames)
            # (N, K) -> (C, K)
            shares = (frames / of_clips[clip])[:, None]
            return logits.new_zeros(clips, logits.shape[1]).index_add(0, clip, logits * shares)

    def forward(self, batch: Batch) -> Loss:
        """Return the weighted cross entropy, summed over clips.

        With mixup, the class of the larger share counts as the correct one in metrics.
        """
        targets = batch.targets.tensors
        labels, weights = targets["labels"], targets["weights"]
        logits = self.logits(_mixed(batch) if "partner" in targets else batch)
        with exact(logits.device):
            total = (weights * F.cross_entropy(logits, labels, reduction="none")).sum()
            weight = weights.sum()
            if "partner" in targets:
                other, others = targets["other_labels"], targets["other_weights"]
                total = total + (others * F.cross_entropy(logits, other, reduction="none")).sum()
                weight = weight + others.sum()
            return Loss(total, {"loss": (total.detach(), weight), **self._recalls(logits.detach(), labels)})

    def finish(self, means: Metrics) -> Metrics:
        """Add ``uar``, the mean recall over the classes that occur; ``chance``, the same for guessing; and ``f1``.

        ``f1`` is the mean over the classes that occur or are predicted, as in scikit-learn's macro average.
        """
        recalls, f1s = ([value for name, value in means.items() if name.startswith(own)] for own in (RECALL, F1))
        if not recalls:
            return means
        return means | {
            "uar": sum(recalls) / len(recalls),
            "f1": sum(f1s) / len(f1s),
            "chance": 1 / len(self.classes),
        }

    def part(self, name: str) -> Part:
        """Return the part of the model that a parameter belongs to."""
        if name.startswith("encoder."):
            return self.encoder.part(name.removeprefix("encoder."))
        return Part("head", 0)

    def inexpressible(self) -> str | None:
        """Return why no model class of transformers computes the same; None if one does."""
        return misfit(self.encoder, self.head.shape)

    def export(self, folder: Path, weights: Mapping[str, Tensor]) -> None:
        """Write a model of transformers for audio classification, if one computes the same.

        Otherwise write the encoder, and the head beside it with ``write_head``.
        """
        inner, head = (
            {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
            for prefix in (ENCODER, HEAD)
        )
        classifier = Classifier(self.encoder, self.head.shape, self.classes)
        if self.inexpressible() is None:
            write_plain(classifier, inner, head, folder)
        else:
            self.encoder.save(folder, inner)
            write_head(classifier, head, folder)

    def _shape(self) -> HeadShape:
        """Return the shape of the head."""
        settings, encoder = self.settings, self.encoder
        usual = getattr(encoder.config, "classifier_proj_size", 0)
        return HeadShape(
            encoder.width,
            len(self.classes),
            states=encoder.layers + 1 if settings.layers == "weighted" else 0,
            attentive=settings.pooling == "attentive",
            projection=usual if settings.projection is None else settings.projection,
            hidden=tuple(settings.hidden),
            dropout=settings.dropout,
        )

    def _recalls(self, logits: Tensor, labels: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """Return accuracy, and recall and F1 of each class, as pairs of a sum and a count whose ratio they are."""
        decided = logits.argmax(-1)
        hits = (decided == labels).float()
        empty, each = hits.new_zeros(len(self.classes)), torch.ones_like(hits)
        of_class, true = empty.index_add(0, labels, hits), empty.index_add(0, labels, each)
        named = {"accuracy": (hits.sum(), hits.new_full((), len(hits)))}
        ratios = {RECALL: (of_class, true), F1: (2 * of_class, true + empty.index_add(0, decided, each))}
        for own, (sums, weights) in ratios.items():
            pairs = zip(sums.unbind(), weights.unbind(), strict=True)
            named |= dict(zip((own + name for name in self.classes), pairs, strict=True))
        return named


def _mixed(batch: Batch) -> Batch:
    """Return the batch with each row's partner mixed into it; a row is as long as the longer of the two."""
    targets = batch.targets.tensors
    partner, share = targets["partner"], targets["share"][:, None]
    waveforms = share * batch.waveforms + (1 - share) * batch.waveforms[partner]
    return replace(batch, waveforms=waveforms, lengths=torch.maximum(batch.lengths, batch.lengths[partner]))


def _one_class(row: Metrics) -> bool:
    """Whether nearly all clips of one class are recognised, and nearly none of the others."""
    recalls = sorted(value for name, value in row.items() if name.startswith(RECALL))
    return len(recalls) > 1 and recalls[-1] > 0.99 and recalls[-2] < 0.01


SYMPTOMS = (
    Symptom(
        name="nearly all clips are predicted as one class",
        holds=_one_class,
        reading=("uar", "chance"),
        causes="a learning rate that is too high for the encoder (trainer.optimizer.lr; 1e-5 to 1e-4 for a pretrained "
        "one), a warm-up that is too short (trainer.optimizer.warmup_steps), unbalanced classes without weights "
        "(head.class_weights none), or an encoder that does not represent the difference (encoder.train all)",
        slow=True,
    ),
)
