"""Measures SSAM on a GPU: the errors against float64 and the speed of every scan that runs there, and complete steps.

``python benchmarks/ssam_gpu.py [--rows 128] [--tune] [--json FILE]`` (``--device cpu --smoke`` tests the script.)

Each figure is printed as a line of JSON as soon as it is known. Errors are the largest difference from the plain scan
in float64 on the device, divided by the largest value, for the output and for each gradient. Seconds are medians of
passes, including the device's own time. ``gb_per_second`` counts what any scan has to move: forward u, delta, z and the
output, and backward the same and three gradients; ``seconds_host`` is the time until the host has issued all of it;
``over_plain`` is the plain scan's time over this one's. A step is bf16 pretraining from waveforms that are on the
device: loss, backward pass and fused AdamW; ``scan_share`` is the time of its scans, timed alone on the same shapes,
over the step's. ``longest`` lists the device's kernels that take longest in a step, in microseconds. ``--tune`` times
other shapes of the Triton kernel's programs.
"""

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nonverbal.batch import Batch, Rows
from nonverbal.models.scan_choice import KERNELS, Scan, refusal
from nonverbal.models.selective_scan import causal_conv, selective_scan
from nonverbal.models.ssam import Architecture, use_scan
from nonverbal.objectives.reconstruction import SsamSettings, build_ssam_objective

WIDTHS = {"tiny": 192, "base": 768}
TOKENS, STATES, BLOCKS, EXPAND = 251, 24, 12, 3
NAMES = ("y", "u", "delta", "a", "b", "c", "d", "z", "bias")
PART_SECONDS = 0.5
"""Seconds for which a pass or step is repeated, after two that are not timed."""

Figures = dict[str, Any]


def main() -> None:
    """Measure, print, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=128, help="clips of two seconds in a step")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--smoke", action="store_true", help="smallest sizes, to test the script")
    parser.add_argument("--tune", action="store_true", help="time other shapes of the Triton kernel's programs instead")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    parts = tune(device, arguments.rows) if arguments.tune else measure(device, arguments.smoke, arguments.rows)
    figures = []
    for row in parts:
        print(json.dumps(row), flush=True)
        figures.append(row)
        if arguments.json:
            arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


def measure(device: torch.device, smoke: bool, rows: int = 128) -> Iterator[Figures]:
    """Yield the figures of every scan that runs on the device, most informative first, as soon as they are known."""
    widths = {"smoke": 8} if smoke else WIDTHS
    rows = 2 if smoke else rows
    scans: list[Scan] = []
    for scan in (*reversed(KERNELS.get(device.type, ())), "PyTorch"):
        why = refusal(scan, device)
        yield {"part": "runs", "scan": scan, "refusal": why}
        if why is None:
            scans.append(scan)
    types = (torch.bfloat16, torch.float32)
    for size, dtype, scan in itertools.product(widths, types, scans):
        given = partial(inputs, min(rows, 4), EXPAND * widths[size], device, dtype)
        yield attempt({"part": "errors", "size": size, "dtype": name_of(dtype), "scan": scan}, errors_of, scan, given)
    seconds: dict[tuple[Any, ...], float] = {}
    for size, dtype, scan in itertools.product(widths, types, reversed(scans)):
        given = partial(inputs, rows, EXPAND * widths[size], device, dtype)
        row = attempt({"part": "scan", "size": size, "dtype": name_of(dtype), "scan": scan}, speed, scan, given)
        seconds[size, dtype, scan] = row.get("seconds", float("nan"))
        yield {**row, "over_plain": seconds[size, dtype, "PyTorch"] / seconds[size, dtype, scan]}
    for size, scan in itertools.product(widths, scans):
        shape = (rows, TOKENS, EXPAND * widths[size])
        yield attempt({"part": "conv", "size": size, "scan": scan}, conv_speed, scan, shape, device)
    for size, scan in itertools.product(widths, scans):
        row = attempt({"part": "step", "size": size, "scan": scan}, step, scan, widths[size], rows, device)
        share = BLOCKS * seconds[size, torch.bfloat16, scan] / row.get("seconds", float("nan"))
        yield {**row, "scan_share": share}


def attempt(what: Figures, work: Callable[..., Figures], *given: Any) -> Figures:
    """Return ``what`` with the figures of a part, or with its failure, so that later parts still run."""
    try:
        return {**what, **work(*given)}
    except Exception as error:
        return {**what, "failed": f"{type(error).__name__}: {error}"}


def tune(device: torch.device, rows: int) -> Iterator[Figures]:
    """Yield the seconds of the Triton kernel for other shapes of its programs."""
    from nonverbal.models import triton_scan

    for chunk, block, warps in ((8, 64, 1), (4, 128, 1), (4, 64, 1), (8, 32, 1), (8, 128, 2)):
        triton_scan.CHUNK, triton_scan.BLOCK, triton_scan.WARPS = chunk, block, warps
        for (size, width), count in itertools.product(WIDTHS.items(), (rows, rows // 4)):
            what = {"part": "tune", "chunk": chunk, "block": block, "warps": warps, "size": size, "rows": count}
            given = partial(inputs, count, EXPAND * width, device, torch.bfloat16)
            yield attempt(what, speed, "Triton", given)


def name_of(dtype: torch.dtype) -> str:
    """Return the short name of a type."""
    return str(dtype).removeprefix("torch.")


def inputs(rows: int, width: int, device: torch.device, dtype: torch.dtype) -> list[Tensor]:
    """Return the inputs of a scan, which all require gradients; those that vary over time have the type ``dtype``."""
    random = torch.Generator(device).manual_seed(0)
    wide, states = (rows, TOKENS, width), (rows, TOKENS, STATES)
    shapes: list[tuple[int, ...]] = [wide, wide, (width, STATES), states, states, (width,), wide, (width,)]
    values = [torch.randn(shape, generator=random, device=device) for shape in shapes]
    values[1] -= 3
    values[2] = -torch.arange(1, STATES + 1.0, device=device).repeat(width, 1)
    return [value.to(dtype if value.ndim == 3 else torch.float32).requires_grad_() for value in values]


def scanned(scan: Scan, given: list[Tensor]) -> Tensor:
    """Scan the tensors that ``inputs`` returns."""
    x, delta, a, b, c, d, z, bias = given
    return selective_scan(x, delta, a, b, c, d, z, bias, scan=scan)


def errors_of(scan: Scan, make: Callable[[], list[Tensor]]) -> Figures:
    """Return the errors of the scan's output and gradients against float64, each over its largest value."""
    given = make()
    exact = [value.detach().double().requires_grad_() for value in given]
    direction = torch.linspace(-1, 1, given[0].numel(), device=given[0].device).view(given[0].shape).to(given[0])
    found, expected = (
        [y, *torch.autograd.grad(y, values, direction.to(y.dtype))]
        for y, values in (
            (scanned(scan, given), given),
            (scanned("PyTorch", exact), exact),
        )
    )
    with torch.no_grad():
        gaps = [float((a - b).abs().max() / b.abs().max()) for a, b in zip(found, expected, strict=True)]
    return dict(zip(NAMES, gaps, strict=True))


