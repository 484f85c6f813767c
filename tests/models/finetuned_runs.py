"""Runs of fine-tuning made by hand: folds whose weights differ, as nonverbal finetune lays them out."""

import json
from pathlib import Path

import torch
from tiny_encoders import save_random
from tiny_shapes import WAVEFORMS
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForSequenceClassification

from nonverbal.tasks.labels_seen import write_labels_seen
from nonverbal.tasks.task import Task


def save_classifier(folder: Path, seed: int, classes: list[str]) -> Path:
    """Write a tiny classifier of transformers, with weights of a seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        labels = {"id2label": dict(enumerate(classes)), "label2id": {k: i for i, k in enumerate(classes)}}
        config = Wav2Vec2Config(**WAVEFORMS, **labels, classifier_proj_size=8)
        save_random(Wav2Vec2ForSequenceClassification(config), folder)
    Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(folder)
    return folder


def plant(run: Path, task: Task, init: str = "initialised:x", same: bool = False) -> Path:
    """Write a run whose folds are those of a task; each with weights of its own, or all with the same."""
    rows = []
    for seed, folds in task.folds.items():
        for number, fold in enumerate(folds):
            folder = run / f"seed-{seed}/fold-{number}"
            save_classifier(folder / "encoder", 0 if same else 10 * seed + number, task.classes)
            (folder / "fold.json").write_text("{}")
            (folder / "recipe.yaml").write_text("{}")
            write_labels_seen(folder / "encoder", [task.clips[row] for row in fold.train], init)
            sides = {"test": fold.test, "fitted": fold.train}
            ids = {name: [task.clips[row].id for row in side] for name, side in sides.items()}
            where = {"seed": seed, "number": number, "fold": fold.name, "folder": f"seed-{seed}/fold-{number}"}
            rows.append(where | ids)
    said = {"data_sha256": task.shards.sha256, "corpus": task.corpus, "classes": task.classes, "merged": task.merged}
    (run / "folds.json").write_text(json.dumps({**said, "protocol": task.protocol, "folds": rows}))
    (run / "recipe.yaml").write_text(f"init: '{init}'\n")
    return run
