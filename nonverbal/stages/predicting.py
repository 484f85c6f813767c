"""Predictions of a trained classifier for clips, used by the test of a fold and by ``nonverbal predict``.

Shapes: C clips; a clip may be several rows (windows) of a batch.
"""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from nonverbal.batch import Batch
from nonverbal.data.batching.clips import ClipBatches
from nonverbal.errors import UserError
from nonverbal.files import read_json, write_atomically
from nonverbal.objectives.classification import ClassificationObjective
from nonverbal.training.processes import Processes

LIMITS = "clips.json"
"""File beside a classifier's weights with the lengths of the clips that it was trained on."""


def clip_probabilities(
    classifier: ClassificationObjective, batches: Iterable[Batch], processes: Processes | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of clips, ``(C,)`` int64, increasing, and their probabilities ``(C, classes)`` float64.

    Computed in float32 without autocast on the classifier's device, whatever the precision of its training, and without
    dropout. Each row of probabilities sums to one.

    Args:
        classifier: its device and mode (training or evaluation) are left as they are.
        batches: of this process. All windows of a clip are in the same batch, and no clip is in two.
        processes: those that share the clips; each returns the results of all. None if this is the only one.

    Raises:
        UserError: the classifier's output for a clip is not finite.
    """
    own = clip_logits(classifier, batches)
    parts = [own] if processes is None else processes.of_each(own)
    where, logits = (np.concatenate([part[side] for part in parts]) for side in (0, 1))
    order = np.argsort(where, kind="stable")
    assert (np.diff(where[order]) > 0).all(), "a clip was in two batches"
    return where[order], softmax(logits[order])


def clip_logits(classifier: ClassificationObjective, batches: Iterable[Batch]) -> tuple[np.ndarray, np.ndarray]:
    """Return places and logits ``(C, classes)`` float64 of the clips in this process's batches, in their order.

    Raises:
        UserError: as in ``clip_probabilities``, which describes the arguments.
    """
    device = next(iter(classifier.parameters())).device
    mode = classifier.training
    classifier.train(False)
    places, logits = [], []
    try:
        with torch.inference_mode(), torch.autocast(device.type, enabled=False):
            for batch in batches:
                places.append(batch.targets.tensors["places"])
                # Do not wait for the GPU here: its values are read once all batches are queued.
                logits.append(classifier.logits(batch.to(device)).double())
    finally:
        classifier.train(mode)
    if not places:
        return np.empty(0, dtype=np.int64), np.empty((0, len(classifier.classes)))
    values = torch.cat(logits).cpu().numpy()
    unfit = ~np.isfinite(values).all(1)
    if unfit.any():
        raise UserError(
            f"the classifier's output is not finite for {unfit.sum()} of {len(values)} clips: its weights are damaged "
            "or too large; use an earlier checkpoint, or train with a lower learning rate"
        )
    return torch.cat(places).cpu().numpy(), values


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return the probabilities of logits, float64 ``(C, classes)``."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True)) if len(logits) else logits
    probabilities: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return probabilities


def write_limits(folder: Path, batches: ClipBatches) -> None:
    """Write the lengths of the training clips beside a classifier, so that predictions use the same lengths."""
    content = {"max_seconds": batches.max_seconds, "pad_to": batches.pad_to}
    write_atomically(folder / LIMITS, json.dumps(content) + "\n")


def read_limits(folder: Path) -> ClipBatches:
    """Return the lengths of the clips that a classifier was trained on; the defaults of training if there is no file.

    Raises:
        UserError: the file cannot be read.
    """
    path = folder / LIMITS
    if not path.is_file():
        return ClipBatches()
    try:
        content = read_json(path)
        pad_to = content["pad_to"]
        return ClipBatches(max_seconds=float(content["max_seconds"]), pad_to=None if pad_to is None else float(pad_to))
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise UserError(
            f"{path} should give max_seconds and pad_to, but cannot be read ({type(error).__name__}: {error}); copy it "
            "again from where the model comes from"
        ) from error
