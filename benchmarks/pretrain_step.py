"""Compares a pretraining step of wav2vec 2.0 base: ours, that of transformers' example, and fairseq2's own model.

``python benchmarks/pretrain_step.py [--rows 4] [--seconds 10] [--steps 2] [--rounds 2] [--json FILE]``

All have the same clips, architecture, dropout, share of masked frames, 100 negatives and fused AdamW, and no layer
drop, in bf16 (autocast) and fp32. Each measurement is a separate process; all run in turn, in several rounds, so that
other load on the machine affects all of them. The seconds of a process are those of its fastest step; the seconds of a
peer are the median over rounds. Memory is the process's peak, including interpreter and libraries. The floor is the
time that the network's matrix products and convolutions would take at rates measured on this machine; the profile shows
where our step's time goes. ``cpu`` states whether the CPU has units for bf16; without them, bf16 is emulated.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from base_work import forward_work
from torch import Tensor

from nonverbal.system import has_bf16_units

PEERS = ("nonverbal", "transformers", "fairseq2")
PRECISIONS = ("bf16", "fp32")

Step = Callable[[], Tensor]


def main() -> None:
    """Measure every peer in both precisions, print, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4, help="clips in the batch")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each clip")
    parser.add_argument("--steps", type=int, default=2, help="steps timed in each process, after one that is not")
    parser.add_argument("--rounds", type=int, default=2, help="processes for each peer and precision")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--measure", nargs=2, metavar=("PEER", "PRECISION"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        peer, precision = arguments.measure
        print(json.dumps(measure(peer, precision, arguments.rows, arguments.seconds, arguments.steps)))
        return
    figures = compare(sys.argv[1:], arguments.rounds)
    figures["rows"], figures["clip_seconds"], figures["threads"] = (
        arguments.rows,
        arguments.seconds,
        torch.get_num_threads(),
    )
    figures["cpu"] = {"bf16_units": has_bf16_units()}
    figures["floor"] = {name: floor(name, arguments.rows, arguments.seconds) for name in PRECISIONS}
    figures["profile"] = profile(arguments.rows, arguments.seconds)
    print(json.dumps(figures, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


def compare(argv: list[str], rounds: int) -> dict[str, Any]:
    """Run each measurement in a separate process. Ratios: a peer's seconds over ours, and our memory over a peer's."""
    times: dict[tuple[str, str], list[float]] = {}
    memory: dict[tuple[str, str], list[float]] = {}
    peers = [peer for peer in PEERS if peer != "fairseq2" or _has_fairseq2()]
    for _ in range(rounds):
        for precision in PRECISIONS:
            for peer in peers:
                command = [sys.executable, __file__, *argv, "--measure", peer, precision]
                result = subprocess.run(command, capture_output=True, text=True, check=False)
                if result.returncode:
                    sys.exit(f"{peer} in {precision} failed:\n{result.stderr}")
                row = json.loads(result.stdout.splitlines()[-1])
                times.setdefault((peer, precision), []).append(row["seconds"])
                memory.setdefault((peer, precision), []).append(row["gigabytes"])
                print(f"{peer} {precision}: {row['seconds']:.2f} s, {row['gigabytes']:.2f} GB", file=sys.stderr)
    seconds = {key: statistics.median(values) for key, values in times.items()}
    gigabytes = {key: statistics.median(values) for key, values in memory.items()}
    figures: dict[str, Any] = {}
    for peer in peers[1:]:
        suffix = "" if peer == "transformers" else f"_{peer}"
        for precision in PRECISIONS:
            figures[f"ratio_{precision}{suffix}"] = seconds[peer, precision] / seconds["nonverbal", precision]
        figures[f"memory_ratio{suffix}"] = gigabytes["nonverbal", "bf16"] / gigabytes[peer, "bf16"]
    figures["seconds"] = {f"{peer}_{precision}": value for (peer, precision), value in seconds.items()}
    figures["seconds_of_rounds"] = {f"{peer}_{precision}": value for (peer, precision), value in times.items()}
    figures["gigabytes"] = {f"{peer}_{precision}": value for (peer, precision), value in gigabytes.items()}
    return figures


def measure(peer: str, precision: str, rows: int, seconds: float, steps: int) -> dict[str, float]:
    """Time steps in this process. Returns the seconds of the fastest step, and the peak memory in 10^9 bytes."""
    step = make_step(peer, precision, rows, seconds)
    step()
    times = []
    for _ in range(steps):
        started = time.perf_counter()
        loss = step()
        times.append(time.perf_counter() - started)
        assert torch.isfinite(loss), f"{peer}: the loss is {loss}"
    # Linux counts in units of 1024 bytes.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return {"seconds": min(times), "gigabytes": peak}


def make_step(peer: str, precision: str, rows: int, seconds: float) -> Step:
    """Return a function that takes one complete step: targets, forward, backward, update."""
    torch.manual_seed(0)
    clips = 0.1 * torch.from_numpy(np.random.default_rng(0).standard_normal((rows, round(seconds * 16_000)))).float()
    make = {"nonverbal": nonverbal_loss, "transformers": transformers_loss, "fairseq2": fairseq2_loss}[peer]
    model, mean_loss = make(clips)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, betas=(0.9, 0.98), eps=1e-6, fused=True)

    def step() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16) if precision == "bf16" else nullcontext():
            loss = mean_loss()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return step


