"""Compares one process with two on the same run: how much a run gains from the second core (or GPU).

``python benchmarks/scaling.py [--size tiny|base] [--rounds 3] [--data SHARDS] [--json FILE]``

This is strong scaling: the recipe is the same, and two processes divide the micro-batches of its steps. All figures
come from the ``metrics.jsonl`` of real ``nonverbal pretrain`` runs, without its first rows. Each process has one
thread; without GPUs, the run of one process is bound to one core. ``efficiency_2`` is the audio per second of two
processes over twice that of one. ``efficiency_2_machine`` is the same for two simultaneous runs of one process, which
do not communicate: what memory, clock and other programs leave of two cores, regardless of the software. Rounds
alternate between all three, so that other load on the machine affects all of them; figures are medians, with their
range over rounds. This has not been tried on GPUs (one per process).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from nonverbal.data.batching.batches import tables
from nonverbal.data.batching.epochs import BatchSettings
from nonverbal.data.index import open_shards
from nonverbal.training.cost.estimate import audio_of

ROOT = Path(__file__).parents[1]
BATCHES: dict[str, dict[str, float]] = {
    "tiny": {"batch_seconds": 24, "batches_per_step": 8, "max_seconds": 2, "min_seconds": 1},
    "base": {"batch_seconds": 20, "batches_per_step": 2, "max_seconds": 10, "min_seconds": 2},
}
"""Batch settings by size of the model: 1.0 and 95 M parameters."""

LOG_EVERY = {"tiny": 4, "base": 1}
ROWS = 5
"""Rows of metrics in a run, in addition to that of its first step."""
COUNTED = 3
"""Number of the last rows, which are used."""


def main() -> None:
    """Measure, print, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=sorted(BATCHES), default="tiny", help="1 M or 95 M parameters")
    parser.add_argument("--rounds", type=int, default=3, help="how many times each of the three is measured")
    parser.add_argument("--data", type=Path, help="a folder of shards; unset: synthetic sounds")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    if torch.cuda.device_count() == 1:
        sys.exit("two processes need two GPUs, or none at all (CUDA_VISIBLE_DEVICES=)")
    with tempfile.TemporaryDirectory() as scratch:
        shards = arguments.data or synthetic_shards(Path(scratch))
        figures = compare(arguments.size, shards, Path(scratch), arguments.rounds)
    print(json.dumps(figures, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


def compare(size: str, shards: Path, scratch: Path, rounds: int) -> dict[str, Any]:
    """Run all three in turn, in several rounds."""
    found: dict[str, list[float]] = {name: [] for name in ("1", "2", "machine", "waiting_1", "waiting_2")}
    for number in range(rounds):
        alone = start(size, shards, scratch / f"one-{number}", core=0)
        rate, waiting = result(alone)
        found["1"].append(rate)
        found["waiting_1"].append(waiting)
        rate, waiting = result(start(size, shards, scratch / f"two-{number}", processes=2))
        found["2"].append(rate)
        found["waiting_2"].append(waiting)
        both = [start(size, shards, scratch / f"beside-{number}-{core}", core=core) for core in range(2)]
        found["machine"].append(sum(result(run)[0] for run in both))
        print({name: round(values[-1], 4) for name, values in found.items()}, file=sys.stderr)
    return summary(size, shards, found)


def summary(size: str, shards: Path, found: dict[str, list[float]]) -> dict[str, Any]:
    """Return the medians and ranges over the rounds."""
    ratios = {
        "efficiency_2": [two / (2 * one) for one, two in zip(found["1"], found["2"], strict=True)],
        "efficiency_2_machine": [two / (2 * one) for one, two in zip(found["1"], found["machine"], strict=True)],
        "audio_per_second_1": found["1"],
        "audio_per_second_2": found["2"],
        "waiting_1": found["waiting_1"],
        "waiting_2": found["waiting_2"],
    }
    step = audio_of(*tables([open_shards(shards)]), BatchSettings(**BATCHES[size]), seed=0, updates=1)  # type: ignore[arg-type]
    ratios["seconds_per_step_1"] = [step.seconds_per_update / rate for rate in found["1"]]
    ratios["seconds_per_step_2"] = [step.seconds_per_update / rate for rate in found["2"]]
    figures: dict[str, Any] = {name: statistics.median(values) for name, values in ratios.items()}
    figures |= {f"{name}_range": [min(values), max(values)] for name, values in ratios.items()}
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU, one thread a process"
    return {**figures, "size": size, "device": device, "rounds": len(found["1"]), "batches": BATCHES[size]}


Run = tuple[subprocess.Popen[str], Path]


def start(size: str, shards: Path, out: Path, processes: int = 1, core: int | None = None) -> Run:
    """Start a short run; if ``core`` is given, on this core or GPU alone."""
    settings: dict[str, Any] = {f"batches.{name}": value for name, value in BATCHES[size].items()}
    steps = ROWS * LOG_EVERY[size]
    settings |= {
        "trainer.steps": steps,
        "trainer.log_every": LOG_EVERY[size],
        "trainer.optimizer.warmup_steps": steps - 1,
        "trainer.processes": processes,
        "wav2vec2.dropouts.layer": 0,
    }
    recipe = [str(ROOT / "recipes/pretrain/wav2vec2_tiny.yaml")] if size == "tiny" else []
    command = [sys.executable, "-m", "nonverbal", "pretrain", *recipe, f"--data={shards}", f"--out={out}"]
    command += [f"--{key}={value}" for key, value in settings.items()]
    on_gpu = torch.cuda.is_available()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if core is not None and on_gpu:
        environment["CUDA_VISIBLE_DEVICES"] = str(core)
    elif core is not None:
        command = ["taskset", "-c", str(sorted(os.sched_getaffinity(0))[core]), *command]
    with open(f"{out}.log", "w") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log, text=True), out


def result(run: Run) -> tuple[float, float]:
    """Wait for a run. Returns its seconds of audio per second and its share of waiting, over the rows that are used."""
    process, out = run
    if process.wait():
        sys.exit(f"a run failed:\n{Path(f'{out}.log').read_text()}")
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    rows = [row for row in rows if row["kind"] == "train"][-COUNTED:]
    # All rows have the same number of steps, so the mean rate is the harmonic mean.
    return (
        statistics.harmonic_mean(row["audio_per_second"] for row in rows),
        statistics.fmean(row["waiting"] for row in rows),
    )


def synthetic_shards(folder: Path) -> Path:
    """Prepare a few hundred synthetic vocal sounds."""
    from nonverbal.data.preparing.prepare import prepare
    from nonverbal.data.preparing.settings import PrepareConfig, Source
    from nonverbal.data.synthetic import write_corpus

    write_corpus(folder / "sounds", range(16), takes=5, seed=0)
    prepare(PrepareConfig(corpora={"synthetic": Source(folder=folder / "sounds")}, out=folder / "shards"))
    return folder / "shards"


if __name__ == "__main__":
    main()
