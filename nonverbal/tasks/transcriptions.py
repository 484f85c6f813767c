"""Transcriptions: the predictions of a task of texts. JSON Lines, one row a clip tested, a file a model and seed.

A row holds ``clip``, ``text`` (what is said), ``predicted_text``, ``group`` (what folds did not split), ``fold``,
``speaker`` and ``recording`` (null where unknown).
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
    """What one model wrote under one seed, in the order of the clips' ids."""

    path: Path
    clips: list[str]
    """Ids, sorted, each once."""
    texts: list[str]
    """What is said in each."""
    predicted: list[str]
    edits: Edits
    """How far these are from the texts."""
    folds: np.ndarray
    """``(clips,)``, names."""
    groups: list[str]
    speakers: list[str | None]
    recordings: list[str | None]


def read_transcriptions(path: Path) -> Transcriptions:
    """Read a file of transcriptions, and compare them with the texts.

    Raises:
        UserError: the file is not there, a row is none of a transcription, torn, without words, or of a clip that
            another row has; ``jiwer`` is not installed.
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
