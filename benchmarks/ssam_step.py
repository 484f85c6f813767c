"""Compares a pretraining step of SSAM with that of the same model with transformers' ``MambaMixer`` in its blocks.

``python benchmarks/ssam_step.py [--sizes tiny base] [--rows 2] [--steps 1] [--json FILE]``

Both have the same weights, clips of two seconds, masked patches, loss and fused AdamW, in fp32 and bf16 (autocast).
Each measurement is a separate process; its seconds are those of its fastest step, after one that is not timed, and its
memory is the process's peak, including interpreter and libraries. The losses of the first step must agree, which shows
that both compute the same.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

WIDTHS = {"tiny": 192, "small": 384, "base": 768}
PEERS = ("nonverbal", "transformers")
PRECISIONS = ("bf16", "fp32")


class TransformersMixer(nn.Module):
    """transformers' mixer with the weights of one of ours. On a CPU it scans in a loop over time."""

    def __init__(self, mixer: Any, width: int) -> None:
        super().__init__()
        from transformers import MambaConfig
        from transformers.models.mamba.modeling_mamba import MambaMixer

        inner, states = mixer.A_log.shape
        config = MambaConfig(
            hidden_size=width, state_size=states, conv_kernel=4, expand=inner // width, use_mambapy=False
        )
        self.mixer = MambaMixer(config, layer_idx=0)
        self.mixer.load_state_dict(mixer.state_dict())

    def forward(self, hidden: Tensor) -> Tensor:
        """Mix ``(N, tokens, M)``."""
        mixed: Tensor = self.mixer(hidden)
        return mixed


def main() -> None:
    """Measure both at every size and precision, print, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=WIDTHS, default=["tiny", "base"])
    parser.add_argument("--rows", type=int, default=2, help="clips of two seconds in the batch")
    parser.add_argument("--steps", type=int, default=1, help="steps timed in each process, after one that is not")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--measure", nargs=3, metavar=("PEER", "SIZE", "PRECISION"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        peer, size, precision = arguments.measure
        print(json.dumps(measure(peer, size, precision, rows=arguments.rows, steps=arguments.steps)))
        return
    figures = compare(arguments)
    print(json.dumps(figures, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


def compare(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run each measurement in a separate process; ratios are transformers' figures over ours."""
    figures: dict[str, Any] = {"rows": arguments.rows, "threads": torch.get_num_threads()}
    options = ["--rows", str(arguments.rows), "--steps", str(arguments.steps)]
    for size in arguments.sizes:
        for precision in PRECISIONS:
            rows = {}
            for peer in PEERS:
                command = [sys.executable, __file__, *options, "--measure", peer, size, precision]
                result = subprocess.run(command, capture_output=True, text=True, check=False)
                if result.returncode:
                    sys.exit(f"{peer} at {size} in {precision} failed:\n{result.stderr}")
                rows[peer] = json.loads(result.stdout.splitlines()[-1])
                print(f"{size} {precision} {peer}: {rows[peer]}", file=sys.stderr)
            ours, theirs = rows["nonverbal"], rows["transformers"]
            gap = abs(ours["loss"] - theirs["loss"])
            if gap > (1e-4 if precision == "fp32" else 2e-2):
                sys.exit(f"{size} in {precision}: the losses are {gap} apart, so this compares different work")
            ratios = {key: theirs[key] / ours[key] for key in ("seconds", "gigabytes")}
            figures[f"{size}_{precision}"] = {**rows, "ratio": ratios["seconds"], "memory_ratio": ratios["gigabytes"]}
    return figures


def measure(peer: str, size: str, precision: str, rows: int, steps: int) -> dict[str, float]:
    """Time steps in this process. Returns the lowest seconds, the peak memory in 10^9 bytes, and the first loss."""
    from nonverbal.batch import Batch, Rows
    from nonverbal.models.ssam import Architecture
    from nonverbal.objectives.reconstruction import SsamSettings, build_ssam_objective

    objective = build_ssam_objective(SsamSettings(architecture=Architecture(WIDTHS[size])), seed=0).train()
    if peer == "transformers":
        for block in objective.model.audio_mamba.blocks:
            block.mixer = TransformersMixer(block.mixer, WIDTHS[size])
    optimizer = torch.optim.AdamW(objective.parameters(), lr=1e-6, betas=(0.9, 0.95), fused=True)
    clips = 0.1 * torch.from_numpy(np.random.default_rng(0).standard_normal((rows, 32_000))).float()
    lengths = np.full(rows, 32_000)
    targets = objective.target_sampler(Rows(lengths), np.random.default_rng(0))
    batch = Batch(clips, torch.from_numpy(lengths), [], targets, seed=0, step=0, position=0, padded=False)

    def step() -> float:
        with torch.autocast("cpu", torch.bfloat16) if precision == "bf16" else nullcontext():
            loss = objective(batch).sum / targets.count
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return float(loss.detach())

    first = step()
    times = []
    for _ in range(steps):
        started = time.perf_counter()
        step()
        times.append(time.perf_counter() - started)
    # Linux counts in units of 1024 bytes.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return {"seconds": min(times), "gigabytes": peak, "loss": first}


if __name__ == "__main__":
    main()
