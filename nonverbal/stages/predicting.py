"""What a trained classifier says of clips: the probability of each class, for the test of a fold and for prediction.

Shapes: C clips, of which each may be several rows (windows) of a batch.
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
"""Beside a classifier's weights: how long the clips were that it was shown."""


def clip_probabilities(
    classifier: ClassificationObjective, batches: Iterable[Batch], processes: Processes | None = None
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
    own = clip_logits(classifier, batches)
    parts = [own] if processes is None else processes.of_each(own)
    where, logits = (np.concatenate([part[side] for part in parts]) for side in (0, 1))
    order = np.argsort(where, kind="stable")
    assert (np.diff(where[order]) > 0).all(), "a clip was in two batches"
    return where[order], softmax(logits[order])


def clip_logits(classifier: ClassificationObjective, batches: Iterable[Batch]) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of the clips of this process's batches, in their order, and logits ``(C, classes)`` float64.

    Raises:
        UserError: as ``clip_probabilities``, which says the rest.
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
    if not places:
        return np.empty(0, dtype=np.int64), np.empty((0, len(classifier.classes)))
    values = torch.cat(logits).cpu().numpy()
    unfit = ~np.isfinite(values).all(1)
    if unfit.any():
        raise UserError(
            f"the classifier gives {unfit.sum()} of {len(values)} clips values that are not finite: its weights are "
            "damaged or too large; take a checkpoint from before they came about, or train with a lower learning rate"
        )
    return torch.cat(places).cpu().numpy(), values


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return the probabilities of logits, float64 ``(C, classes)``."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True)) if len(logits) else logits
    probabilities: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return probabilities


def write_limits(folder: Path, batches: ClipBatches) -> None:
    """Write beside a classifier how long the clips were that it was shown, so that it is shown such when it is used."""
    content = {"max_seconds": batches.max_seconds, "pad_to": batches.pad_to}
    write_atomically(folder / LIMITS, json.dumps(content) + "\n")


def read_limits(folder: Path) -> ClipBatches:
    """Return how long the clips were that a classifier was shown; as training has it by default where nothing says.

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
            f"{path} does not say how long clips are ({type(error).__name__}: {error}); copy it again from where the "
            "model comes from"
        ) from error
