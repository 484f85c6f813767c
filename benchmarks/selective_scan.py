"""Compares selective scans, forward and backward: ours compiled and in PyTorch, transformers' loop, mambapy's scan.

``python benchmarks/selective_scan.py [--rounds 2] [--threads 2] [--json FILE]``

Sizes are the inner widths of Audio Mamba tiny, small and base (3 x 192, 384, 768), with 24 states, the 250 tokens of
two seconds, and 8 and 32 rows, in float32. All scans take the same tensors, from the step sizes before softplus to the
gated output, and compute all gradients. The peers are lines 3.b and 3.c of transformers' ``MambaMixer.slow_forward``,
with its loop, and with mambapy's parallel scan ``pscan``, which it uses with ``use_mambapy``. Measurements that would
not fit into memory, or would take many minutes, are left out with a message.

Each measurement is a separate process, one after another; its seconds are the lowest of its repetitions and rounds.
Memory is the process's peak minus what it used with its inputs, before the first pass. A ratio is the faster peer's
seconds over those of our compiled scan, and ``ratio`` is the worst over the sizes; ``memory_ratio`` is our memory over
the better peer's. The convolution before the scan is also compared with ``torch.conv1d`` as in transformers.
"""

import argparse
import importlib.util
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nonverbal.models.selective_scan import causal_conv, selective_scan

STATES, STEPS = 24, 250
WIDTHS, ROWS = (192, 384, 768), (8, 32)
SCANS, CONVS = ("compiled", "pytorch", "transformers", "mambapy"), ("conv", "conv1d")
LEAST_SECONDS, MANY_SECONDS = 2.0, 4.0
"""A process repeats its pass until ``LEAST_SECONDS`` have passed. A pass of over ``MANY_SECONDS`` gets one round."""
LARGEST = {"transformers": 192 * 8}
"""Width times rows above which a contender would take many minutes; its seconds grow with both."""

Figures = dict[str, float]


def main() -> None:
    """Measure every contender at every size, print, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2, help="processes for each contender and size")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--gigabytes", type=float, default=14.0, help="memory that a contender may take")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--measure", nargs=3, metavar=("CONTENDER", "WIDTH", "ROWS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.measure:
        contender, width, rows = arguments.measure
        print(json.dumps(measure(contender, 3 * int(width), int(rows))))
        return
    sizes = {}
    for width in WIDTHS:
        for rows in ROWS:
            sizes[f"{width}x{rows}"] = compare(width, rows, arguments)
    figures: dict[str, Any] = {"threads": arguments.threads, "sizes": sizes}
    for key, worst in (("ratio", min), ("ratio_pytorch", min), ("ratio_conv", min), ("memory_ratio", max)):
        figures[key] = worst(size[key] for size in sizes.values() if key in size)
    print(json.dumps(figures, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


def compare(width: int, rows: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return seconds and gigabytes of every contender, the lowest of the rounds, and the ratios that are possible."""
    seconds: Figures = {}
    memory: Figures = {}
    for contender in (*SCANS, *CONVS):
        if contender == "mambapy" and importlib.util.find_spec("mambapy") is None:
            print("mambapy is not installed, so it is left out", file=sys.stderr)
            continue
        if width * rows > LARGEST.get(contender, width * rows):
            print(f"{contender} at {width} x {rows} takes too long, so it is left out", file=sys.stderr)
            continue
        if needed(contender, 3 * width, rows) > arguments.gigabytes:
            print(f"{contender} at {width} x {rows} takes too much memory, so it is left out", file=sys.stderr)
            continue
        command = [sys.executable, __file__, "--threads", str(arguments.threads)]
        command += ["--measure", contender, str(width), str(rows)]
        for _ in range(arguments.rounds):
            if seconds.get(contender, 0) > MANY_SECONDS:
                break
            result = subprocess.run(command, capture_output=True, text=True, check=False)
            if result.returncode:
                sys.exit(f"{contender} at {width} x {rows} failed:\n{result.stderr}")
            row = json.loads(result.stdout.splitlines()[-1])
            seconds[contender] = min(row["seconds"], seconds.get(contender, row["seconds"]))
            memory[contender] = min(row["gigabytes"], memory.get(contender, row["gigabytes"]))
        print(f"{contender} {width} x {rows}: {seconds[contender]:.4f} s, {memory[contender]:.3f} GB", file=sys.stderr)
    figures: dict[str, Any] = {
        "seconds": seconds,
        "gigabytes": memory,
        "ratio_conv": seconds["conv1d"] / seconds["conv"],
    }
    peers = [peer for peer in ("transformers", "mambapy") if peer in seconds]
    if peers:
        figures["ratio"] = min(seconds[peer] for peer in peers) / seconds["compiled"]
        figures["memory_ratio"] = memory["compiled"] / min(memory[peer] for peer in peers)
    if "pytorch" in seconds:
        figures["ratio_pytorch"] = seconds["pytorch"] / seconds["compiled"]
    return figures


