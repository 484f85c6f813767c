"""Transcriptions: the predictions for a task of texts; JSON Lines, a row per tested clip, a file per model and seed.

A row holds ``clip``, ``text`` (the true text), ``predicted_text``, ``group`` (what the folds did not split), ``fold``,
``speaker`` and ``recording`` (null if unknown).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nonverbal.data.transcripts import Edits, edits
from nonverbal.errors import UserError
from nonverbal.tasks.predictions import AGAIN, rows_by_clip

_REQUIRED = ("clip", "text", "predicted_text", "group", "fold")


@dataclass(frozen=True)
class Transcriptions:
    """The texts that one model predicted with one seed, in the order of the clips' ids."""

    path: Path
    clips: list[str]
    """Ids, sorted, each once."""
    texts: list[str]
    """The true text of each."""
    predicted: list[str]
    edits: Edits
    """The edits between these and the true texts."""
    folds: np.ndarray
    """Names of folds, ``(clips,)``."""
    groups: list[str]
    speakers: list[str | None]
    recordings: list[str | None]


def read_transcriptions(path: Path) -> Transcriptions:
    """Read a file of transcriptions, and compare them with the true texts.

    Raises:
        UserError: the file is missing; a row is torn, is not a transcription, has no words, or is of the same clip as
            another row; or ``jiwer`` is not installed.
    """
    rows = rows_by_clip(path, _REQUIRED)
    texts, predicted = ([row[name] for row in rows] for name in ("text", "predicted_text"))
    if silent := next((row["clip"] for row in rows if not row["text"].split()), None):
        raise UserError(f"{path}: the text of clip {silent} has no words; {AGAIN}")
    return Transcriptions(
        path,
        [row["clip"] for row in rows],
        texts,
        predicted,
        edits(texts, predicted),
        np.array([row["fold"] for row in rows]),
        [row["group"] for row in rows],
        [row.get("speaker") for row in rows],
        [row.get("recording") for row in rows],
    )
