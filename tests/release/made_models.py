"""Runs that end in a tiny model, laid out by hand as ``nonverbal pretrain`` and ``nonverbal finetune`` lay them out."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from finetuned_runs import save_classifier
from scored import write_scored
from tiny_encoders import save_tiny

from nonverbal.curves import Panel, write_panels
from nonverbal.data.index import ShardFolder
from nonverbal.files import write_lines
from nonverbal.release import measuring, plain_measure
from nonverbal.release.settings import ReleaseConfig
from nonverbal.tasks.labels_seen import write_labels_seen


def in_this_process(folder: Path, trust: bool = False, python: Path | None = None) -> measuring.Loaded:
    """Measure here, which is quicker than another process."""
    return measuring.read(folder, plain_measure.attempt(str(folder), trust))


def measured_here(patch: pytest.MonkeyPatch) -> None:
    """Let releases be measured in this process."""
    patch.setattr(measuring, "run_plain", in_this_process)


def write_pretraining(
    run: Path, shards: Sequence[ShardFolder], kind: str = "wav2vec2 base", init: str | None = None, **batches: Any
) -> Path:
    """Write a run of 40 updates, of which the 30th is the best."""
    save_tiny(kind, run / "encoder")
    family = "ssam" if kind == "audio_mamba" else kind.partition(" ")[0]
    recipe = {
        "data": [str(one.folder) for one in shards],
        "out": str(run),
        "seed": 3,
        "family": family,
        "batches": {"batch_seconds": 24.0, "batches_per_step": 2, "weights": {}} | batches,
        "wav2vec2": {"init": init if family == "wav2vec2" else None},
        "hubert": {"init": init if family == "hubert" else None},
        "ssam": {"init": init if family == "ssam" else None},
    }
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    (run / "data.json").write_text(json.dumps({str(one.folder): one.sha256 for one in shards}))
    command = [str(run / "pretrain" / "train.py"), "--data", *recipe["data"], f"--out={run}", "--trainer.steps", "40"]
    _write_environment(run, command)
    (run / "best").write_text("step-30")
    rows = [{"kind": "train", "step": n, "loss": 9 - n / 10, "audio_per_second": 60.0} for n in range(1, 41)]
    rows += [{"kind": "validation", "step": n, "loss": 5 - n / 20, "accuracy": n / 40} for n in (10, 20, 30, 40)]
    write_lines(run / "metrics.jsonl", rows)
    write_panels(run, [Panel("loss", "loss per target"), Panel("never", "not measured")])
    return run


def write_finetuning(run: Path, shards: ShardFolder, init: Path) -> Path:
    """Write a fine-tuning on shards with classes ``a`` and ``b``, whose final model is there."""
    clips = shards.clips()
    save_classifier(run / "model", 3, ["a", "b"])
    write_labels_seen(run / "model", clips, init.name)
    (run / "model" / "clips.json").write_text(json.dumps({"max_seconds": 4.0, "pad_to": None}))
    (run / "model" / "README.md").write_text(f"made in {run}\n")
    (run / "folds.json").write_text("{}")
    (run / "recipe.yaml").write_text(yaml.safe_dump({"task": "classes", "data": str(shards.folder), "init": str(init)}))
    (run / "data.json").write_text(json.dumps({str(shards.folder): shards.sha256}))
    (run / "final").mkdir()
    _write_environment(run / "final", [str(run / "finetune" / "train.py"), f"--data={shards.folder}", f"--init={init}"])
    labels = [clip.label for clip in clips if clip.label]
    predicted = ["a", *labels[1:]]
    folds = [str(n % 2) for n in range(len(labels))]
    speakers = [clip.speaker for clip in clips if clip.label]
    write_scored(
        run,
        str(init),
        labels,
        predicted,
        folds,
        [str(speaker) for speaker in speakers],
        speakers,
        chosen={"epoch": 3.0},
        probe="fine-tuned",
        details={"run": "seed-0/fold-0"},
        data_sha256=shards.sha256,
    )
    return run


def _write_environment(run: Path, command: list[str]) -> None:
    launch = {
        "time": "now",
        "command": command,
        "python": "3.11",
        "platform": "a machine's own name",
        "packages": {"torch": "2.9", "deepspeed": None},
        "processor": "Abacus",
        "gpu": None,
        "processes": 2,
        "threads": 4,
        "precision": {"value": "bf16", "why": "units"},
    }
    (run / "environment.json").write_text(json.dumps([launch]))


def settings(source: Path, out: Path, **given: Any) -> ReleaseConfig:
    """Return what a release is asked for."""
    return ReleaseConfig(**{"source": source, "repo": "org/tiny", "out": out} | given)
