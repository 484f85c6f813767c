import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

PROGRAM = Path(__file__).parents[2] / "pretrain" / "train.py"
TINY = {
    "wav2vec2.architecture.hidden_size": 32,
    "wav2vec2.architecture.layers": 3,
    "wav2vec2.architecture.heads": 4,
    "wav2vec2.architecture.ffn_size": 48,
    "wav2vec2.architecture.conv_channels": 16,
    "wav2vec2.architecture.position_kernel": 16,
    "wav2vec2.architecture.position_groups": 4,
    "wav2vec2.architecture.codes": 16,
    "wav2vec2.architecture.code_size": 16,
    "wav2vec2.architecture.projection_size": 12,
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


def pretrain(processes, shards, out, *more):
    launcher = (
        [] if processes == 1 else ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    )
    settings = [f"--{key}={value}" for key, value in TINY.items()]
    command = [sys.executable, *launcher, str(PROGRAM), f"--data={shards}", f"--out={out}", *settings, *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)


@pytest.fixture
def shards(make_shards):
    clips = [("a", seconds, "train") for seconds in (0.6, 1.0, 1.5, 0.4, 2.0)] * 5
    return make_shards([*clips, ("a", 1.0, "validation"), ("b", 1.5, "validation")]).folder


def losses(run):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [(row["kind"], row["step"], row["loss"]) for row in rows]


def assert_same_run(one, other):
    for (kind, step, loss), (other_kind, other_step, other_loss) in zip(losses(one), losses(other), strict=True):
        assert (kind, step) == (other_kind, other_step)
        assert loss == pytest.approx(other_loss, rel=1e-5)
    weights, others = (load_file(run / "checkpoints/step-6/model.safetensors") for run in (one, other))
    assert weights.keys() == others.keys()
    for name, value in weights.items():
        assert torch.allclose(value, others[name], atol=1e-5), name


def test_one_two_and_one_continued_by_two_are_the_same_run(tmp_path, shards):
    one, two, both = (tmp_path / name for name in ("one", "two", "both"))
    for processes, out in ((1, one), (2, two)):
        result = pretrain(processes, shards, out, f"--trainer.processes={processes}")
        assert result.returncode == 0, result.stderr
    assert_same_run(one, two)

    shutil.copytree(one, both)
    shutil.rmtree(both / "checkpoints/step-6")
    result = pretrain(2, shards, both)
    assert result.returncode == 0, result.stderr
    assert f"continuing from {both / 'checkpoints/step-3'}" in result.stdout
    assert_same_run(one, both)
    launches = json.loads((both / "environment.json").read_text())
    assert [launch["processes"] for launch in launches] == [1, 2]


def test_another_number_of_processes_than_asked_for_is_refused(tmp_path, shards):
    result = pretrain(1, shards, tmp_path / "run", "--trainer.processes=2")
    assert result.returncode == 2
    assert "--trainer.processes asks for 2, but the launcher started 1; start them with: torchrun" in result.stderr
    assert not (tmp_path / "run").exists()


def test_more_processes_than_micro_batches_are_refused(tmp_path, shards):
    result = pretrain(2, shards, tmp_path / "run", "--batches.batches_per_step=1")
    assert result.returncode != 0
    assert "2 processes share the 1 micro-batches of a step, so some would have none" in result.stderr
