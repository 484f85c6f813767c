"""What a report is made of, made by hand: scores with layers and weights, a pretraining run with its data."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from scored import write_scored

from nonverbal.curves import Panel, write_panels
from nonverbal.evaluation.analyses.base import write_analysis
from nonverbal.evaluation.analyses.maps import SoundMap
from nonverbal.files import write_lines
from nonverbal.tasks.scores import read_scores, write_scores

HOSTILE = '<script>alert("x")</script>'
"""A name that would be a program, were it not escaped."""


def write_tables(folder: Path, models: str | list[str] = "xy", classes: str | list[str] = "ab", **changes: Any) -> Path:
    """Write scores of models on 24 clips of 12 speakers in 3 folds, as a head that chooses layers keeps them."""
    labels, speakers = [classes[clip % 2] for clip in range(24)], [f"s{clip // 2}" for clip in range(24)]
    folds = [str(clip // 2 % 3) for clip in range(24)]
    for number, name in enumerate(models):
        random = np.random.default_rng(number)
        predicted = np.where(random.random(24) < 0.8, labels, classes[0]).tolist()
        values = random.dirichlet([1, 1], 24)
        file = write_scored(folder, name, labels, predicted, folds, speakers, speakers, values, **changes)
    rows = read_scores(file)
    for fold, row in enumerate(rows):
        row.inner_uar.extend([0.5, 0.6 + 0.01 * (fold % 3), 0.55])
        row.details["layer_weights"] = [0.2, 0.5, 0.3]
    write_scores(file, rows)
    return file


def write_run(folder: Path, shards: Path, steps: int = 40, **recipe: Any) -> Path:
    """Write a pretraining run on a folder of shards that has a ledger."""
    shards.mkdir(parents=True, exist_ok=True)
    (shards / "index.json").write_text("{}")
    row = {"licence": "CC0-1.0", "files": 9, "clips": 8, "kept": 7, "train": 6, "validation": 1, "hours_kept": 0.5}
    (shards / "ledger.json").write_text(
        json.dumps({"made": row | {"dropped": {"too_short": 1}, "skipped": {"odd": 1}}})
    )
    folder.mkdir(parents=True)
    sha256 = hashlib.sha256(b"{}").hexdigest()
    (folder / "data.json").write_text(json.dumps({str(shards): sha256}))
    content = {"family": "wav2vec2", "seed": 3, "batches": {"batch_seconds": 90.0, "batches_per_step": 2}} | recipe
    (folder / "recipe.yaml").write_text(json.dumps(content))
    launch = {"time": "now", "command": ["train.py", "--out", "a b"], "python": "3.11", "packages": {"torch": "2.9"}}
    (folder / "environment.json").write_text(json.dumps([launch]))
    rows = [
        {"kind": "train", "step": step, "loss": 9 - step / 10, "audio_per_second": 60.0, "waiting": 0.25}
        for step in range(1, steps + 1)
    ]
    rows.append({"kind": "validation", "step": steps, "loss": 4.5})
    write_lines(folder / "metrics.jsonl", rows)
    write_panels(folder, [Panel("loss", "loss per target"), Panel("never", "not measured")])
    return folder


def rename_clips(folder: Path, corpus: str) -> None:
    """Give the clips of predictions the ids that ``conftest.write_shards`` gives to those of a corpus."""
    for file in (folder / "predictions").iterdir():
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        write_lines(file, [row | {"clip": f"{corpus}/{row['clip'][1:]}.wav"} for row in rows])


def write_map_of(path: Path, clips: int) -> Path:
    """Write a map of clips of 12 speakers, whose names are those of ``rename_clips`` for the corpus ``mine``."""
    places = np.random.default_rng(0).normal(size=(2, clips)).tolist()
    labels: list[str | None] = [[HOSTILE, "b"][n % 2] for n in range(clips)]
    speakers: list[str | None] = [f"s{n // 2}" for n in range(clips)]
    names = [f"mine/{n}.wav" for n in range(clips)]
    made = SoundMap(HOSTILE, "key", 1, "no label seen", "sha", 10, 0.5, 10 / 23, 0.8, names, labels, speakers, *places)
    write_analysis(path, made)
    return path
