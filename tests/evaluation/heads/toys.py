"""Small tasks on which heads are tried."""

import numpy as np

from nonverbal.evaluation.heads.base import Job, Pooled
from nonverbal.tasks.folds import group_folds


def toy(
    clips: int = 120, classes: int = 3, size: float = 3.0, dim: int = 12, seed: int = 0
) -> tuple[Pooled, list[str]]:
    """Two layers of noise off zero. The class shows, by ``size``, in the first means of the last layer alone."""
    random = np.random.default_rng(seed)
    labels = np.arange(clips) % classes
    features = random.standard_normal((clips, 2, 2 * dim)) + 5
    features[:, -1, :classes] += size * np.eye(classes)[labels]
    return features.astype(np.float32), [f"class {label}" for label in labels]


def speakers(clips: int, clips_each: int = 6) -> list[str]:
    """Groups of clips that follow each other."""
    return [f"s{clip // clips_each:02d}" for clip in range(clips)]


def job_of(features: Pooled, labels: list[str], seed: int = 0) -> Job[Pooled]:
    """All clips as a training side."""
    classes, groups = sorted(set(labels)), speakers(len(labels))
    answers = np.array([classes.index(label) for label in labels])
    return Job(features, answers, classes, groups, group_folds(labels, groups, 3, seed), seed)
