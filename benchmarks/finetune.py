"""Fine-tuning: ours, and transformers' ``Trainer`` with its feature extractor, random batches or grouped by length.

``python benchmarks/finetune.py [--share 0.1] [--clips 727] [--layers 12] [--rounds 1] [--json FILE]``

Clips are noise of the lengths of real ones. Each side plans an epoch of all of them, 16 a batch, and a validation pass
over the same clips, as it does by default; a share of the batches, spread over all sizes, is run, after one batch that
is not timed. ``seconds`` are those of the share in proportion to the samples, padding included, of the whole: an epoch,
and a validation pass in the precision of training. ``cpu_seconds``, of the process's threads, suffer less where others
use the machine; what decodes ahead of our steps is a process of its own, whereas transformers' side has all clips in
memory. ``test_fp32`` is what a fold's one test takes: it is exact, and transformers has no such thing.

Both begin with the same weights, train all but the convolutions, and have the same dropouts and head, AdamW and clipped
gradients. Our precision is what a run chooses here (``auto``); transformers' is the faster of fp32 and bf16, each tried
on two batches. ``gigabytes`` is a process's peak over what it had before its model; each measurement is a process of
its own, side after side, in as many rounds as are asked for.

``ratio``: seconds of the better of transformers' two ways over ours, wav2vec 2.0 base; ``memory_ratio``: our gigabytes
over those of the one that takes less; ``ratio_ssam``: as ``ratio``, Audio Mamba tiny against ``Trainer`` on our export.
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
    parser.add_argument("--share", type=float, default=0.1, help="of an epoch's batches")
    parser.add_argument("--clips", type=int, default=727, help="of an epoch")
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
    """Return the figures of every side, medians over rounds."""
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
    """Measure in a process of its own, on the CPU and without network."""
    command = [sys.executable, __file__, "--measure", str(work.folder), side, model, precision, str(share)]
    home = {"HF_HOME": str(work.folder / "hub"), "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | home)
    if result.returncode:
        sys.exit(f"{side}, {model} in {precision} failed:\n{result.stderr}")
    figures: Figures = json.loads(result.stdout.splitlines()[-1])
    print(f"{model} {side} {precision} share {share:g}: {json.dumps(figures)}", file=sys.stderr, flush=True)
    return figures


def measure(folder: str, side: str, model: str, precision: Any, share: str) -> Figures:
    """Measure one side in this process; a share of 0 tries a precision, on two batches."""
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
    """Return what an epoch and a validation pass take."""
    return float(figures["train"][key] + figures["test"][key])


def ratios(figures: Figures) -> dict[str, float]:
    """Return how many times as fast ours is, and its share of the memory: each over the better of transformers' two."""
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
