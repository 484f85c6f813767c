"""Scores: JSON Lines, one row a model, protocol, seed and fold. A number never appears without its protocol."""

from collections.abc import Hashable, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, get_origin, get_type_hints

import numpy as np

from nonverbal.errors import UserError
from nonverbal.files import json_lines, write_lines

UNFINISHED = "logistic, not to its optimum"
"""The probe of rows that say ``linear`` and have no ``details``: scikit-learn's logistic regression as it ends by
default. Some of its decisions depend on how features are rotated. It is not the head ``logistic``, nor ``linear``."""


@dataclass(frozen=True)
class Score:
    """What one model did on one fold."""

    model: str
    """As the user named it."""
    model_key: str
    """Hash of its configuration and weights, and how it was read."""
    corpus: str
    """Names of the corpora, joined by ``+``."""
    data_sha256: str
    """Of the index of the shards that hold them."""
    classes: list[str]
    """The classes told apart; none where texts were written."""
    protocol: str
    """How clips were divided, such as ``speaker-disjoint 5-fold, stratified``."""
    probe: str
    """What was trained on the model, such as ``logistic``."""
    seed: int
    """Of the folds."""
    fold: str
    metrics: dict[str, float]
    """``uar``, ``accuracy``, ``f1``, in [0, 1]; of texts ``wer`` and ``cer``, which may be above 1."""
    chosen: dict[str, float | str]
    """What was chosen inside the training side, such as ``layer`` and ``C``; tables show the first."""
    train_clips: int
    """Clips that the classifier was fitted to."""
    test_clips: int
    test_classes: int
    """Classes that the fold's test clips have: the metrics are means over these."""
    pretraining: str
    """Whether the model was pretrained on these clips, see ``nonverbal.tasks.contamination``."""
    predictions: str
    """The file of per-clip decisions, relative to that of the scores."""
    inner_uar: list[float] = field(default_factory=list)
    """UAR of each layer inside the training side, from layer 0; empty where layers were not compared, and in files
    that do not have it."""
    merged: dict[str, str] = field(default_factory=dict)
    """Labels of corpora that count as a class of another name; empty in files that do not have it."""
    lets_through: list[str] = field(default_factory=list)
    """What may make the number too good, in words (see ``nonverbal.tasks.protocols.lets_through``); empty in files that
    do not say."""

    null: dict[str, float | str] = field(default_factory=dict)
    """Of the model and seed, the same in all folds: ``p`` of the pooled UAR among those of permuted labels, their
    ``mean``, ``draws``, how many were ``exceeding`` it, and ``what`` was permuted; empty where no null was drawn."""
    details: dict[str, Any] = field(default_factory=dict)
    """What the head says of its training: ``parameters``, how many numbers were fitted, and others by name; empty in
    files that do not have it."""
    launch: str = ""
    """Which command made it: the ``launch_key`` of one that ``environment.json`` beside the file has; empty where the
    row has a run of its own, whose folder says it, and in files that do not have it."""

    @property
    def task(self) -> tuple[str, tuple[str, ...], tuple[tuple[str, str], ...], str, str]:
        """Corpus, classes and what was merged in them, protocol, probe: what rows that share a column share."""
        return self.corpus, tuple(self.classes), tuple(self.merged.items()), self.protocol, self.probe

    @property
    def key(self) -> tuple[Hashable, ...]:
        """What makes a row the same measurement again."""
        return self.data_sha256, *self.task, self.model, self.seed, self.fold


@dataclass(frozen=True)
class Summary:
    """One model under one protocol, over all folds and seeds."""

    model: str
    protocol: str
    pretraining: str
    folds: int
    mean: dict[str, float]
    """Each metric's mean over folds."""
    std: dict[str, float]
    """Each metric's population standard deviation over folds."""


_FIELDS = {field.name for field in fields(Score)}
_REQUIRED = {one.name for one in fields(Score) if one.default is MISSING and one.default_factory is MISSING}
_KINDS: dict[str, type] = {name: get_origin(hint) or hint for name, hint in get_type_hints(Score).items()}
"""Of the values of a row, as JSON has them."""


def write_scores(path: Path, scores: Sequence[Score]) -> None:
    """Add rows to a file of scores, which is made where it is missing.

    A measurement made again takes the place of all rows of its model on the same shards under its protocol and seed;
    rows of other shards stay, in tables of their own. The file is at
    every moment the old one or the new one. Where several commands may add to it, the caller holds its folder
    (``nonverbal.files.locked``).
    """
    replaced = {score.key[:-1] for score in scores}
    kept = [score for score in read_scores(path) if score.key[:-1] not in replaced] if path.exists() else []
    write_lines(path, (asdict(score) for score in [*kept, *scores]))


def read_scores(path: Path) -> list[Score]:
    """Read a file of scores; a row that is not a score is a ``UserError`` naming file and line."""
    try:
        return [score_of(row, f"{path}, line {number}") for number, row in json_lines(path)]
    except OSError as error:
        raise UserError(f"cannot read the scores {path}: {error.strerror}") from error


def score_of(row: Any, where: str) -> Score:
    """Return the score that a row of JSON holds.

    Raises:
        UserError: it is not a score; names ``where``.
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
    return Score(**row)


def _check_shown(row: dict[str, Any], where: str) -> None:
    """Refuse what tables and figures could not show."""
    null, chosen, inner = row.get("null", {}), row["chosen"], row.get("inner_uar", [])
    if null and not (all(_is_number(null.get(name)) for name in ("p", "mean")) and isinstance(null.get("what"), str)):
        raise UserError(f"{where}: not a score; null must say p, mean and what")
    if not all(isinstance(value, str) or _is_number(value) for value in chosen.values()):
        raise UserError(f"{where}: not a score; a value of chosen is neither a number nor a text")
    layer = chosen.get("layer", 0)
    if len(inner) > 1 and not (type(layer) is int and 0 <= layer < len(inner)):
        raise UserError(f"{where}: not a score; chosen.layer is {layer!r}, but inner_uar has {len(inner)} layers")


def _is_number(value: object) -> bool:
    # Nothing that is measured here is infinite; JSON has whole numbers beyond those of floating point.
    return isinstance(value, int | float) and (value != value or abs(value) < 1e100)


def summarise(scores: Sequence[Score]) -> list[Summary]:
    """Return mean and population standard deviation over folds and seeds, by model, in the order of the rows.

    Raises:
        ValueError: the rows are not of one protocol, probe, corpus and set of classes: they share no column.
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
