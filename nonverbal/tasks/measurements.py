"""Measurements: the scores of one model, head and seed under one protocol, and the predictions they are of."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nonverbal.errors import UserError
from nonverbal.tasks.predictions import AGAIN, Predictions, read_predictions
from nonverbal.tasks.scores import Score, read_scores

SCORES = "scores.jsonl"


@dataclass(frozen=True)
class Measurement:
    """All folds of one model, head and seed."""

    scores: list[Score]
    """One a fold."""
    predictions: Predictions

    @property
    def table(self) -> tuple[Hashable, ...]:
        """Corpus, clips, classes and what was merged in them, protocol: what the rows of a table share."""
        return _table(self.scores[0])

    @property
    def row(self) -> tuple[str, str]:
        """Model and head: what has a row in it."""
        return self.scores[0].model, self.scores[0].probe


def read_measurements(paths: Sequence[Path]) -> list[Measurement]:
    """Read score files with the predictions beside them.

    Args:
        paths: files of scores, or folders, which stand for every ``scores.jsonl`` in them. What two files hold alike
            counts once.

    Raises:
        UserError: a file is missing or damaged, predictions do not belong to their scores, or two files hold different
            scores of the same model, head, protocol and seed.
    """
    found: dict[tuple[Hashable, ...], tuple[list[Score], Path]] = {}
    for file in _files(paths):
        for key, rows in _by_measurement(read_scores(file)).items():
            if key in found and found[key][0] != rows:
                first = rows[0]
                raise UserError(
                    f"{found[key][1]} and {file} hold different scores of {first.model} ({first.corpus}, "
                    f"{first.protocol}, seed {first.seed}); give one of them"
                )
            found.setdefault(key, (rows, file))
    return [_measurement(rows, file) for rows, file in found.values()]


def measurements_of(scores: Sequence[Score], file: Path) -> list[Measurement]:
    """Return the measurements that scores make, in their order.

    Args:
        scores: all folds of each model, head and seed that has any.
        file: where they are kept; their predictions lie beside it.

    Raises:
        UserError: predictions are missing or damaged, or do not belong to the scores.
    """
    return [_measurement(rows, file) for rows in _by_measurement(scores).values()]


def _files(paths: Sequence[Path]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        inside = sorted(path.rglob(SCORES)) if path.is_dir() else [path]
        if not inside:
            raise UserError(f"there is no {SCORES} in {path}; give what was --out of nonverbal probe")
        files += inside
    return list(dict.fromkeys(files))


def _table(score: Score) -> tuple[Hashable, ...]:
    corpus, classes, merged, protocol, _ = score.task
    return corpus, score.data_sha256, classes, merged, protocol


def _by_measurement(scores: Sequence[Score]) -> dict[tuple[Hashable, ...], list[Score]]:
    rows: dict[tuple[Hashable, ...], list[Score]] = {}
    for score in scores:
        rows.setdefault((*_table(score), score.probe, score.model, score.seed), []).append(score)
    return rows


def _measurement(scores: list[Score], file: Path) -> Measurement:
    predictions = read_predictions(file.parent / scores[0].predictions, scores[0].classes)
    names, where = np.unique(predictions.folds, return_inverse=True)
    right = np.bincount(where, predictions.labels == predictions.predicted, len(names))
    clips = np.bincount(where, minlength=len(names))
    there = {name: (int(count), hits / count) for name, count, hits in zip(names.tolist(), clips, right, strict=True)}
    for score in scores:
        count, accuracy = there.pop(score.fold, (0, 0.0))
        if count != score.test_clips or abs(accuracy - score.metrics["accuracy"]) > 1e-9:
            raise UserError(
                f"{predictions.path} does not belong to the scores in {file}: in fold {score.fold} it has {count} "
                f"clips and an accuracy of {accuracy:.4f}, the scores have {score.test_clips} and "
                f"{score.metrics['accuracy']:.4f}; {AGAIN}"
            )
    if there:
        folds = ", ".join(there)
        raise UserError(f"{predictions.path} has clips of folds {folds}, of which {file} has no scores; {AGAIN}")
    return Measurement(scores, predictions)