def needed(contender: str, width: int, rows: int) -> float:
    """Estimate a contender's memory in 10^9 bytes, from measured numbers of arrays of all states at all steps."""
    arrays = {"transformers": 8.4, "mambapy": 10.3}.get(contender, 1.0)
    return arrays * rows * width * STATES * STEPS * 4 / 1e9


def measure(contender: str, width: int, rows: int) -> Figures:
    """Time passes in this process. Returns the lowest seconds, and the peak memory above the inputs in 10^9 bytes."""
    functions: dict[str, Callable[..., Tensor]] = {
        "compiled": selective_scan,
        "pytorch": partial(selective_scan, scan="PyTorch"),
        "transformers": transformers_scan,
        "mambapy": mambapy_scan,
        "conv": causal_conv,
        "conv1d": conv1d,
    }
    function = functions[contender]
    # Load libraries and build the kernel before anything is measured.
    passed(function, made(contender, 4, 1))
    inputs = made(contender, width, rows)
    direction = torch.ones(rows, STEPS, width)
    held = _resident_bytes()
    times: list[float] = []
    while not times or sum(times) < LEAST_SECONDS:
        started = time.perf_counter()
        gradients = passed(function, inputs, direction)
        times.append(time.perf_counter() - started)
    assert all(gradient.isfinite().all() for gradient in gradients)
    # Linux counts in units of 1024 bytes.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seconds": min(times), "gigabytes": (peak - held) / 1e9}


def made(contender: str, width: int, rows: int) -> list[Tensor]:
    """Return inputs of the size and range of a model's: step sizes of about 0.01, decays of -1 to -24."""
    torch.manual_seed(0)
    u, delta, z = (torch.randn(rows, STEPS, width) for _ in range(3))
    if contender in CONVS:
        return [value.requires_grad_() for value in (u, torch.randn(width, 4), torch.randn(width))]
    a = -torch.arange(1.0, STATES + 1).repeat(width, 1)
    b, c = torch.randn(2, rows, STEPS, STATES)
    inputs = (u, delta, a, b, c, torch.ones(width), z, torch.full((width,), -4.0))
    return [value.requires_grad_() for value in inputs]


def passed(
    function: Callable[..., Tensor], inputs: list[Tensor], direction: Tensor | None = None
) -> tuple[Tensor, ...]:
    """Go forward and backward once, and return all gradients."""
    output = function(*inputs)
    return torch.autograd.grad(output, inputs, torch.ones_like(output) if direction is None else direction)


def transformers_scan(
    u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor, z: Tensor, bias: Tensor
) -> Tensor:
    """Scan with the lines of ``MambaMixer.slow_forward`` of transformers 4.57, which has channels before steps."""
    hidden, gate, step = u.transpose(1, 2), z.transpose(1, 2), F.softplus(delta + bias).transpose(1, 2)
    decay = torch.exp(a[None, :, None, :] * step[:, :, :, None])
    into = step[:, :, :, None] * b[:, None, :, :].float() * hidden[:, :, :, None].float()
    state = hidden.new_zeros(len(u), *a.shape)
    outputs = []
    for i in range(u.shape[1]):
        state = decay[:, :, i, :] * state + into[:, :, i, :]
        outputs.append(torch.matmul(state, c[:, i, :].unsqueeze(-1))[:, :, 0])
    y = torch.stack(outputs, dim=-1) + hidden * d[None, :, None]
    return (y * F.silu(gate)).transpose(1, 2)


def mambapy_scan(
    u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor, z: Tensor, bias: Tensor
) -> Tensor:
    """Scan as in mambapy's ``MambaBlock.ssm`` with ``pscan``, which has steps before channels."""
    from mambapy.pscan import pscan

    step = F.softplus(delta + bias)
    decay = torch.exp(step.unsqueeze(-1) * a)
    into = step.unsqueeze(-1) * b.unsqueeze(2) * u.unsqueeze(-1)
    y: Tensor = (pscan(decay, into) @ c.unsqueeze(-1)).squeeze(3) + d * u
    return y * F.silu(z)


def conv1d(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolve as in the blocks of transformers and mamba-ssm."""
    width = x.shape[2]
    y = F.conv1d(x.transpose(1, 2), weight.unsqueeze(1), bias, padding=weight.shape[1] - 1, groups=width)
    return F.silu(y[..., : x.shape[1]]).transpose(1, 2)


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


if __name__ == "__main__":
    main()
