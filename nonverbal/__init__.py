"""Self-supervised pretraining and honest evaluation for human sounds that are not words.

Commands of ``nonverbal`` work on whole folders. In Python, ``load_encoder`` embeds clips, ``open_shards`` reads shards,
``read_scores`` reads the results of commands, and ``uar`` scores decisions of your own.
"""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # imports take seconds, so they are made only when they are needed
    from nonverbal.data.index import ShardFolder
    from nonverbal.evaluation.hearing import ClipEncoder
    from nonverbal.tasks.scores import Score
    from nonverbal.tasks.statistics.intervals import Interval

__version__ = "0.1.0"

__all__ = ["load_encoder", "open_shards", "read_scores", "uar"]


def load_encoder(source: str | PathLike[str], seed: int = 0) -> "ClipEncoder":
    """Load an encoder that is called with waveforms and returns embeddings, frames and masks.

    Each clip, of any length, is encoded as if it were alone, whatever the other clips are. A clip that is too long for
    the encoder is divided into equal windows.

    >>> import numpy as np
    >>> import nonverbal
    >>> encoder = nonverbal.load_encoder("logmel")
    >>> heard = encoder([np.zeros(16_000, np.float32), np.zeros(8_000, np.float32)])
    >>> heard.embeddings.shape, heard.frames.shape, heard.masks.sum(1).tolist()
    ((2, 1, 160), (2, 1, 101, 80), [101, 51])

    Args:
        source: a folder or ``ORGANISATION/NAME`` of the Hugging Face Hub, a run, or a name that ``nonverbal encoders``
            lists; with the prefix ``initialised:``, weights are random. Code beside a checkpoint is never run.
        seed: of the weights of ``initialised:``.

    Raises:
        nonverbal.errors.UserError: it cannot be loaded completely, or makes no frames.
    """
    from nonverbal.evaluation.hearing import ClipEncoder

    return ClipEncoder(str(source), seed)


def open_shards(folder: str | PathLike[str]) -> "ShardFolder":
    """Open a folder that ``nonverbal prepare`` wrote.

    >>> import nonverbal
    >>> shards = nonverbal.open_shards("shards/first")
    >>> clips = shards.clips()
    >>> len(clips), clips[0].label, clips[0].speaker, clips[0].path
    (4, 'cry', 'sounds:ann', 'cry/ann_0.wav')

    A clip that is longer than ``--max_seconds`` is stored in several parts:

    >>> import numpy as np
    >>> (parts,) = shards.parts([0])
    >>> waveform = np.concatenate([shards.read(part) for part in parts])
    >>> waveform.shape, waveform.dtype  # 16 kHz, in [-1, 1]
    ((8000,), dtype('float32'))

    Raises:
        nonverbal.errors.UserError: it is not such a folder, or is incomplete.
    """
    from nonverbal.data.index import open_shards

    return open_shards(Path(folder))


def read_scores(file: str | PathLike[str]) -> "list[Score]":
    """Read a ``scores.jsonl`` of ``nonverbal probe``, ``finetune`` or ``fuse``: one row per model, seed and fold.

    >>> import nonverbal
    >>> scores = nonverbal.read_scores("runs/first/probe/scores.jsonl")
    >>> for score in scores:
    ...     print(score.model, "|", score.fold, "|", score.pretraining, "|", score.metrics["uar"])
    logmel | 0 | held out | 0.5
    logmel | 1 | held out | 1.0

    Raises:
        nonverbal.errors.UserError: it cannot be read, or a row is not a score; names its line.
    """
    from nonverbal.tasks.scores import read_scores

    return read_scores(Path(file))


def uar(
    labels: Sequence[object], predicted: Sequence[object], groups: Sequence[object], level: float = 0.95
) -> "Interval":
    """Return the unweighted average recall of decisions, as in scores, with its interval over groups of clips.

    >>> import nonverbal
    >>> labels = ["cry", "cry", "cry", "cry", "laugh", "laugh"]
    >>> predicted = ["cry", "cry", "cry", "laugh", "laugh", "cry"]
    >>> speakers = ["ann", "ann", "bo", "bo", "ann", "bo"]
    >>> found = nonverbal.uar(labels, predicted, speakers)
    >>> found.value, found.groups  # the mean of 3/4 and 1/2
    (0.625, 2)
    >>> found.low < 0.625 < found.high
    True

    Args:
        labels: each clip's class.
        predicted: each clip's predicted class, from a model that was not trained on any of these clips and groups.
        groups: each clip's group, such as its speaker or recording.
        level: nominal coverage, in (0, 1); see ``nonverbal.tasks.statistics.intervals.jackknife_t``.

    Raises:
        ValueError: the three differ in length.
        nonverbal.errors.UserError: there are fewer than 2 groups.
    """
    from nonverbal.tasks.statistics.confusions import confusion_counts
    from nonverbal.tasks.statistics.intervals import jackknife_t

    classes = list(dict.fromkeys([*labels, *predicted]))
    return jackknife_t(confusion_counts(labels, predicted, groups, classes), level=level)
