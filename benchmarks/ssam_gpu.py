"""SSAM on a GPU: the CUDA kernel of the scan against the plain scan, steps a second, and the scan's share of a step.

``python benchmarks/ssam_gpu.py [--sizes tiny base] [--rows 128] [--json FILE]`` (``--device cpu`` tries the script.)

The kernel is mamba-ssm's where it can be imported: ``pip install --no-build-isolation mamba-ssm`` compiles it, which
takes a CUDA toolkit and some minutes. First both scans compute the same values and gradients, and say how far they are
apart; then each runs whole steps of bf16 pretraining, loss, backward pass and fused AdamW, from waveforms that lie on
the device. Seconds are the median of the steps after three that are not timed; the share is that of the scans of a
step, timed alone on the same shapes.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nonverbal.models import audio_mamba
from nonverbal.models.selective_scan import selective_scan
from nonverbal.models.ssam import Architecture
from nonverbal.objectives.base import Batch
from nonverbal.objectives.reconstruction import SsamSettings, build_ssam_objective

WIDTHS = {"tiny": 192, "small": 384, "base": 768}
TOKENS, STATES, BLOCKS = 251, 24, 12


def main() -> None:
    """Measure, print, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=WIDTHS, default=["tiny", "base"])
    parser.add_argument("--rows", type=int, default=128, help="clips of two seconds in a step")
    parser.add_argument("--steps", type=int, default=20, help="steps timed")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    figures: dict[str, Any] = {"rows": arguments.rows, "device": name_of(arguments.device), "kernel": has_kernel()}
    for size in arguments.sizes:
        width = 3 * WIDTHS[size]
        row: dict[str, Any] = {"apart": apart(width, arguments.device)}
        for name, compiled in (("kernel", True), ("plain", False)):
            seconds, gigabytes = time_steps(WIDTHS[size], compiled, arguments)
            scans = BLOCKS * time_scan(width, compiled, arguments)
            row[name] = {
                "steps_per_second": 1 / seconds,
                "clips_per_second": arguments.rows / seconds,
                "gigabytes": gigabytes,
                "scan_share": scans / seconds,
            }
        row["ratio"] = row["kernel"]["steps_per_second"] / row["plain"]["steps_per_second"]
        figures[size] = row
        print(size, json.dumps(row, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


def name_of(device: str) -> str:
    """Say which device it is."""
    return torch.cuda.get_device_name() if device == "cuda" else device


def has_kernel() -> bool:
    """Whether mamba-ssm can be imported."""
    try:
        import mamba_ssm  # noqa: F401
    except Exception as error:  # built for another torch, it can fail in many ways
        print(f"mamba-ssm cannot be imported, so both rows are the plain scan: {error}", file=sys.stderr)
        return False
    return True


def inputs(rows: int, width: int, device: str) -> list[Tensor]:
    """Return what a scan takes, each with a gradient to come."""
    random = torch.Generator().manual_seed(0)
    shapes = [(rows, TOKENS, width)] * 2 + [(width, STATES)] + [(rows, TOKENS, STATES)] * 2
    values = [torch.randn(shape, generator=random) for shape in [*shapes, (width,), (rows, TOKENS, width), (width,)]]
    values[1] = values[1] - 3
    values[2] = -torch.arange(1, STATES + 1.0).repeat(width, 1)
    return [value.to(device).requires_grad_() for value in values]


def apart(width: int, device: str) -> dict[str, float]:
    """Return the largest difference of the kernel from the plain scan over the largest value, in float32."""
    results = []
    for compiled in (True, False):
        given = inputs(2, width, device)
        y = selective_scan(*given, compiled=compiled)
        results.append([y, *torch.autograd.grad(y.sum(), given)])
    with torch.no_grad():
        gaps = [float((a - b).abs().max() / b.abs().max()) for a, b in zip(*results, strict=True)]
    return {"values": gaps[0], "gradients": max(gaps[1:])}


def time_scan(width: int, compiled: bool, arguments: argparse.Namespace) -> float:
    """Return the seconds of one scan and its backward pass, in bf16 as in a step."""
    given = inputs(arguments.rows, width, arguments.device)
    narrow = [value.detach().bfloat16().requires_grad_() if value.ndim == 3 else value for value in given]
    ones = torch.ones_like(narrow[0])

    def work() -> None:
        torch.autograd.grad(selective_scan(*narrow, compiled=compiled), narrow, ones)

    return median_seconds(work, arguments.device, arguments.steps)


def time_steps(width: int, compiled: bool, arguments: argparse.Namespace) -> tuple[float, float]:
    """Return the seconds of a whole step, and the most memory of the device in 10^9 bytes."""
    device = arguments.device
    objective = build_ssam_objective(SsamSettings(architecture=Architecture(width)), seed=0).train().to(device)
    optimizer = torch.optim.AdamW(objective.parameters(), lr=1e-6, betas=(0.9, 0.95), fused=True)
    clips = 0.1 * torch.from_numpy(np.random.default_rng(0).standard_normal((arguments.rows, 32_000))).float()
    lengths = np.full(arguments.rows, 32_000)
    targets = objective.target_sampler(lengths, np.random.default_rng(0))
    targets.tensors = {name: value.to(device) for name, value in targets.tensors.items()}
    batch = Batch(
        clips.to(device), torch.from_numpy(lengths).to(device), [], targets, seed=0, step=0, position=0, padded=False
    )

    def work() -> None:
        with torch.autocast(device, torch.bfloat16):
            loss = objective(batch).sum / targets.count
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    before = audio_mamba.selective_scan
    audio_mamba.selective_scan = lambda *given: selective_scan(*given, compiled=compiled)
    try:
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        seconds = median_seconds(work, device, arguments.steps)
    finally:
        audio_mamba.selective_scan = before
    return seconds, torch.cuda.max_memory_allocated() / 1e9 if device == "cuda" else float("nan")


def median_seconds(work: Callable[[], None], device: str, steps: int) -> float:
    """Time ``work``, the device's own time included."""
    times = []
    for _ in range(3 + steps):
        if device == "cuda":
            torch.cuda.synchronize()
        started = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return statistics.median(times[3:])


if __name__ == "__main__":
    main()
