"""Measurements: the scores of one model, head and seed under one protocol, and the predictions they are of.

Scores without classes are of texts: their predictions are transcriptions.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nonverbal.errors import UserError
from nonverbal.files import files_below
from nonverbal.grouping import grouped
from nonverbal.tasks.predictions import AGAIN, Predictions, read_predictions
from nonverbal.tasks.scores import Score, read_scores
from nonverbal.tasks.told_apart import Held, told_apart
from nonverbal.tasks.transcriptions import Transcriptions, read_transcriptions

SCORES = "scores.jsonl"
METRICS = {"accuracy": {"accuracy", "uar", "f1"}, "wer": {"wer", "cer"}}
"""What scores with decisions hold, and those with transcriptions, by what both are compared by with their rows."""
_INDEFINITE = {"accuracy": "an accuracy", "wer": "a word error rate"}


@dataclass(frozen=True)
class ScoredFolds:
    """All folds of one model, head and seed."""

    scores: list[Score]
    """One a fold."""
    file: Path
    """Where they were read, or are kept."""

    @property
    def table(self) -> tuple[Hashable, ...]:
        """Corpus, clips, classes and what was merged in them, protocol: what the rows of a table share."""
        return _table(self.scores[0])

    @property
    def row(self) -> tuple[str, str]:
        """Model and head: what has a row in it."""
        return self.scores[0].model, self.scores[0].probe


@dataclass(frozen=True)
class Measurement(ScoredFolds):
    """With decisions for classes."""

    predictions: Predictions


@dataclass(frozen=True)
class TextMeasurement(ScoredFolds):
    """With transcriptions."""

    transcriptions: Transcriptions


def read_measurements(paths: Sequence[Path]) -> list[Measurement]:
    """Read score files with the predictions beside them; scores of texts are left out.

    Args:
        paths: files of scores, or folders, which stand for every ``scores.jsonl`` in them. What two files hold alike
            counts once. Where they hold different scores of one model, head, protocol and seed, each is a measurement
            of its own, whose head is named with the folder of its file.

    Raises:
        UserError: a file is missing or damaged, or predictions do not belong to their scores.
    """
    return [_measurement(rows, file) for rows, file in _read(paths) if rows[0].classes]


def read_text_measurements(paths: Sequence[Path]) -> list[TextMeasurement]:
    """Read what ``read_measurements`` leaves out, in the same way."""
    return [_text_measurement(rows, file) for rows, file in _read(paths) if not rows[0].classes]


def measurements_of(scores: Sequence[Score], file: Path) -> list[Measurement]:
    """Return the measurements that scores of classes make, in their order.

    Args:
        scores: all folds of each model, head and seed that has any.
        file: where they are kept; their predictions lie beside it.

    Raises:
        UserError: predictions are missing or damaged, or do not belong to the scores.
    """
    return [_measurement(rows, file) for rows in _by_measurement(scores).values()]


def text_measurements_of(scores: Sequence[Score], file: Path) -> list[TextMeasurement]:
    """Return the measurements that scores of texts make, as ``measurements_of``."""
    return [_text_measurement(rows, file) for rows in _by_measurement(scores).values()]


def _read(paths: Sequence[Path]) -> list[tuple[list[Score], Path]]:
    """Return the scores of each model, head, protocol and seed, and the file that has them."""
    read: list[Held] = [(rows, file) for file in _files(paths) for rows in _by_measurement(read_scores(file)).values()]
    found = grouped(read, lambda held: (*_table(held[0][0]), held[0][0].probe, held[0][0].model))
    if not found:
        raise UserError(f"{', '.join(map(str, paths))}: no scores in it; run nonverbal probe again")
    return [one for held in found.values() for one in told_apart(held)]


def _files(paths: Sequence[Path]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        inside = files_below(path, SCORES) if path.is_dir() else [path]
        if not inside:
            raise UserError(f"there is no {SCORES} in {path}; give the folder that was --out of nonverbal probe")
        files += inside
    return list(dict.fromkeys(files))


def _table(score: Score) -> tuple[Hashable, ...]:
    corpus, classes, merged, protocol, _ = score.task
    return corpus, score.data_sha256, classes, merged, protocol


def _by_measurement(scores: Sequence[Score]) -> dict[tuple[Hashable, ...], list[Score]]:
    return grouped(scores, lambda score: (*_table(score), score.probe, score.model, score.seed))


def _measurement(scores: list[Score], file: Path) -> Measurement:
    predictions = read_predictions(file.parent / scores[0].predictions, scores[0].classes)
    right = (predictions.labels == predictions.predicted).astype(np.int64)
    _check_folds(scores, file, predictions.path, predictions.folds, "accuracy", (right, np.ones_like(right)))
    return Measurement(scores, file, predictions)


def _text_measurement(scores: list[Score], file: Path) -> TextMeasurement:
    own = read_transcriptions(file.parent / scores[0].predictions)
    _check_folds(scores, file, own.path, own.folds, "wer", (own.edits.word_errors, own.edits.words))
    return TextMeasurement(scores, file, own)


def _check_folds(
    scores: list[Score],
    file: Path,
    path: Path,
    folds: np.ndarray,
    metric: str,
    parts: tuple[np.ndarray, np.ndarray],
) -> None:
    """Refuse predictions of other clips or decisions than their scores.

    Args:
        scores: of each fold.
        file: where they are kept.
        path: of the predictions.
        folds: of each clip, by name, ``(clips,)``.
        metric: by which the two are compared.
        parts: of each clip; the metric is the sum of the first over that of the second.
    """
    names, where = np.unique(folds, return_inverse=True)
    clips, one, other = (np.bincount(where, weights, len(names)) for weights in (None, *parts))
    there = {name: (int(count), a / b) for name, count, a, b in zip(names.tolist(), clips, one, other, strict=True)}
    for score in scores:
        if lacking := METRICS[metric] - score.metrics.keys():
            raise UserError(f"{file}: the score of fold {score.fold} has no {', '.join(sorted(lacking))}; {AGAIN}")
        count, value = there.pop(score.fold, (0, 0.0))
        if count != score.test_clips or abs(value - score.metrics[metric]) > 1e-9:
            raise UserError(
                f"{path} does not belong to the scores in {file}: in fold {score.fold} it has {count} clips and "
                f"{_INDEFINITE[metric]} of {value:.4f}, the scores have {score.test_clips} and "
                f"{score.metrics[metric]:.4f}; {AGAIN}"
            )
    if there:
        raise UserError(f"{path} has clips of folds {', '.join(there)}, for which {file} has no scores; {AGAIN}")