def nonverbal_loss(clips: Tensor) -> tuple[torch.nn.Module, Step]:
    """Return our model and loss. Masks and negatives are drawn in the step, although other processes do so in a run."""
    from nonverbal.batch import Batch, Rows
    from nonverbal.models.wav2vec2 import Dropouts
    from nonverbal.objectives.contrastive import Wav2Vec2Settings, build_objective
    from nonverbal.system import keep_freed_memory

    # As the trainer does.
    keep_freed_memory()
    objective = build_objective(Wav2Vec2Settings(dropouts=Dropouts(layer=0.0)), seed=0).train()
    lengths = np.full(len(clips), clips.shape[1])
    random = np.random.default_rng(0)

    def mean_loss() -> Tensor:
        targets = objective.target_sampler(Rows(lengths), random)
        loss = objective(Batch(clips, torch.from_numpy(lengths), [], targets, seed=0, step=0, position=0, padded=False))
        return loss.sum / targets.count

    return objective, mean_loss


def transformers_loss(clips: Tensor) -> tuple[torch.nn.Module, Step]:
    """Return model and loss as in transformers' ``run_wav2vec2_pretraining_no_trainer.py``, with its random draws."""
    from transformers import Wav2Vec2Config, Wav2Vec2ForPreTraining
    from transformers.models.wav2vec2.modeling_wav2vec2 import _compute_mask_indices, _sample_negative_indices

    config = Wav2Vec2Config(layerdrop=0.0, mask_time_prob=0.65, feat_quantizer_dropout=0.1, activation_dropout=0.0)
    model = Wav2Vec2ForPreTraining(config).train()
    shape = (len(clips), int(model._get_feat_extract_output_lengths(clips.shape[1])))

    def mean_loss() -> Tensor:
        mask = _compute_mask_indices(shape, config.mask_time_prob, config.mask_time_length, min_masks=2)
        negatives = _sample_negative_indices(shape, config.num_negatives, mask_time_indices=mask)
        mask, negatives = torch.from_numpy(mask), torch.from_numpy(negatives)
        output = model(clips, mask_time_indices=mask, sampled_negative_indices=negatives)
        loss: Tensor = output.loss / mask.sum()
        return loss

    return model, mean_loss


def fairseq2_loss(clips: Tensor) -> tuple[torch.nn.Module, Step]:
    """Return fairseq2's model and loss, which draw masks and negatives inside."""
    import soundfile  # noqa: F401 - fairseq2 uses its libsndfile
    from fairseq2.models.wav2vec2.config import Wav2Vec2Config
    from fairseq2.models.wav2vec2.factory import create_wav2vec2_model
    from fairseq2.nn import BatchLayout

    config = Wav2Vec2Config()
    config.encoder_config.layer_drop_p = 0.0
    config.encoder_config.first_pass_dropout_p = 0.1
    model = create_wav2vec2_model(config).train()

    def mean_loss() -> Tensor:
        loss, output = model(clips, BatchLayout.of(clips))
        mean: Tensor = loss.aggregate / output.num_targets
        return mean

    return model, mean_loss


def floor(precision: str, rows: int, seconds: float) -> dict[str, float]:
    """Return the seconds of the network's matrix products and convolutions alone, at rates measured on this machine."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    left, right = torch.randn(2048, 1024, dtype=dtype), torch.randn(1024, 3072, dtype=dtype)
    matmul = 2 * 2048 * 1024 * 3072 / _least_seconds(lambda: left @ right)
    signal, kernel = torch.randn(4, 512, 4000, dtype=dtype), torch.randn(512, 512, 3, dtype=dtype)
    conv = 2 * 4 * 1999 * 512 * 512 * 3 / _least_seconds(lambda: torch.conv1d(signal, kernel, stride=2))
    conv_work, matmul_work = forward_work(round(seconds * 16_000))
    # The backward pass has two products for each one of the forward pass.
    total = 3 * rows * (matmul_work / matmul + conv_work / conv)
    return {"seconds": total, "matmul_gflops": matmul / 1e9, "conv_gflops": conv / 1e9}


def profile(rows: int, seconds: float) -> dict[str, float]:
    """Return the shares of our bf16 step's time by operator, the largest first."""
    step = make_step("nonverbal", "bf16", rows, seconds)
    step()
    with torch.profiler.profile() as recorded:
        step()
    events = sorted(recorded.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    return {event.key: round(event.self_cpu_time_total / total, 4) for event in events[:16]}


def _least_seconds(work: Callable[[], Tensor]) -> float:
    times = []
    for _ in range(10):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def _has_fairseq2() -> bool:
    import importlib.util

    return importlib.util.find_spec("fairseq2") is not None


if __name__ == "__main__":
    main()
