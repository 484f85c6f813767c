"""Runs that end in a tiny model, laid out by hand as ``nonverbal pretrain`` and ``nonverbal finetune`` lay them out."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from finetuned_runs import save_classifier
from made_shards import relisted
from scored import write_scored
from tiny_encoders import save_tiny

from nonverbal.curves import Panel, write_panels
from nonverbal.data.index import ShardFolder
from nonverbal.files import sha256_of, write_lines
from nonverbal.release import measuring, plain_measure
from nonverbal.release.passport import PASSPORT
from nonverbal.release.settings import ReleaseConfig
from nonverbal.tasks.labels_seen import write_labels_seen
from nonverbal.tasks.scores import read_scores, write_scores

CLIPS = [("a", 1.0, "train"), ("b", 2.0, "train"), ("a", 0.5, "validation")]
"""For ``make_shards``."""

SUFFIXES = (".json", ".safetensors", ".py")

MEASURED: dict[tuple[str, ...], Any] = {}
"""What was measured of models by their bits: many tests release the same ones."""


def in_this_process(folder: Path, trust: bool = False, python: Path | None = None) -> measuring.Loaded:
    """Measure here, which is quicker than another process, and the same bits once."""
    key = tuple(
        sha256_of(path) for path in sorted(folder.iterdir()) if path.suffix in SUFFIXES and path.name != PASSPORT
    )
    if key not in MEASURED:
        MEASURED[key] = plain_measure.attempt(str(folder), trust)
    return measuring.read(folder, MEASURED[key])


def measured_here(patch: pytest.MonkeyPatch) -> None:
    """Let releases be measured in this process."""
    patch.setattr(measuring, "run_plain", in_this_process)


def write_pretraining(
    run: Path, shards: Sequence[ShardFolder], kind: str = "wav2vec2 base", init: str | None = None, **batches: Any
) -> Path:
    """Write a run of 40 updates, of which the 30th is the best."""
    save_tiny(kind, run / "encoder")
    family = "ssam" if kind == "audio_mamba" else kind.partition(" ")[0]
    folders = [str(one.folder) for one in shards]
    recipe = {
        "data": folders,
        "out": str(run),
        "seed": 3,
        "family": family,
        "batches": {"batch_seconds": 24.0, "batches_per_step": 2, "weights": {}} | batches,
        "trainer": {"steps": 1000},
        "wav2vec2": {"init": init if family == "wav2vec2" else None},
        "hubert": {"init": init if family == "hubert" else None},
        "ssam": {"init": init if family == "ssam" else None},
    }
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    (run / "data.json").write_text(json.dumps({str(one.folder): one.sha256 for one in shards}))
    command = [str(run / "pretrain" / "train.py"), "--data", *folders, f"--out={run}", "--trainer.steps", "40"]
    _write_environment(run, command)
    (run / "best").write_text("step-30")
    rows = [{"kind": "train", "step": n, "loss": 9 - n / 10, "audio_per_second": 60.0} for n in range(1, 41)]
    rows += [{"kind": "validation", "step": n, "loss": 5 - n / 20, "accuracy": n / 40} for n in (10, 20, 30, 40)]
    write_lines(run / "metrics.jsonl", rows)
    write_panels(run, [Panel("loss", "loss per target"), Panel("never", "not measured")])
    return run


def write_finetuning(run: Path, shards: ShardFolder, init: Path) -> Path:
    """Write a fine-tuning on the clips of shards that have a label, ``a`` or ``b``, whose final model is there."""
    clips = [clip for clip in shards.clips() if clip.label]
    save_classifier(run / "model", 3, ["a", "b"])
    write_labels_seen(run / "model", clips, init.name)
    (run / "model" / "clips.json").write_text(json.dumps({"max_seconds": 4.0, "pad_to": None}))
    (run / "model" / "README.md").write_text(f"made in {run}\n")
    (run / "folds.json").write_text("{}")
    (run / "recipe.yaml").write_text(yaml.safe_dump({"task": "classes", "data": str(shards.folder), "init": str(init)}))
    (run / "data.json").write_text(json.dumps({str(shards.folder): shards.sha256}))
    (run / "final").mkdir()
    _write_environment(run / "final", [str(run / "finetune" / "train.py"), f"--data={shards.folder}", f"--init={init}"])
    labels = [str(clip.label) for clip in clips]
    predicted = ["a", *labels[1:]]
    folds = [str(n % 2) for n in range(len(labels))]
    speakers = [clip.speaker for clip in clips]
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
    asked: dict[str, Any] = {"source": source, "repo": "org/tiny", "out": out}
    return ReleaseConfig(**asked | given)


def write_scores_on(
    folder: Path,
    model: str,
    sounds: ShardFolder,
    key: str,
    layers: Sequence[float] = (),
    wrong: int = 1,
    **changes: Any,
) -> Path:
    """Write scores of a model on the labelled clips of some shards.

    Args:
        folder: of the scores.
        model: what they call it.
        sounds: the shards, whose classes are ``high`` and ``low``.
        key: of the model.
        layers: its inner UARs in the first fold.
        wrong: how many of the last clips it takes for the other class.
        changes: of the rows.
    """
    clips = [clip for clip in sounds.clips() if clip.label]
    labels = [str(clip.label) for clip in clips]
    predicted = labels[:-wrong] + ["low" if label == "high" else "high" for label in labels[-wrong:]]
    folds = [str(int(str(clip.speaker)[1:]) % 3) for clip in clips]
    speakers = [str(clip.speaker) for clip in clips]
    given = {"corpus": "made", "protocol": "speakers apart", "probe": "logistic", "data_sha256": sounds.sha256}
    path = write_scored(folder, model, labels, predicted, folds, speakers, speakers, model_key=key, **given | changes)
    for file in folder.glob("predictions/*"):
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        for row, clip in zip(rows, clips, strict=True):
            row |= {"clip": clip.id, "recording": clip.recording}
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    rows = read_scores(path)
    for fold, row in enumerate(rows):
        if row.model == model and layers:
            row.inner_uar.extend(value + 0.1 * fold for value in layers)
            row.chosen["layer"] = 1 if fold else 2
    write_scores(path, rows)
    return path


def relabel(folder: Path, **changes: Any) -> ShardFolder:
    """Change what the manifest says of every clip, and let runs beside the folder be of it as it is then."""
    path = folder / "manifest.jsonl"
    rows = [json.loads(line) | changes for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    before, after = sha256_of(folder / "index.json"), relisted(folder)
    for data in folder.parent.glob("*/data.json"):
        data.write_text(data.read_text().replace(before, after.sha256))
    return after
