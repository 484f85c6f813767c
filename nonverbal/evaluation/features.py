"""The features of a task's clips that a head reads: the same in all folds, or separate ones for each fold."""

from pathlib import Path
from typing import Protocol

import numpy as np

from nonverbal.evaluation.audio_words import Bags
from nonverbal.evaluation.embeddings import embed, embed_frames
from nonverbal.evaluation.encoders import Encoder, ManifestEncoder, load_encoder
from nonverbal.evaluation.encoders.audio_words import AudioWords
from nonverbal.evaluation.encoders.finetuned import FinetunedRun
from nonverbal.evaluation.frame_rows import FrameRows
from nonverbal.evaluation.heads.base import Pooled
from nonverbal.evaluation.heads.by_name import reads_frames
from nonverbal.tasks.folds import Fold
from nonverbal.tasks.task import Task


class FoldFeatures(Protocol):
    """Features that depend on what a fold trains on: all clips have new features in each fold.

    They are fitted to the whole training side of a fold. The inner folds, on which a head makes choices, use the same.
    """

    def of(self, fold: Fold, training: np.ndarray, seed: int) -> Pooled | FrameRows:
        """Return the features of all clips, in the form that a head reads.

        Args:
            fold: a fold of all clips.
            training: rows to which the classifier itself is fitted, increasing, ``(rows,)`` int64; none are on the
                fold's test side.
            seed: seed of the division, and of everything random.

        Raises:
            UserError: there are no features for this fold.
        """


Features = Pooled | FrameRows | FoldFeatures
"""For all clips of a task: ``(clips, layers, dim)`` float32; frames for a head on frames; or features per fold."""


class TunedFeatures:
    """Features of each fold from the weights that were fine-tuned in it."""

    def __init__(self, run: FinetunedRun, task: Task, cache: Path, head: str) -> None:
        """Take a run that was divided in the same way as the task; for the other arguments see ``features_of``."""
        run.check(task)
        self._run, self._task, self._cache, self._head = run, task, cache, head

    def of(self, fold: Fold, training: np.ndarray, seed: int) -> Pooled | FrameRows:
        """Return the features of all clips; see ``FoldFeatures``."""
        encoder = load_encoder(str(self._run.folds[seed, fold.name].encoder))
        return _of_all_folds(self._task, encoder, self._cache, self._head)[0]


def features_of(task: Task, encoder: Encoder | FinetunedRun, cache: Path, head: str) -> tuple[Features, bool]:
    """Return the features of a task's clips that a head reads, and whether a clip is one vector (see ``Job``).

    Args:
        task: clips and folds.
        encoder: makes the frames; for a fine-tuned run, each fold has its own encoder.
        cache: folder of stored embeddings.
        head: see ``head_named``.
    """
    if isinstance(encoder, AudioWords):
        kept = embed_frames(encoder, task.shards, task.rows, cache)
        return Bags(FrameRows(kept, task.rows), reads_frames(head)), True
    if isinstance(encoder, FinetunedRun):
        return TunedFeatures(encoder, task, cache, head), False
    return _of_all_folds(task, encoder, cache, head)


def _of_all_folds(task: Task, encoder: Encoder, cache: Path, head: str) -> tuple[Pooled | FrameRows, bool]:
    one_frame = isinstance(encoder, ManifestEncoder) or encoder.one_frame
    if reads_frames(head) and not isinstance(encoder, ManifestEncoder) and not one_frame:
        return FrameRows(embed_frames(encoder, task.shards, task.rows, cache), task.rows), False
    embeddings = embed(encoder, task.shards, task.rows, cache)
    # (clips, layers, dim) -> (clips, layers, 1, dim)
    return (embeddings[:, :, None] if reads_frames(head) else embeddings), one_frame
