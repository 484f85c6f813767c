"""What a trained classifier says of clips: the probability of each class, for the test of a fold and for prediction.

Shapes: C clips, of which each may be several rows (windows) of a batch.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from nonverbal.batch import Batch
from nonverbal.errors import UserError
from nonverbal.training.processes import Processes


class Classifier(Protocol):
    """An objective that tells classes apart, in the module that is its own."""

    @property
    def classes(self) -> Sequence[str]:
        """Names of the columns of logits."""

    def logits(self, batch: Batch) -> Tensor:
        """Return ``(C, classes)`` of a batch whose targets hold ``clip`` (N,) and ``places`` (C,)."""

    def parameters(self) -> Iterable[nn.Parameter]:
        """As of a module."""

    @property
    def training(self) -> bool:
        """Whether it drops values and layers."""

    def train(self, mode: bool = True) -> object:
        """Say whether it does."""


def clip_probabilities(
    classifier: Classifier, batches: Iterable[Batch], processes: Processes | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of clips, ``(C,)`` int64, increasing, and their probabilities ``(C, classes)`` float64.

    In float32 without autocast, where the classifier lies, whatever it was trained in; nothing is dropped. Each row of
    probabilities sums to one.

    Args:
        classifier: stays where it is, and in the mode that it is in.
        batches: of this process: all windows of a clip in one of them, each clip in one.
        processes: those that share the clips out; all are given the clips of all. None for this one alone.

    Raises:
        UserError: the classifier gives a clip values that are not finite.
    """
    device = next(iter(classifier.parameters())).device
    mode = classifier.training
    classifier.train(False)
    places, logits = [], []
    try:
        with torch.inference_mode(), torch.autocast(device.type, enabled=False):
            for batch in batches:
                places.append(batch.targets.tensors["places"])
                # A GPU is not waited for: its values are read when all is queued.
                logits.append(classifier.logits(batch.to(device)).double())
    finally:
        classifier.train(mode)
    own = _on_host(places, logits, len(classifier.classes))
    parts = [own] if processes is None else processes.of_each(own)
    where, values = (np.concatenate([part[side] for part in parts]) for side in (0, 1))
    order = np.argsort(where, kind="stable")
    assert (np.diff(where[order]) > 0).all(), "a clip was in two batches"
    return where[order], values[order]


def _on_host(places: list[Tensor], logits: list[Tensor], classes: int) -> tuple[np.ndarray, np.ndarray]:
    if not places:
        return np.empty(0, dtype=np.int64), np.empty((0, classes))
    where, values = torch.cat(places).cpu().numpy(), torch.cat(logits).cpu()
    unfit = ~torch.isfinite(values).all(1)
    if unfit.any():
        raise UserError(
            f"the classifier gives {int(unfit.sum())} of {len(values)} clips values that are not finite: its weights "
            "are damaged or too large; take a checkpoint from before they came about, or train with a lower learning "
            "rate"
        )
    return where, values.softmax(1).numpy()
