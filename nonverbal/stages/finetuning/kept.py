"""The files of a fine-tuning: scores and predictions of each fold and of all, and the clips whose labels were seen."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nonverbal.errors import UserError
from nonverbal.evaluation.encoders import INITIALISED
from nonverbal.files import json_lines, read_json, write_atomically
from nonverbal.stages.finetuning.folds import FoldRun
from nonverbal.stages.finetuning.learner import Learner, Tested
from nonverbal.stages.predicting import write_limits
from nonverbal.tasks.labels_seen import seen_by, write_labels_seen
from nonverbal.tasks.predictions import write_predictions
from nonverbal.tasks.scores import Score, score_of, write_scores
from nonverbal.tasks.task import Task

KEPT = "fold.json"
"""File with the score of a fold, in its folder. It exists once the fold is done."""

PREDICTIONS = "predictions.jsonl"
"""File with the decisions of a fold, in its folder."""


class Chosen(NamedTuple):
    """The point of training at which a fold's validation was best."""

    epochs: float
    """Passes over the training clips."""
    share: float
    """The same as a share of the steps of the schedule, 0 to 1."""


def is_done(folder: Path) -> bool:
    """Whether a fold is trained and tested."""
    return (folder / KEPT).is_file()


def keep_fold(
    folder: Path, learner: Learner[Any], fold: FoldRun, tested: Tested, chosen: Chosen, parameters: int, status: str
) -> None:
    """Write the predictions of a fold, and then its score."""
    settings, task = learner.settings, learner.task
    score = Score(
        model=str(settings.init),
        model_key=learner.keys[fold.seed],
        corpus=task.corpus,
        data_sha256=task.shards.sha256,
        classes=task.classes,
        protocol=task.protocol,
        probe=settings.name,
        seed=fold.seed,
        fold=fold.fold,
        metrics=tested.metrics,
        chosen={"epoch": chosen.epochs},
        train_clips=len(fold.fitted),
        test_clips=len(fold.test),
        test_classes=len({task.labels[place] for place in fold.test} & {*task.classes}),
        pretraining=status,
        predictions=task.predictions_file(str(settings.init), fold.seed, settings.name),
        merged=task.merged,
        lets_through=task.division.lets_through,
        details={"parameters": parameters, "run": fold.name, "share": chosen.share, **tested.details},
    )
    rows = (task.prediction(place, fold.fold) | row for place, row in zip(fold.test.tolist(), tested.rows, strict=True))
    write_predictions(folder / PREDICTIONS, rows)
    write_atomically(folder / KEPT, json.dumps(asdict(score), indent=1))


def kept_score(folder: Path) -> Score:
    """Return the score of a fold that is done.

    Raises:
        UserError: its file is damaged.
    """
    path = folder / KEPT
    try:
        return score_of(read_json(path), str(path))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}); delete {folder}, and run the command again") from error


def keep_scores(out: Path, folds: Sequence[FoldRun]) -> list[Score]:
    """Write ``scores.jsonl`` and ``predictions/`` once all folds are done, and return the scores.

    Raises:
        UserError: a file in the folder of a fold is damaged.
    """
    scores = [kept_score(out / fold.name) for fold in folds]
    by_file: dict[str, list[Path]] = {}
    for fold, score in zip(folds, scores, strict=True):
        by_file.setdefault(score.predictions, []).append(out / fold.name / PREDICTIONS)
    for name, paths in by_file.items():
        write_predictions(out / name, (row for path in paths for _, row in json_lines(path)))
    write_scores(out / "scores.jsonl", scores)
    return scores


def keep_folds(path: Path, task: Task, folds: Sequence[FoldRun]) -> None:
    """Write the ids of the clips that each fold is fitted to and tested on."""
    rows = [
        {
            "seed": fold.seed,
            "number": fold.number,
            "fold": fold.fold,
            "folder": fold.name,
            "test": [task.clips[place].id for place in fold.test],
            "fitted": [task.clips[place].id for place in fold.labels_seen],
        }
        for fold in folds
    ]
    content: dict[str, Any] = {
        "data_sha256": task.shards.sha256,
        "corpus": task.corpus,
        "classes": task.classes,
        "merged": task.merged,
        "protocol": task.protocol,
        "folds": rows,
    }
    write_atomically(path, json.dumps(content, indent=1))


def keep_reading(encoder: Path, learner: Learner[Any], clips: np.ndarray) -> None:
    """Write beside weights what their use depends on: the clips whose labels they have seen, and the clips' lengths.

    Args:
        encoder: folder of the weights.
        learner: trained the weights.
        clips: positions in the task of the clips on whose labels the weights depend.
    """
    settings, init = learner.settings, str(learner.settings.init)
    # Only the name of a local folder: its path is of no concern to those who receive the weights.
    before, source = INITIALISED if init.startswith(INITIALISED) else "", init.removeprefix(INITIALISED)
    name = before + (Path(source).name if Path(source).exists() else source)
    seen = [learner.task.clips[place] for place in clips]
    # Random weights have seen no labels, even if the weights beside their configuration have.
    write_labels_seen(encoder, seen, name, None if before else seen_by(Path(init)))
    write_limits(encoder, settings.batches)
