"""Score files with their predictions, made by hand, for tests of what reads them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nonverbal.tasks.metrics import metrics
from nonverbal.tasks.predictions import write_predictions
from nonverbal.tasks.scores import Score, write_scores
from nonverbal.text import slug


def write_scored(
    folder: Path,
    model: str,
    labels: Sequence[str],
    predicted: Sequence[str],
    folds: Sequence[str],
    groups: Sequence[str],
    speakers: Sequence[str | None] | None = None,
    values: np.ndarray | None = None,
    gives: str = "probabilities",
    **changes: Any,
) -> Path:
    """Write the scores of a model on clips ``c0``, ``c1``, ..., and its predictions, and return the score file.

    Without ``speakers`` the predictions are those of an older file.
    """
    classes = changes.pop("classes", sorted(set(labels)))
    fields: dict[str, Any] = {"corpus": "made", "protocol": "by hand", "probe": "linear", "seed": 0} | changes
    name = f"predictions/{slug(' '.join(map(str, [model, *fields.values()])))}.jsonl"
    rows: list[dict[str, Any]] = [
        {"clip": f"c{row}", "label": label, "predicted": decided, "group": group, "fold": fold}
        for row, (label, decided, group, fold) in enumerate(zip(labels, predicted, groups, folds, strict=True))
    ]
    for number, row in enumerate(rows):
        if speakers is not None:
            row |= {"speaker": speakers[number], "recording": f"r{number}"}
        if values is not None:
            row[gives] = dict(zip(classes, values[number].tolist(), strict=True))
    write_predictions(folder / name, rows)
    write_scores(
        folder / "scores.jsonl", [_score(model, classes, fold, rows, name, fields) for fold in sorted(set(folds))]
    )
    return folder / "scores.jsonl"


def _score(
    model: str, classes: list[str], fold: str, rows: list[dict[str, Any]], name: str, fields: dict[str, Any]
) -> Score:
    own = [row for row in rows if row["fold"] == fold]
    labels, predicted = (np.array([row[field] for row in own]) for field in ("label", "predicted"))
    given: dict[str, Any] = {
        "model_key": "key",
        "data_sha256": "sha",
        "metrics": metrics(labels, predicted),
        "chosen": {"layer": 1, "C": 0.1},
        "train_clips": len(rows) - len(own),
        "test_clips": len(own),
        "test_classes": len(set(labels.tolist())),
        "pretraining": "held out",
    }
    return Score(model=model, classes=classes, fold=fold, predictions=name, **(given | fields))
