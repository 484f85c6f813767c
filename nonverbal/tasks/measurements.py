"""Measurements: the scores of one model, head and seed under one protocol, with their predictions.

Scores without classes are those of texts; their predictions are transcriptions.
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
"""Metrics in scores with decisions and in those with transcriptions, by the metric that is checked against the rows."""
_INDEFINITE = {"accuracy": "an accuracy", "wer": "a word error rate"}


@dataclass(frozen=True)
class ScoredFolds:
    """All folds of one model, head and seed."""

    scores: list[Score]
    """One per fold."""
    file: Path
    """The file that they were read from, or are kept in."""

    @property
    def table(self) -> tuple[Hashable, ...]:
        """Corpus, clips, classes with merged labels, and protocol: what the rows of a table share."""
        return _table(self.scores[0])

    @property
    def row(self) -> tuple[str, str]:
        """Model and head, which identify a row of a table."""
        return self.scores[0].model, self.scores[0].probe


@dataclass(frozen=True)
class Measurement(ScoredFolds):
    """Scores with decisions on classes."""

    predictions: Predictions


@dataclass(frozen=True)
class TextMeasurement(ScoredFolds):
    """Scores with transcriptions."""

    transcriptions: Transcriptions


def read_measurements(paths: Sequence[Path]) -> list[Measurement]:
    """Read files of scores with the predictions beside them; scores of texts are left out.

    Args:
        paths: files of scores, or folders, which stand for every ``scores.jsonl`` in them. Scores that are the same in
            two files count once. If files hold different scores for the same model, head, protocol and seed, each is a
            separate measurement, whose head is named with the folder of its file.

    Raises:
        UserError: a file is missing or damaged, or predictions do not belong to their scores.
    """
    return [_measurement(rows, file) for rows, file in _read(paths) if rows[0].classes]


def read_text_measurements(paths: Sequence[Path]) -> list[TextMeasurement]:
    """Read the scores of texts, which ``read_measurements`` leaves out, in the same way."""
    return [_text_measurement(rows, file) for rows, file in _read(paths) if not rows[0].classes]


def measurements_of(scores: Sequence[Score], file: Path) -> list[Measurement]:
    """Return the measurements that scores of classes make up, in their order.

    Args:
        scores: all folds of each model, head and seed.
        file: the file that they are kept in; their predictions are beside it.

    Raises:
        UserError: predictions are missing or damaged, or do not belong to the scores.
    """
    return [_measurement(rows, file) for rows in _by_measurement(scores).values()]


def text_measurements_of(scores: Sequence[Score], file: Path) -> list[TextMeasurement]:
    """Return the measurements that scores of texts make up, in the same way as ``measurements_of``."""
    return [_text_measurement(rows, file) for rows in _by_measurement(scores).values()]


def _read(paths: Sequence[Path]) -> list[tuple[list[Score], Path]]:
    """Return the scores of each model, head, protocol and seed, and the file that holds them."""
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
    """Refuse predictions whose clips or decisions differ from those of their scores.

    Args:
        scores: of each fold.
        file: the file that they are kept in.
        path: the file of the predictions.
        folds: the name of each clip's fold, ``(clips,)``.
        metric: the metric by which the two are compared.
        parts: two values for each clip; the metric is the sum of the first divided by the sum of the second.
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
