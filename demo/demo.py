"""Runs all steps in minutes, offline, on synthetic vocal sounds: ``nonverbal demo [--out runs/demo]``.

By path: ``python demo/demo.py``. If it is run again, it keeps finished steps and continues an interrupted one.
"""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from nonverbal import cli, config
from nonverbal.data.index import ShardFolder
from nonverbal.data.preparing.prepare import prepare
from nonverbal.data.preparing.settings import PrepareConfig, Source
from nonverbal.data.synthetic import CLASSES, write_corpus
from nonverbal.errors import UserError
from nonverbal.evaluation.encoders import INITIALISED
from nonverbal.evaluation.figures import plot_probes
from nonverbal.evaluation.plots import plot_training, read_metrics
from nonverbal.evaluation.probing import compare
from nonverbal.evaluation.score_tables import print_scores
from nonverbal.files import write_atomically
from nonverbal.paths import PathOrName
from nonverbal.shipped import find_file
from nonverbal.signals import Interrupted, PassedOn, end_with_parent, name_of
from nonverbal.stages.launching import keep_launch
from nonverbal.tasks.scores import Score, read_scores, summarise
from nonverbal.tasks.task import make_task
from nonverbal.training.run_folder import RunFolder

PATTERN = r"(?P<label>[a-z]+)/[a-z]+_(?P<speaker>s\d+)_\d+\.wav"
"""Class and speaker in the path of a synthetic sound."""

PROGRAM = (sys.executable, "-m", "nonverbal")
"""Runs the commands."""

FOLDS = 5

RECIPE = PathOrName("recipes/demo.yaml")

TUNING = PathOrName("recipes/finetune/demo.yaml")

TUNED = {"finetuned": "", "finetuned_initialised": INITIALISED}
"""Folders of the fine-tunings, with the prefix of the encoder that each starts from."""


@dataclass
class DemoConfig:
    """A small corpus, a small encoder, its probes and its fine-tuning."""

    out: Path = Path("runs/demo")
    """Folder for all files of the demo."""
    pretraining: PathOrName = RECIPE
    """Recipe of the pretraining (see `nonverbal pretrain --help`)."""
    finetuning: PathOrName = TUNING
    """Recipe of the fine-tuning (see `nonverbal finetune --help`)."""
    pretraining_speakers: int = 60
    """Number of speakers in pretraining, without labels."""
    probe_speakers: int = 20
    """Number of other speakers, on whom the encoder is probed."""
    takes: int = 4
    """Number of sounds of each class by each speaker."""

    def __post_init__(self) -> None:
        """Refuse numbers that are too small."""
        for name, least in (("probe_speakers", FOLDS), ("pretraining_speakers", 2), ("takes", 1)):
            if getattr(self, name) < least:
                raise UserError(f"--{name} must be at least {least}, but is {getattr(self, name)}")


def main(argv: list[str]) -> None:
    """Synthesise sounds, prepare them, pretrain, probe, fine-tune, and write the report."""
    started = time.monotonic()
    settings = config.load(DemoConfig, argv, prog="nonverbal demo", description=__doc__)
    find_file(settings.pretraining)
    find_file(settings.finetuning)
    check_settings(settings)
    out, first = settings.out, settings.probe_speakers
    probed = make_shards(out, "probe", range(first), settings.takes, [])
    heard = make_shards(
        out, "pretraining", range(first, first + settings.pretraining_speakers), settings.takes, [probed]
    )
    pretrain_encoder(settings.pretraining, heard, out / "run")
    plot_training(out / "run" / "metrics.jsonl", out / "training.png")
    launch = keep_launch(out / "probe", ["demo", *argv], settings)
    scores = probe_encoder(out / "run" / "encoder", heard, probed, out, launch)
    plot_probes(scores, out / "probe.png")
    tuned = finetune_encoder(settings.finetuning, out / "run" / "encoder", heard, probed, out)
    write_summary(out, scores, tuned, time.monotonic() - started)
    print_scores(scores, out / "probe" / "scores.jsonl")
    write_report(out, probed)
    print_places(out)


def check_settings(settings: DemoConfig) -> None:
    """Write ``demo.yaml``, or compare with it in a second run, because existing sounds are not made again."""
    path = settings.out / "demo.yaml"
    if path.exists():
        changes = config.differences(path.read_text(encoding="utf-8"), settings, {"out"})
        if changes:
            raise UserError(
                f"{settings.out} holds a demo with other settings ({changes}); "
                "give the same settings to continue it, or another --out to start a new one"
            )
    settings.out.mkdir(parents=True, exist_ok=True)
    write_atomically(path, config.dump(settings))


def make_shards(out: Path, name: str, speakers: range, takes: int, exclude: Sequence[ShardFolder]) -> ShardFolder:
    """Synthesise a corpus, and prepare it like any other."""
    step(f"{name}: {len(speakers)} speakers x {len(CLASSES)} classes x {takes} takes of synthetic vocal sounds")
    corpus = out / "corpus" / name
    write_corpus(corpus, speakers, takes, seed=0)
    manifests = [shards.folder / "manifest.jsonl" for shards in exclude]
    source = Source(folder=corpus, pattern=PATTERN)
    return prepare(PrepareConfig(corpora={f"synthetic-{name}": source}, out=out / "shards" / name, exclude=manifests))


