"""What decisions are worth: UAR, accuracy and macro F1."""

import numpy as np


def metrics(labels: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Return ``uar`` (mean recall over classes), ``accuracy`` and ``f1`` (mean F1 over classes), each in [0, 1].

    The classes are those that ``labels`` holds: a fold without clips of a class says nothing of its recall.

    Args:
        labels: each clip's class, ``(clips,)``, by name or number; at least one clip.
        predicted: the class decided for, in the same way.
    """
    from sklearn.metrics import f1_score

    return {
        "uar": uar(labels, predicted),
        "accuracy": float(np.mean(labels == predicted)),
        "f1": float(f1_score(labels, predicted, labels=np.unique(labels), average="macro", zero_division=0)),
    }


def uar(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Return the unweighted average recall alone, of what ``metrics`` takes."""
    _, own = np.unique(labels, return_inverse=True)
    return uar_of_sums(np.bincount(own, weights=labels == predicted), np.bincount(own))


def uar_of_sums(hits: np.ndarray, clips: np.ndarray) -> float:
    """Return UAR from sums over any number of batches or processes.

    Args:
        hits: clips of each class that were recognised, ``(classes,)``.
        clips: clips of each class, ``(classes,)``. Classes without clips do not count; one must have some.
    """
    hits, clips = np.asarray(hits, dtype=np.float64), np.asarray(clips, dtype=np.float64)
    present = clips > 0
    return float(np.mean(hits[present] / clips[present]))
