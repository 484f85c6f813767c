"""Scores: JSON Lines with one row per model, protocol, seed and fold. A number never appears without its protocol."""

from collections.abc import Hashable, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, get_origin, get_type_hints

import numpy as np

from nonverbal.errors import UserError
from nonverbal.files import json_lines, write_lines

UNFINISHED = "logistic, not to its optimum"
"""The probe of rows that say ``linear`` and have no ``details``: scikit-learn's logistic regression with its default
stopping rule, some of whose decisions depend on how features are rotated. It is neither the head ``logistic`` nor
``linear``."""


@dataclass(frozen=True)
class Score:
    """The result of one model on one fold."""

    model: str
    """As the user named it."""
    model_key: str
    """Hash of its configuration and weights, and of how it was read."""
    corpus: str
    """Names of the corpora, joined by ``+``."""
    data_sha256: str
    """Hash of the index of the shards that hold them."""
    classes: list[str]
    """The classes that are distinguished; empty for texts."""
    protocol: str
    """How clips were divided, such as ``speaker-disjoint 5-fold, stratified``."""
    probe: str
    """What was trained on the model, such as ``logistic``."""
    seed: int
    """Seed of the folds."""
    fold: str
    metrics: dict[str, float]
    """``uar``, ``accuracy``, ``f1``, in [0, 1]; for texts ``wer`` and ``cer``, which may be above 1."""
    chosen: dict[str, float | str]
    """What was chosen on the training side, such as ``layer`` and ``C``; tables show the first entry."""
    train_clips: int
    """Number of clips to which the classifier was fitted."""
    test_clips: int
    test_classes: int
    """Number of classes among the fold's test clips; the metrics are means over these."""
    pretraining: str
    """Whether the model was pretrained on these clips; see ``nonverbal.tasks.contamination``."""
    predictions: str
    """The file with the decision on each clip, relative to the file of the scores."""
    inner_uar: list[float] = field(default_factory=list)
    """UAR of each layer on the training side, from layer 0; empty if layers were not compared, and in files without
    it."""
    merged: dict[str, str] = field(default_factory=dict)
    """Labels of corpora that count as a class of another name; empty in files without it."""
    lets_through: list[str] = field(default_factory=list)
    """What may make the number too good, in words (see ``nonverbal.tasks.divisions.lets_through``); empty in files
    without it."""

    null: dict[str, float | str] = field(default_factory=dict)
    """For the model and seed, the same in all folds: ``p`` of the pooled UAR among those of permuted labels, their
    ``mean``, the number of ``draws``, the number ``exceeding`` it, and ``what`` was permuted; empty if no null was
    drawn."""
    details: dict[str, Any] = field(default_factory=dict)
    """What the head reports about its training: ``parameters``, the number of fitted values, and others by name; empty
    in files without it."""
    launch: str = ""
    """The command that made the row: the ``launch_key`` of an entry in ``environment.json`` beside the file; empty if
    the row has a run of its own, whose folder holds the record, and in files without it."""

    @property
    def task(self) -> tuple[str, tuple[str, ...], tuple[tuple[str, str], ...], str, str]:
        """Corpus, classes with merged labels, protocol and probe: what rows in the same column share."""
        return self.corpus, tuple(self.classes), tuple(self.merged.items()), self.protocol, self.probe

    @property
    def key(self) -> tuple[Hashable, ...]:
        """What identifies a measurement: rows with the same key are the same measurement, made again."""
        return self.data_sha256, *self.task, self.model, self.seed, self.fold


@dataclass(frozen=True)
class Summary:
    """The result of one model under one protocol, over all folds and seeds."""

    model: str
    protocol: str
    pretraining: str
    folds: int
    mean: dict[str, float]
    """Each metric's mean over folds and seeds."""
    std: dict[str, float]
    """Each metric's population standard deviation over folds and seeds."""


_FIELDS = {field.name for field in fields(Score)}
_REQUIRED = {one.name for one in fields(Score) if one.default is MISSING and one.default_factory is MISSING}
_KINDS: dict[str, type] = {name: get_origin(hint) or hint for name, hint in get_type_hints(Score).items()}
"""Types of the values in a row, as JSON has them."""