def pretrain_encoder(recipe: str, shards: ShardFolder, run: Path) -> None:
    """Pretrain in a separate process, as on the command line."""
    run_command("pretrain", recipe, "--data", str(shards.folder), "--out", str(run))


def run_command(*arguments: str) -> None:
    """Run a command, to which signals are passed on, so that it saves; if it fails, exit with its exit code."""
    step("nonverbal " + " ".join(arguments))
    with (
        PassedOn() as signals,
        subprocess.Popen(
            [*PROGRAM, *arguments],
            stdin=subprocess.DEVNULL,
            # It gets Ctrl-C only once, from this process. If this process is killed, it saves and ends.
            process_group=0,
            preexec_fn=partial(end_with_parent, signal.SIGTERM),
        ) as process,
    ):
        signals.to(process)
        code = process.wait()
    if signals.came and code <= 0:  # the command had just finished, or the signal killed it
        raise Interrupted(signals.came, f"{name_of(signals.came)}: stopped; run the same command again to continue")
    if code < 0:
        name = arguments[0]
        raise UserError(f"nonverbal {name} was killed by signal {-code}; run the same command again to continue")
    if code:
        sys.exit(code)


def probe_encoder(encoder: Path, heard: ShardFolder, probed: ShardFolder, out: Path, launch: str) -> list[Score]:
    """Probe log-mel statistics, the initial encoder and the pretrained one, on speakers that are not in pretraining."""
    step("linear probes of log-mel statistics, the encoder with random weights, and the pretrained encoder")
    task = make_task(probed, labels=[], group="speaker", folds=FOLDS, seeds=[0])
    encoders = {"logmel": "logmel", "initialised": f"initialised:{encoder}", "pretrained": str(encoder)}
    manifests = [heard.folder / "manifest.jsonl"]
    places = manifests, out / "embeddings", out / "probe"
    return compare(task, list(encoders.values()), *places, list(encoders), launch=launch)


def finetune_encoder(
    recipe: str, encoder: Path, heard: ShardFolder, probed: ShardFolder, out: Path
) -> dict[str, list[Score]]:
    """Fine-tune the pretrained encoder, and the initial one, under the probes' protocol. Returns scores by folder."""
    manifest = str(heard.folder / "manifest.jsonl")
    for folder, before in TUNED.items():
        start = ["--init", f"{before}{encoder}", "--out", str(out / folder)]
        run_command("finetune", recipe, "--data", str(probed.folder), *start, "--pretraining", manifest)
    return {folder: read_scores(out / folder / "scores.jsonl") for folder in TUNED}


def write_summary(out: Path, scores: list[Score], tuned: dict[str, list[Score]], seconds: float) -> None:
    """Write ``summary.json``: UAR by encoder, its protocol, first and last training loss, precision, seconds."""
    losses = [row["loss"] for row in read_metrics(out / "run" / "metrics.jsonl") if row["kind"] == "train"]
    uar = {row.model: {"mean": row.mean["uar"], "std": row.std["uar"]} for row in summarise(scores)}
    for folder, own in tuned.items():
        (row,) = summarise(own)
        uar[folder] = {"mean": row.mean["uar"], "std": row.std["uar"]}
    measured = {
        "protocol": scores[0].protocol,
        "protocol_finetuned": tuned["finetuned"][0].protocol,
        "loss_first": losses[0],
        "loss_last": losses[-1],
        "seconds": round(seconds, 1),
        "precision": RunFolder(out / "run").precision(),
    }
    write_atomically(out / "summary.json", json.dumps(uar | measured, indent=1) + "\n")


def write_report(out: Path, probed: ShardFolder) -> None:
    """Write the page with all results and the sounds."""
    page = ["--out", str(out / "report.html"), "--title", "Demo: synthetic vocal sounds"]
    run_command("report", str(out), "--data", str(probed.folder), *page)


def print_places(out: Path) -> None:
    """Print where every file is."""
    places = {
        "corpus": "the sounds, one folder per class: corpus/probe and corpus/pretraining",
        "shards": "the same sounds as manifests, ledgers and shards",
        "run": "the pretraining run: recipe, metrics, TensorBoard, checkpoints",
        "run/encoder": "the encoder, in Hugging Face format",
        "embeddings": "pooled embeddings of the probed clips",
        "probe/scores.jsonl": "scores by fold, with each clip's predicted class beside them",
        "finetuned": "the fine-tuned encoder: a run for each fold, scores, the tested weights",
        "finetuned_initialised": "the same from random weights",
        "training.png": "training curves",
        "probe.png": "scores of the probes",
        "summary.json": "the numbers above",
        "report.html": "all of this on one page",
    }
    for place, what in places.items():
        print(f"  {out / place}: {what}")
    print(f"open the page in a browser: {(out / 'report.html').resolve().as_uri()}")


def step(text: str) -> None:
    """Announce what comes next."""
    print(f"\n== {text}", flush=True)


if __name__ == "__main__":
    cli.run(main)
