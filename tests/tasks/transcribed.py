"""Scores of texts with their transcriptions, made by hand, for tests of what reads them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nonverbal.data.transcripts import edits
from nonverbal.tasks.predictions import write_predictions
from nonverbal.tasks.scores import Score, write_scores

TEXTS = ["ONE", "TWO THREE", "FOUR", "FIVE SIX", "ONE", "TWO"]
SAID = ["ONE", "TWO TREE", "FOR", "FIVE", "ONE", "TWO TWO"]
"""By speakers a, a, b, b, c, c."""


def write_transcribed(
    folder: Path, model: str = "m", said: Sequence[str] = SAID, texts: Sequence[str] = TEXTS, **changes: Any
) -> Path:
    """Write the scores of a recogniser on clips ``c0``, ``c1``, ... of speakers by two, and return the score file."""
    name = f"predictions/{model}-{changes.get('seed', 0)}.jsonl"
    rows = [
        {
            "clip": f"c{number}",
            "text": text,
            "predicted_text": guess,
            "group": "abcdef"[number // 2],
            "fold": str(number // 4),
            "speaker": "abcdef"[number // 2],
            "recording": f"r{number}",
        }
        for number, (text, guess) in enumerate(zip(texts, said, strict=True))
    ]
    write_predictions(folder / name, rows)
    scores = []
    for fold in sorted({row["fold"] for row in rows}):
        own = [row for row in rows if row["fold"] == fold]
        found = edits([row["text"] for row in own], [row["predicted_text"] for row in own])
        given: dict[str, Any] = {
            "model_key": "key",
            "corpus": "made",
            "data_sha256": "sha",
            "protocol": "by hand",
            "probe": "fine-tuned",
            "seed": 0,
            "metrics": found.rates,
            "chosen": {"epoch": 3.0},
            "train_clips": len(rows) - len(own),
            "test_clips": len(own),
            "test_classes": 0,
            "pretraining": "held out",
        }
        scores.append(Score(model=model, classes=[], fold=fold, predictions=name, **(given | changes)))
    write_scores(folder / "scores.jsonl", scores)
    return folder / "scores.jsonl"
