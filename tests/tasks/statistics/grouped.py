"""Labels, groups and decisions for tests of the statistics, and their counts one clip after another."""

import numpy as np


def drawn(seed: int, clips: int, groups: int, classes: int, right: float = 0.6) -> tuple[np.ndarray, ...]:
    """Return labels, decisions, groups: integers; every class and every group has a clip."""
    random = np.random.default_rng(seed)
    labels = random.permutation(np.arange(clips) % classes)
    where = random.permutation(np.concatenate([np.arange(groups), random.integers(0, groups, clips - groups)]))
    guesses = random.integers(0, classes, clips)
    return labels, np.where(random.random(clips) < right, labels, guesses), where


def one_by_one(labels: np.ndarray, predicted: np.ndarray, groups: np.ndarray, classes: int) -> np.ndarray:
    """Count as ``confusion_counts`` does."""
    names = sorted(set(groups.tolist()))
    counts = np.zeros((len(names), classes, classes), dtype=int)
    for label, decision, group in zip(labels, predicted, groups, strict=True):
        counts[names.index(group), label, decision] += 1
    return counts
