"""Targets that are folders of runs: of fine-tuning, of pretraining, and of units that are not all assigned."""

import json
import shutil
from pathlib import Path

import numpy as np
from bench import Target
from report_inputs import write_run, write_tables
from shards_targets import make_shards

FOLD = "seed-0/fold-0"


def make_finetuned(folder: Path) -> None:
    """Write a fine-tuning of one fold, which is done, without its weights."""
    encoder = folder / FOLD / "encoder"
    encoder.mkdir(parents=True)
    score = json.loads(write_tables(folder / "made", "x").read_text().splitlines()[0])
    predicted = next((folder / "made/predictions").iterdir()).read_text().splitlines(keepends=True)
    shutil.rmtree(folder / "made")
    (folder / FOLD / "fold.json").write_text(json.dumps(score, indent=1))
    (folder / FOLD / "predictions.jsonl").write_text("".join(predicted[:8]))
    (encoder / "config.json").write_text('{"model_type": "wav2vec2"}')
    (encoder / "clips.json").write_text('{"max_seconds": 10.0, "pad_to": null}')
    seen = {"labels_seen": ["0" * 64], "recordings": ["1" * 64], "init": "facebook/x"}
    (encoder / "heard.json").write_text(json.dumps(seen))
    where = {"seed": 0, "number": 0, "fold": "0", "folder": FOLD, "test": ["a/1"], "fitted": ["a/2"]}
    said = {"data_sha256": "0" * 64, "corpus": "mine", "classes": ["a", "b"], "merged": {"c": "a"}}
    (folder / "folds.json").write_text(json.dumps({**said, "protocol": "grouped", "folds": [where]}))
    (folder / "recipe.yaml").write_text("init: facebook/x\ntrainer: {precision: fp32}\n")


def read_finetuned(folder: Path) -> object:
    """Open a run as a probe does, take what its folds came to, and read what lies beside their weights."""
    from nonverbal.evaluation.encoders.finetuned import open_run
    from nonverbal.files import json_lines
    from nonverbal.stages.finetuning.kept import KEPT, PREDICTIONS, is_done, kept_score
    from nonverbal.stages.predicting import read_limits
    from nonverbal.tasks.labels_seen import labels_seen_by

    run = open_run(f"finetuned:{folder}")
    run.check_data("0" * 64)
    beside = [(labels_seen_by(tuned.encoder), read_limits(tuned.encoder)) for tuned in run.folds.values()]
    kept = [kept_score(path.parent) for path in sorted(folder.rglob(KEPT)) if is_done(path.parent)]
    rows = [row for score in kept for row in (score.key, sorted(score.metrics.items()))]
    return run.key, beside, rows, [list(json_lines(path)) for path in sorted(folder.rglob(PREDICTIONS))]


def make_begun(folder: Path) -> None:
    """Write a pretraining that was interrupted."""
    write_run(folder / "run", folder / "shards", steps=4)
    shutil.rmtree(folder / "shards")
    (folder / "run/interrupted.json").write_text('{"cause": "time", "step": 3}')


def read_begun(folder: Path) -> object:
    """Begin to continue it: look at what it is, and cut the rows that are measured again."""
    from nonverbal.evaluation.plots import every_metric, read_metrics
    from nonverbal.training.run_folder import RunFolder

    run = RunFolder(folder / "run")
    said = run.precision(), run.open_choices(), run.data()
    before = run.metrics.read_bytes() if run.metrics.exists() else b""
    run.cut_metrics(3)
    after = run.metrics.read_bytes() if run.metrics.exists() else b""
    if before:
        run.metrics.write_bytes(before)
    return said, every_metric(read_metrics(run.metrics)), after


