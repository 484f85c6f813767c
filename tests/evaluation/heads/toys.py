"""Small tasks on which heads are tried."""

from typing import TypeVar

import numpy as np

from nonverbal.evaluation.heads.base import Frames, Job, Pooled
from nonverbal.tasks.folds import group_folds

G = TypeVar("G")


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


def frames_toy(
    clips: int = 60, classes: int = 3, layers: int = 3, dim: int = 6, seed: int = 0
) -> tuple[Frames, list[str]]:
    """Frames of 1 to 12, in 16 bits. The class shows in the last layer but one, in every frame."""
    random = np.random.default_rng(seed)
    labels = np.arange(clips) % classes
    frames = [random.standard_normal((layers, random.integers(1, 13), dim)) + 2 for _ in labels]
    for clip, label in zip(frames, labels, strict=True):
        clip[-2, :, label] += 3
    return [clip.astype(np.float16) for clip in frames], [f"class {label}" for label in labels]


def job_of(features: G, labels: list[str], seed: int = 0) -> Job[G]:
    """All clips as a training side."""
    classes, groups = sorted(set(labels)), speakers(len(labels))
    answers = np.array([classes.index(label) for label in labels])
    return Job(features, answers, classes, groups, group_folds(labels, groups, 3, seed), seed)
