"""Predictions: JSON Lines with one row per tested clip, in one file for each model and seed.

A row holds ``clip``, ``label``, ``predicted``, ``group`` (what the folds did not split), ``fold``, ``speaker`` and
``recording`` (null if unknown), and a number for each class: ``probabilities`` or ``decision_values``, depending on the
head. Files without speakers and recordings can be read too.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from types import NoneType
from typing import Any, Literal

import numpy as np

from nonverbal.errors import UserError
from nonverbal.files import json_lines, write_lines

Gives = Literal["probabilities", "decision_values"]

_OPTIONAL = ("speaker", "recording")
"""Columns that hold a text or null, or are missing."""

_REQUIRED = ("clip", "label", "predicted", "group", "fold")
AGAIN = "write the scores and their predictions again with the command that made them"


@dataclass(frozen=True)
class Predictions:
    """The decisions of one model under one seed, in the order of the clips' ids."""

    path: Path
    clips: list[str]
    """Ids, sorted, each once."""
    labels: np.ndarray
    """Each clip's class, ``(clips,)`` int64, a position among the classes of the score."""
    predicted: np.ndarray
    """The predicted class, in the same way."""
    folds: np.ndarray
    """Names of folds, ``(clips,)``."""
    groups: list[str]
    speakers: list[str | None]
    recordings: list[str | None]
    gives: Gives | None
    """What ``values`` are; None if there are none."""
    values: np.ndarray | None
    """``(clips, classes)`` float64."""

    def of(self, clips: Collection[str]) -> "Predictions":
        """Return only the decisions on these clips, given by id."""
        rows = np.array([row for row, clip in enumerate(self.clips) if clip in clips], dtype=np.int64)
        columns: list[list[Any]] = [self.clips, self.groups, self.speakers, self.recordings]
        names, groups, speakers, recordings = ([column[row] for row in rows] for column in columns)
        return replace(
            self,
            clips=names,
            labels=self.labels[rows],
            predicted=self.predicted[rows],
            folds=self.folds[rows],
            groups=groups,
            speakers=speakers,
            recordings=recordings,
            values=None if self.values is None else self.values[rows],
        )


def write_predictions(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows in the format that this module describes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_lines(path, rows)


def read_predictions(path: Path, classes: Sequence[str]) -> Predictions:
    """Read a file of predictions.

    Args:
        path: the file.
        classes: those of the score that names the file.

    Raises:
        UserError: the file is missing, or a row is torn, has other classes, or is of the same clip as another row; the
            message names the file and the line.
    """
    rows = rows_by_clip(path, _REQUIRED)
    places = {name: number for number, name in enumerate(classes)}
    gives = _gives(rows[0]) if rows else None
    return Predictions(
        path,
        [row["clip"] for row in rows],
        _places(path, rows, "label", places),
        _places(path, rows, "predicted", places),
        np.array([row["fold"] for row in rows]),
        [row["group"] for row in rows],
        [row.get("speaker") for row in rows],
        [row.get("recording") for row in rows],
        gives,
        None if gives is None else _values(path, rows, gives, classes),
    )


def rows_by_clip(path: Path, required: Sequence[str]) -> list[dict[str, Any]]:
    """Read the rows of a file of predictions, sorted by ``clip``.

    Args:
        path: the file.
        required: names of the columns that must hold a text in each row, ``clip`` among them.

    Raises:
        UserError: the file is missing, or a row is torn, lacks something, or is of the same clip as another row.
    """
    try:
        rows = [row for _, row in json_lines(path)]
    except OSError as error:
        raise UserError(f"cannot read the predictions {path}: {error.strerror}; {AGAIN}") from error
    if not _hold_texts(rows, required):
        number = next(number for number, row in enumerate(rows, 1) if not _hold_texts([row], required))
        texts = ", ".join(required)
        raise UserError(
            f"{path}, line {number}: not a prediction: {texts} must be texts, and {' and '.join(_OPTIONAL)} texts or "
            f"null; {AGAIN}"
        )
    rows.sort(key=itemgetter("clip"))
    for one, following in pairwise(rows):
        if one["clip"] == following["clip"]:
            raise UserError(f"{path}: clip {one['clip']} has two rows; {AGAIN}")
    return rows


def _hold_texts(rows: Sequence[Any], required: Sequence[str]) -> bool:
    """Whether all rows have the required fields, as texts."""
    if not set(map(type, rows)) <= {dict}:
        return False
    kinds = {name: {str} for name in required} | {name: {str, NoneType} for name in _OPTIONAL}
    return all(set(map(type, (row.get(name) for row in rows))) <= kind for name, kind in kinds.items())


def _places(path: Path, rows: Sequence[dict[str, Any]], field: str, places: dict[str, int]) -> np.ndarray:
    try:
        return np.array([places[row[field]] for row in rows], dtype=np.int64)
    except KeyError as error:
        raise UserError(f"{path}: {field} {error} is not a class of the scores {sorted(places)}; {AGAIN}") from error


def _gives(row: dict[str, Any]) -> Gives | None:
    return "probabilities" if "probabilities" in row else "decision_values" if "decision_values" in row else None


def _values(path: Path, rows: Sequence[dict[str, Any]], gives: Gives, classes: Sequence[str]) -> np.ndarray:
    try:
        values = np.array([[row[gives][name] for name in classes] for row in rows], dtype=np.float64)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{path}: a row has no {gives} of every class ({error}); {AGAIN}") from error
    wrong = ~np.isfinite(values).all(1)
    if gives == "probabilities":
        wrong |= (values < 0).any(1) | (np.abs(values.sum(1) - 1) > 1e-3)
    if wrong.any():
        row = int(wrong.argmax())
        must = "sum to 1" if gives == "probabilities" else "be numbers"
        raise UserError(f"{path}: {gives} of clip {rows[row]['clip']} must {must}, but are {values[row].tolist()}")
    return values
