"""Compares fine-tuning with transformers' ``Trainer`` and feature extractor, in random or length-grouped batches.

``python benchmarks/finetune.py [--share 0.1] [--clips 727] [--layers 12] [--rounds 1] [--json FILE]``

Clips are noise, with the lengths of real clips. Each side plans an epoch over all of them, with 16 clips per batch, and
a validation pass over the same clips, by its own defaults. After one batch that is not timed, a share of the batches,
spread over all sizes, is run. ``seconds`` are extrapolated from this share to the whole, by samples including padding:
an epoch, and a validation pass in the precision of training. ``cpu_seconds`` are the CPU time of the process's threads,
which other programs on the machine affect less. Our side decodes ahead in a separate process, whose CPU time is not
included; transformers' side has all clips in memory. ``test_fp32`` is the time of the exact test that each fold gets
once; transformers has no equivalent.

Both sides begin with the same weights, train everything but the convolutions, and have the same dropout, head, AdamW
and gradient clipping. Our precision is what a run chooses on this machine (``auto``); transformers' is the faster of
fp32 and bf16, each tried on two batches. ``gigabytes`` is a process's peak memory minus what it used before it had a
model. Each measurement is a separate process; the sides take turns, in ``--rounds`` rounds.

``ratio``: for wav2vec 2.0 base, the seconds of the faster of transformers' two ways over ours; ``memory_ratio``: our
gigabytes over those of the way that takes less; ``ratio_ssam``: like ``ratio``, for Audio Mamba tiny and ``Trainer`` on
our export of it.
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
from finetune_parts.work import MODELS, Figures, Work

from nonverbal.training.precision import multiplies_bf16

OURS, RANDOM, GROUPED = "nonverbal", "transformers", "transformers, grouped"


def main() -> None:
    """Measure every side, print a table, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=0.1, help="share of an epoch's batches to run")
    parser.add_argument("--clips", type=int, default=727, help="clips in an epoch")
    parser.add_argument("--layers", type=int, default=12, help="blocks of the models")
    parser.add_argument("--rounds", type=int, default=1, help="processes for each side")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--measure", nargs=5, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(*arguments.measure)))
        return
    figures: Figures = {name: getattr(arguments, name) for name in ("share", "clips", "layers", "rounds")}
    figures["threads"] = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as scratch:
        work = Work(Path(scratch))
        work.make(arguments.clips, arguments.layers, arguments.models)
        for model in arguments.models:
            figures[model] = compare(work, model, arguments.share, arguments.rounds)
    for model, suffix in (("wav2vec2", ""), ("ssam", "_ssam")):
        if model in figures:
            figures |= {f"{key}{suffix}": value for key, value in ratios(figures[model]).items()}
    show(figures, arguments.models)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


def compare(work: Work, model: str, share: float, rounds: int) -> Figures:
    """Return the figures of every side, as medians over rounds."""
    tried = {name: run(work, GROUPED, model, name, 0.0) for name in ("fp32", "bf16")}
    theirs = min(tried, key=lambda name: tried[name]["train"]["seconds"])
    precision = {OURS: "bf16" if multiplies_bf16(torch.device("cpu")) else "fp32", RANDOM: theirs, GROUPED: theirs}
    found: dict[str, list[Figures]] = {side: [] for side in precision}
    for _ in range(rounds):
        for side, own in found.items():
            own.append(run(work, side, model, precision[side], share))
    seconds = {name: figures["train"]["seconds"] for name, figures in tried.items()}
    return {"precision": precision, "tried": seconds} | {side: median(own) for side, own in found.items()}


def run(work: Work, side: str, model: str, precision: str, share: float) -> Figures:
    """Measure in a separate process, on the CPU and without network."""
    command = [sys.executable, __file__, "--measure", str(work.folder), side, model, precision, str(share)]
    home = {"HF_HOME": str(work.folder / "hub"), "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | home)
    if result.returncode:
        sys.exit(f"{side}, {model} in {precision} failed:\n{result.stderr}")
    figures: Figures = json.loads(result.stdout.splitlines()[-1])
    print(f"{model} {side} {precision} share {share:g}: {json.dumps(figures)}", file=sys.stderr, flush=True)
    return figures


def measure(folder: str, side: str, model: str, precision: Any, share: str) -> Figures:
    """Measure one side in this process; a share of 0 tries a precision on two batches."""
    work = Work(Path(folder))
    if side == OURS:
        from finetune_parts import ours

        return ours.measure(work, model, precision, float(share))
    from finetune_parts import theirs

    return theirs.measure(work, model, precision, float(share), side == GROUPED)


def median(rounds: list[Figures]) -> Figures:
    """Return the median of each figure."""
    first = rounds[0]
    return {
        key: median([own[key] for own in rounds])
        if isinstance(value, dict)
        else statistics.median(own[key] for own in rounds)
        for key, value in first.items()
    }


def epoch(figures: Figures, key: str) -> float:
    """Return what an epoch and a validation pass take together."""
    return float(figures["train"][key] + figures["test"][key])


def ratios(figures: Figures) -> dict[str, float]:
    """Return how many times as fast ours is, and its share of the memory, against the better of transformers' ways."""
    ours, theirs = figures[OURS], [figures[RANDOM], figures[GROUPED]]
    found = {
        name: min(epoch(own, key) for own in theirs) / epoch(ours, key)
        for name, key in (("ratio", "seconds"), ("ratio_cpu", "cpu_seconds"))
    }
    return found | {"memory_ratio": ours["gigabytes"] / min(own["gigabytes"] for own in theirs)}


def show(figures: Figures, models: list[str]) -> None:
    """Print a short table."""
    print(f"{'':32}{'epoch s':>9}{'test s':>9}{'cpu s':>9}{'padding':>9}{'GB':>7}")
    for model in models:
        for side in (OURS, RANDOM, GROUPED):
            own = figures[model][side]
            train, test = own["train"], own["test"]
            print(
                f"{model + ' ' + side:32}{train['seconds']:9.1f}{test['seconds']:9.1f}{epoch(own, 'cpu_seconds'):9.1f}"
                f"{train['padding']:9.1%}{own['gigabytes']:7.2f}  {figures[model]['precision'][side]}"
            )
    for key, value in figures.items():
        if "ratio" in key:
            print(f"{key}: {value:.2f}")


if __name__ == "__main__":
    main()