def speed(scan: Scan, make: Callable[[], list[Tensor]]) -> Figures:
    """Return the seconds of a scan, forward alone and with its backward pass, and the bytes it moves per second."""
    given = make()
    ones = torch.ones_like(given[0])
    moved = given[0].numel() * given[0].element_size()

    def forward() -> None:
        scanned(scan, given)

    def both() -> None:
        torch.autograd.grad(scanned(scan, given), given, ones)

    ahead, seconds = median_seconds(forward, given[0].device), median_seconds(both, given[0].device)
    started = time.perf_counter()
    both()
    host = time.perf_counter() - started
    gb_per_second = 11 * moved / seconds / 1e9
    return {"seconds": seconds, "seconds_forward": ahead, "seconds_host": host, "gb_per_second": gb_per_second}


def conv_speed(scan: Scan, shape: tuple[int, int, int], device: torch.device) -> Figures:
    """Return the seconds of the convolution in bf16 with its backward pass, and the bytes it moves per second."""
    x = torch.randn(shape, device=device).bfloat16().requires_grad_()
    weight, bias = (torch.randn(size, device=device, requires_grad=True) for size in ((shape[2], 4), (shape[2],)))
    ones = torch.ones_like(x)

    def both() -> None:
        torch.autograd.grad(causal_conv(x, weight, bias, scan), (x, weight, bias), ones)

    seconds = median_seconds(both, device)
    return {"seconds": seconds, "gb_per_second": 5 * x.numel() * x.element_size() / seconds / 1e9}


def step(scan: Scan, width: int, rows: int, device: torch.device) -> Figures:
    """Return the seconds of a complete step, clips per second, and the device's peak memory in 10^9 bytes."""
    objective = build_ssam_objective(SsamSettings(architecture=Architecture(width)), seed=0).train().to(device)
    use_scan(objective, scan, device)
    optimizer = torch.optim.AdamW(objective.parameters(), lr=1e-6, betas=(0.9, 0.95), fused=True)
    clips = 0.1 * torch.from_numpy(np.random.default_rng(0).standard_normal((rows, 32_000))).float()
    lengths = np.full(rows, 32_000)
    targets = objective.target_sampler(Rows(lengths), np.random.default_rng(0))
    targets.tensors = {name: value.to(device) for name, value in targets.tensors.items()}
    batch = Batch(
        clips.to(device), torch.from_numpy(lengths).to(device), [], targets, seed=0, step=0, position=0, padded=False
    )

    def work() -> None:
        with torch.autocast(device.type, torch.bfloat16):
            loss = objective(batch).sum / targets.count
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = median_seconds(work, device)
    figures: Figures = {"seconds": seconds, "clips_per_second": rows / seconds}
    if device.type == "cuda":
        figures |= {"gigabytes": torch.cuda.max_memory_allocated() / 1e9, "longest": longest(work)}
    return figures


def longest(work: Callable[[], object], count: int = 15) -> Figures:
    """Return the microseconds of the device's kernels that take longest in total, by the beginning of their names."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        work()
        torch.cuda.synchronize()
    sums: dict[str, float] = {}
    for event in profile.events() or []:
        name = event.name[:60]
        sums[name] = sums.get(name, 0.0) + event.device_time_total
    return dict(sorted(sums.items(), key=lambda item: -item[1])[:count])


def median_seconds(work: Callable[[], object], device: torch.device) -> float:
    """Time ``work``, including the device's own time."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    times: list[float] = []
    while len(times) < 3 or (sum(times[2:]) < PART_SECONDS and len(times) < 22):
        wait()
        started = time.perf_counter()
        work()
        wait()
        times.append(time.perf_counter() - started)
    return statistics.median(times[2:])


if __name__ == "__main__":
    main()