def make_clusters(folder: Path) -> None:
    """Write shards, and their units as ``nonverbal cluster`` leaves them where it is interrupted."""
    from nonverbal.data.index import open_shards
    from nonverbal.stages.clustering import _check_settings

    (folder / "shards").mkdir()
    make_shards(folder / "shards")
    (folder / "out/unfinished").mkdir(parents=True)
    _check_settings(folder / "out", {"clusters": 3, "seed": 0, "data": ["x"]})
    np.save(folder / "out/centroids.npy", np.ones((3, 4), dtype=np.float32))
    sha256 = open_shards(folder / "shards").sha256
    units = [np.arange(4, dtype=np.uint16) % 3 for _ in range(4)]
    np.savez(folder / f"out/unfinished/{sha256[:16]}-0.npz", *units)


def read_clusters(folder: Path) -> object:
    """Go on with them; what is not there would be computed, which takes longer than an input may."""
    from nonverbal.data.index import open_shards
    from nonverbal.stages.clustering import ClusterConfig, _assign, _check_settings, _fit_once

    settings = ClusterConfig([folder / "shards"], folder / "out", clusters=3)
    shards = open_shards(folder / "shards")
    _check_settings(settings.out, {"clusters": 3, "seed": 0, "data": ["x"]})
    if not (settings.out / "centroids.npy").exists():
        return None
    centroids = _fit_once(settings, [shards])
    kept = settings.out / f"unfinished/{shards.sha256[:16]}-0.npz"
    return _assign(settings, shards, centroids) if kept.exists() else None


def make_trained(folder: Path) -> None:
    """Write a fine-tuning that began from a pretraining, and the shards of both."""
    (folder / "shards").mkdir()
    make_shards(folder / "shards")
    row = {"reader": "folder", "licence": "CC0-1.0"}
    (folder / "shards/ledger.json").write_text(json.dumps({"made": row}))
    (folder / "shards/recipe.yaml").write_text("corpora: {made: {folder: x, licence: CC0-1.0, dataset: owner/name}}\n")
    recipes = {
        "first": "family: wav2vec2\ndata: [shards]\nbatches: {weights: {made: 2.0}}\nwav2vec2: {init: facebook/x}\n",
        "second": "init: first/encoder\ndata: shards\n",
    }
    for name, recipe in recipes.items():
        (folder / name / "encoder").mkdir(parents=True)
        (folder / name / "recipe.yaml").write_text(recipe)
        (folder / name / "encoder/config.json").write_text("{}")


def read_trained(folder: Path) -> object:
    """Say what the model was trained on, as its card does."""
    from nonverbal.release.trained import trained

    found = trained(folder / "second", [folder / "shards"])
    return found.sources, found.missing, sorted(found.names)


def make_steps(folder: Path) -> None:
    """Write what a study keeps of its steps, and what steps have cost."""
    (folder / "steps").mkdir()
    done = {"key": "0" * 64, "version": "1", "command": ["nonverbal", "probe"], "seconds": 9.0, "bytes": 10}
    done |= {"machine": "two cores", "when": "2026-11-27T12:00:00Z"}
    (folder / "steps/probe.a.json").write_text(json.dumps(done))
    (folder / "steps/probe.a.begun.json").write_text('{"key": "0", "seconds": 3.5, "failed": "it failed"}')
    rate = {"run": "probe", "like": "0", "models": "x", "work": 9.0, "seconds": 3.0, "bytes": 10, "machine": "x"}
    (folder / "rates.jsonl").write_text(json.dumps(rate) + "\n" + json.dumps(rate) + "\n")


def read_steps(folder: Path) -> object:
    """Look how a study's steps stand, and what they have cost."""
    from nonverbal.stages.studying.costs import Costs
    from nonverbal.stages.studying.kept import Kept

    kept = Kept(folder)
    return kept.done("probe.a"), kept.begun("probe.a"), Costs(folder / "rates.jsonl", folder / "plans").rates


TARGETS = [
    Target("trained-run", make_trained, read_trained),
    Target("study-steps", make_steps, read_steps),
    Target("finetuned-run", make_finetuned, read_finetuned),
    Target("begun-run", make_begun, read_begun),
    Target("clusters", make_clusters, read_clusters),
]
