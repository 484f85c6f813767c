"""Measures time and page size of ``nonverbal report`` for many models on many clips, with sounds and a map.

``python benchmarks/report.py [--models 20] [--clips 5000] [--speakers 200] [--classes 6] [--sounds 300] [--seconds 10]
[--json FILE]``

Scores, predictions, shards and a map are synthetic, and making them is not timed. The command is measured in a separate
process, including its start: seconds of CPU time, which does not include other programs, and megabytes (10^6 bytes).
The longest sounds of a page have 10 s; longer ones are cut.
"""

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scores import write as write_scored

from nonverbal.data.index import FORMAT, SAMPLE_RATE, TABLE_DTYPE, VERSION
from nonverbal.data.manifest import Clip, write_manifest
from nonverbal.data.reading.audio import encode
from nonverbal.data.synthetic import CLASSES, vocal_sound
from nonverbal.evaluation.analyses.base import write_analysis
from nonverbal.evaluation.analyses.maps import SoundMap
from nonverbal.launches import add_launch, launch_of
from nonverbal.tasks.measurements import read_measurements
from nonverbal.tasks.scores import read_scores, write_scores

LAYERS = 13
SIZES = {"models": 20, "clips": 5000, "speakers": 200, "classes": 6, "sounds": 300, "seconds": 10}
DIFFERENT = 40
"""Number of different sounds, which the clips repeat in turn."""


def main() -> None:
    """Make the results, report them, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in SIZES.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--profile", action="store_true", help="print where the time goes, which takes longer")
    arguments = parser.parse_args()
    sizes = {name: getattr(arguments, name) for name in SIZES}
    with tempfile.TemporaryDirectory() as scratch:
        make(Path(scratch), **sizes)
        figures: dict[str, Any] = sizes | measure(Path(scratch), sizes["sounds"], arguments.profile)
    print(json.dumps(figures, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


def measure(folder: Path, sounds: int, profiled: bool) -> dict[str, float]:
    """Report a folder with and without sounds, and return CPU seconds and megabytes."""
    page, shards = folder / "report.html", ["--data", str(folder / "shards")]
    silent = _seconds(lambda: report(folder, page))
    small = page.stat().st_size
    whole = _seconds(lambda: report(folder, page, *shards, "--sounds", str(sounds), profiled=profiled))
    return {
        "processor_seconds": whole,
        "processor_seconds_without_sounds": silent,
        "megabytes": page.stat().st_size / 1e6,
        "megabytes_without_sounds": small / 1e6,
    }


def report(folder: Path, page: Path, *arguments: str, profiled: bool = False) -> None:
    """Run the command."""
    through = ["-m", "cProfile", "-s", "cumulative"] if profiled else []
    command = [*through, "-m", "nonverbal", "report", str(folder / "runs"), "--out", str(page), *arguments]
    told = None if profiled else subprocess.DEVNULL
    subprocess.run([sys.executable, *command], check=True, stdout=told, env={**os.environ, "OMP_NUM_THREADS": "1"})


def _seconds(run: Callable[[], None]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def make(folder: Path, models: int, clips: int, speakers: int, classes: int, sounds: int, seconds: int) -> None:
    """Write scores of heads that chose layers, with their command; shards of their clips; and a map."""
    runs = folder / "runs"
    write_scored(runs, models, clips, speakers, classes)
    command = ["nonverbal", "probe", "--encoders", ",".join(f"model-{model}" for model in range(models))]
    launch, random = add_launch(runs, launch_of(command, settings="head: logistic\n")), np.random.default_rng(1)
    rows = read_scores(runs / "scores.jsonl")
    write_scores(
        runs / "scores.jsonl",
        [
            replace(
                row,
                launch=launch,
                chosen={"layer": int(random.integers(LAYERS))},
                inner_uar=random.uniform(0.4, 0.8, LAYERS).tolist(),
                details={"parameters": 1, "layer_weights": random.dirichlet(np.ones(LAYERS)).tolist()},
            )
            for row in rows
        ],
    )
    first = read_measurements([runs])[0].predictions
    names = rows[0].classes
    labels: list[str | None] = [names[place] for place in first.labels]
    write_shards(folder / "shards", first.clips, labels, first.speakers, seconds)
    places = random.normal(size=(2, clips)).round(3).tolist()
    about = ("model 0", "0", 12, "held out", "0", 10, 0.5, 10 / (clips - 1), 0.5)
    write_analysis(runs / "x.map.json", SoundMap(*about, first.clips, labels, first.speakers, *places))


def write_shards(
    folder: Path, clips: list[str], labels: list[str | None], speakers: list[str | None], seconds: int
) -> None:
    """Write shards whose clips use ``DIFFERENT`` synthetic vocal sounds in turn, each repeated to fill ``seconds``."""
    folder.mkdir()
    flacs = [encode(_sound(number, seconds)) for number in range(DIFFERENT)]
    begins = np.cumsum([0, *map(len, flacs)])
    (folder / "train-000000.tar").write_bytes(b"".join(flacs))
    table, which = np.zeros(len(clips), dtype=TABLE_DTYPE), np.arange(len(clips)) % DIFFERENT
    table["clip"] = np.arange(len(clips))
    table["offset"], table["size"] = begins[which], [len(flacs[number]) for number in which]
    table["samples"] = seconds * SAMPLE_RATE
    np.save(folder / "table.npy", table)
    write_manifest(folder / "manifest.jsonl", map(_clip, clips, labels, speakers))
    shard = {
        "name": "train-000000.tar",
        "split": "train",
        "clips": len(clips),
        "seconds": float(seconds * len(clips)),
        "bytes": int(begins[-1]),
        "sha256": "0" * 64,
    }
    files = {"table.npy": hashlib.sha256((folder / "table.npy").read_bytes()).hexdigest()}
    index = {"format": FORMAT, "version": VERSION, "corpora": ["corpus"], "files": files, "shards": [shard]}
    (folder / "index.json").write_text(json.dumps(index))


def _sound(number: int, seconds: int) -> np.ndarray:
    sound = vocal_sound(list(CLASSES)[number % len(CLASSES)], number, 0, 0)
    repeated = np.resize(sound, seconds * SAMPLE_RATE)
    return np.round(32767 * np.clip(repeated, -1, 1)).astype(np.int16)


def _clip(clip: str, label: str | None, speaker: str | None) -> Clip:
    path = clip.partition("/")[2]
    name = hashlib.sha256(clip.encode()).hexdigest()
    return Clip(clip, "corpus", path, 0, 1.0, SAMPLE_RATE, label, speaker, None, None, None, path, "CC0-1.0", name)


if __name__ == "__main__":
    main()
