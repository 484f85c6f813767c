"""Tiny fine-tunings, within this process and as processes of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from patience import HANGS
from safetensors.torch import load_file
from tiny_shapes import WAVEFORMS
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "finetune" / "train.py"

QUICK = {
    "epochs": 3,
    "batches.batch_clips": 4,
    "batches.batches_per_step": 2,
    "trainer.workers": 0,
    "trainer.precision": "fp32",
    "trainer.optimizer.lr": 3e-3,
    "folds": 3,
    "head.projection": 16,
}


def tiny_encoder(folder: Path, seed: int = 0) -> Path:
    """Write a wav2vec 2.0 of two blocks that takes waveforms as they are."""
    torch.manual_seed(seed)
    Wav2Vec2Model(Wav2Vec2Config(**WAVEFORMS)).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=False, return_attention_mask=False).save_pretrained(folder)
    return folder


def arguments(shards: Path, init: Path, out: Path, **settings: Any) -> list[str]:
    """Return the command line of a fine-tuning; ``settings`` replace those of ``QUICK``."""
    pairs = {"data": shards, "init": init, "out": out, **QUICK, **settings}
    return [f"--{key}={json.dumps(value) if isinstance(value, list | dict) else value}" for key, value in pairs.items()]


def run(argv: list[str], launcher: tuple[str, ...] = (sys.executable,)) -> subprocess.CompletedProcess[str]:
    """Run the program in a process of its own, to its end."""
    return subprocess.run(
        [*launcher, str(PROGRAM), *argv], capture_output=True, text=True, timeout=HANGS, env=environment()
    )


def environment() -> dict[str, str]:
    """Return what a program of its own needs to find this checkout."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Return the weights that a fold has kept."""
    return load_file(folder / "encoder" / "model.safetensors")


def score_rows(out: Path) -> list[dict[str, Any]]:
    """Return the rows of ``scores.jsonl``."""
    return [json.loads(line) for line in (out / "scores.jsonl").read_text(encoding="utf-8").splitlines()]
