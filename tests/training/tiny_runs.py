"""Tiny pretraining runs as processes of their own, and what they leave behind."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from patience import HANGS
from safetensors.torch import load_file
from tiny_shapes import SSAM, WAV2VEC2

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "pretrain" / "train.py"
TINY = {
    **{f"wav2vec2.architecture.{name}": value for name, value in WAV2VEC2.items()},
    "wav2vec2.architecture.layers": 3,
    "wav2vec2.dropouts.layer": 0.3,
    "batches.batch_seconds": 3,
    "batches.batches_per_step": 5,
    "batches.max_seconds": 1.5,
    "batches.min_seconds": 0.5,
    "trainer.steps": 6,
    "trainer.precision": "fp32",
    "trainer.validate_every": 3,
    "trainer.checkpoint_every": 3,
    "trainer.log_every": 1,
    "trainer.optimizer.lr": 1e-3,
    "trainer.optimizer.warmup_steps": 2,
}
MAMBA = (
    "family=ssam",
    *(f"ssam.architecture.{name}={value}" for name, value in SSAM.items()),
    "trainer.optimizer.decay=matrices",
    "trainer.optimizer.weight_decay=0.05",
)
"""The same with an Audio Mamba."""
CLIPS = [("a", seconds, "train") for seconds in (0.6, 1.0, 1.5, 0.4, 2.0)] * 5 + [
    ("a", 1.0, "validation"),
    ("b", 1.5, "validation"),
]
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node")


def command_of(shards, out, *settings, launcher=(sys.executable,)):
    """The command of a tiny run; ``settings`` are ``key=value`` and win over ``TINY``."""
    changed = TINY | dict(setting.split("=", 1) for setting in settings)
    family = changed.get("family", "wav2vec2")
    changed = {key: value for key, value in changed.items() if family == "wav2vec2" or not key.startswith("wav2vec2.")}
    return [*launcher, str(PROGRAM), f"--data={shards}", f"--out={out}", *(f"--{k}={v}" for k, v in changed.items())]


def environment():
    """One thread a process, and no trace of a launcher around the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ACCELERATE_", "SLURM_"))}
    return {**kept, "OMP_NUM_THREADS": "1"}


def pretrain(shards, out, *settings, launcher=(sys.executable,)):
    """Run to the end and return the finished process."""
    command = command_of(shards, out, *settings, launcher=launcher)
    return subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=HANGS)


def pretrain_here(shards, out, *settings):
    """Run to the end within this process, where nothing has to be imported again, and return the folder.

    With one thread, as the processes of ``pretrain``.
    """
    from pretrain import train

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        train.main(command_of(shards, out, *settings)[2:])
    finally:
        torch.set_num_threads(threads)
    return out


def rows(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def losses(run):
    return [(row["kind"], row["step"], row["loss"]) for row in rows(run)]


def assert_same_run(one, other, atol=1e-5, rtol=1e-5):
    for (kind, step, loss), (other_kind, other_step, other_loss) in zip(losses(one), losses(other), strict=True):
        assert (kind, step) == (other_kind, other_step)
        assert loss == pytest.approx(other_loss, rel=rtol)
    for name in ("model", "optimizer"):
        tensors, others = (load_file(run / f"checkpoints/step-6/{name}.safetensors") for run in (one, other))
        assert tensors.keys() == others.keys()
        for key, value in tensors.items():
            assert torch.allclose(value, others[key], atol=atol), key