def write_scores(path: Path, scores: Sequence[Score]) -> None:
    """Add rows to a file of scores, which is created if it is missing.

    A measurement made again replaces all rows of its model on the same shards under its protocol and seed; rows of
    other shards stay, in separate tables. At every moment the file is either the old one or the new one. If several
    commands may add to it, the caller locks its folder (``nonverbal.files.locked``).
    """
    replaced = {score.key[:-1] for score in scores}
    kept = [score for score in read_scores(path) if score.key[:-1] not in replaced] if path.exists() else []
    write_lines(path, (asdict(score) for score in [*kept, *scores]))


def read_scores(path: Path) -> list[Score]:
    """Read a file of scores; a row that is not a score raises a ``UserError`` that names the file and line."""
    try:
        return [score_of(row, f"{path}, line {number}") for number, row in json_lines(path)]
    except OSError as error:
        raise UserError(f"cannot read the scores {path}: {error.strerror}") from error


def score_of(row: Any, where: str) -> Score:
    """Return the score in a row of JSON.

    Raises:
        UserError: it is not a score; the message names ``where``.
    """
    if not isinstance(row, dict) or not _REQUIRED <= row.keys() <= _FIELDS:
        wrong = sorted(_REQUIRED - set(row) | set(row) - _FIELDS) if isinstance(row, dict) else type(row).__name__
        raise UserError(f"{where}: not a score; missing or unknown: {wrong}")
    for name, value in row.items():
        if not isinstance(value, _KINDS[name]) or isinstance(value, bool):
            raise UserError(f"{where}: not a score; {name} is {str(value)[:60]!r}, which has the wrong type")
    if not all(map(_is_number, (*row["metrics"].values(), *row.get("inner_uar", [])))):
        raise UserError(f"{where}: not a score; a metric or inner_uar is not a number")
    if not all(isinstance(value, str) for value in (*row["classes"], *row.get("merged", {}).values())):
        raise UserError(f"{where}: not a score; a class is not a text")
    if not all(isinstance(value, str) for value in row.get("lets_through", [])):
        raise UserError(f"{where}: not a score; lets_through is not a list of texts")
    _check_shown(row, where)
    if "details" not in row and row["probe"] == "linear":
        row["probe"] = UNFINISHED
    # A whole number in JSON may have more digits than NumPy's integers.
    row["metrics"] = {name: float(value) for name, value in row["metrics"].items()}
    row["inner_uar"] = [float(value) for value in row.get("inner_uar", [])]
    return Score(**row)


def _check_shown(row: dict[str, Any], where: str) -> None:
    """Refuse values that tables and figures could not show."""
    null, chosen, inner = row.get("null", {}), row["chosen"], row.get("inner_uar", [])
    if null and not (all(_is_number(null.get(name)) for name in ("p", "mean")) and isinstance(null.get("what"), str)):
        raise UserError(f"{where}: not a score; null must say p, mean and what")
    if not all(isinstance(value, str) or _is_number(value) for value in chosen.values()):
        raise UserError(f"{where}: not a score; a value of chosen is neither a number nor a text")
    layer = chosen.get("layer", 0)
    if len(inner) > 1 and not (type(layer) is int and 0 <= layer < len(inner)):
        raise UserError(f"{where}: not a score; chosen.layer is {layer!r}, but inner_uar has {len(inner)} layers")


def _is_number(value: object) -> bool:
    # Nothing that is measured here is infinite, and JSON may hold integers beyond the range of floating point.
    return isinstance(value, int | float) and (value != value or abs(value) < 1e100)


def summarise(scores: Sequence[Score]) -> list[Summary]:
    """Return mean and population standard deviation over folds and seeds, by model, in the order of the rows.

    Raises:
        ValueError: the rows are of different protocols, probes, corpora or sets of classes, and so do not share a
            column.
    """
    measured = {(score.data_sha256, score.task) for score in scores}
    if len(measured) > 1:
        raise ValueError(f"`scores` must be of one protocol, but are of {sorted(map(str, measured))}.")
    summaries = []
    for model in dict.fromkeys(score.model for score in scores):
        rows = [score for score in scores if score.model == model]
        names = [name for name in rows[0].metrics if all(name in row.metrics for row in rows)]
        values = {name: np.array([row.metrics[name] for row in rows]) for name in names}
        mean = {name: float(value.mean()) for name, value in values.items()}
        std = {name: float(value.std()) for name, value in values.items()}
        summaries.append(Summary(model, rows[0].protocol, rows[0].pretraining, len(rows), mean, std))
    return summaries
