"""DeepSpeed's ZeRO on two CPU processes, against DistributedDataParallel and across checkpoints."""

import importlib.util
import shutil

import pytest
import torch
from safetensors.torch import load_file
from tiny_runs import CLIPS, MAMBA, assert_same_run, pretrain

from nonverbal.errors import UserError
from nonverbal.training.strategy import check_zero
from nonverbal.training.trainer import TrainerSettings

needs_deepspeed = pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="DeepSpeed is missing")
EVEN = ("batches.batches_per_step=4", "trainer.optimizer.clip_norm=2")
WITHOUT_LAYER_DROP = (*EVEN, "wav2vec2.dropouts.layer=0")


@pytest.fixture(scope="module")
def shards(module_shards):
    return module_shards(CLIPS).folder


def run_of(shards, out, *settings):
    result = pretrain(shards, out, *settings)
    assert result.returncode == 0, result.stderr
    return out


@pytest.fixture(scope="module")
def with_layer_drop(shards, tmp_path_factory):
    return run_of(shards, tmp_path_factory.mktemp("whole") / "run", *EVEN)


@pytest.fixture(scope="module")
def without_layer_drop(shards, tmp_path_factory):
    return run_of(shards, tmp_path_factory.mktemp("whole") / "run", *WITHOUT_LAYER_DROP)


@pytest.mark.slow
@needs_deepspeed
@pytest.mark.parametrize("stage", [1, 2])
def test_zero_takes_the_same_steps_with_dropped_layers(tmp_path, shards, with_layer_drop, stage):
    zero = run_of(shards, tmp_path / "zero", *EVEN, "trainer.processes=2", f"trainer.zero={stage}")
    assert_same_run(with_layer_drop, zero)


@pytest.mark.slow
@needs_deepspeed
@pytest.mark.parametrize("stage", [1, 2, 3])
def test_zero_with_offload_takes_the_same_steps(tmp_path, shards, without_layer_drop, stage):
    settings = (*WITHOUT_LAYER_DROP, "trainer.processes=2", f"trainer.zero={stage}", "trainer.offload=true")
    assert_same_run(without_layer_drop, run_of(shards, tmp_path / "zero", *settings))


@pytest.mark.slow
@needs_deepspeed
def test_zero_3_takes_the_same_steps(tmp_path, shards, without_layer_drop):
    settings = (*WITHOUT_LAYER_DROP, "trainer.processes=2", "trainer.zero=3")
    assert_same_run(without_layer_drop, run_of(shards, tmp_path / "zero", *settings))


@pytest.mark.slow
@needs_deepspeed
def test_an_audio_mamba_takes_the_same_steps(tmp_path, shards):
    whole = run_of(shards, tmp_path / "whole", *EVEN, *MAMBA)
    for stage in (1, 3):
        zero = (*EVEN, *MAMBA, "trainer.processes=2", f"trainer.zero={stage}")
        assert_same_run(whole, run_of(shards, tmp_path / f"zero{stage}", *zero))


@pytest.mark.slow
@needs_deepspeed
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (("trainer.zero=3", "trainer.processes=2"), ("trainer.zero=0",)),
        (("trainer.zero=0",), ("trainer.zero=3", "trainer.processes=2")),
        (("trainer.zero=1", "trainer.processes=2", "trainer.offload=true"), ("trainer.zero=2",)),
        (("trainer.zero=2",), ("trainer.zero=1", "trainer.processes=2")),
    ],
)
def test_a_checkpoint_goes_on_under_another_strategy_and_number(tmp_path, shards, without_layer_drop, before, after):
    run = run_of(shards, tmp_path / "run", *WITHOUT_LAYER_DROP, *before)
    shutil.rmtree(run / "checkpoints/step-6")
    run_of(shards, run, *WITHOUT_LAYER_DROP, *after)
    assert_same_run(without_layer_drop, run)


@pytest.mark.slow
@needs_deepspeed
def test_bf16_keeps_weights_and_codebook_in_float32(tmp_path, shards):
    settings = (*WITHOUT_LAYER_DROP, "trainer.precision=bf16")
    whole = run_of(shards, tmp_path / "whole", *settings)
    zero = run_of(shards, tmp_path / "zero", *settings, "trainer.processes=2", "trainer.zero=3")
    # ZeRO 3 has linear layers of its own, which round elsewhere.
    assert_same_run(whole, zero, atol=1e-2, rtol=5e-3)
    tensors = load_file(zero / "checkpoints/step-6/model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}


@pytest.mark.slow
@needs_deepspeed
def test_a_step_that_is_not_finite_changes_nothing(tmp_path, shards):
    spoilt = (*WITHOUT_LAYER_DROP, "wav2vec2.objective.temperature=1e-45")
    runs = [tmp_path / f"zero{stage}" for stage in (0, 2, 3)]
    for run in runs:
        result = pretrain(shards, run, *spoilt, f"trainer.zero={run.name[-1]}", "trainer.processes=2")
        assert result.returncode == 0, result.stderr
        assert "step 6 skipped: a loss is not finite" in result.stdout
    weights = [load_file(run / "checkpoints/step-6/model.safetensors") for run in runs]
    for other in weights[1:]:
        assert all(torch.equal(tensor, other[name]) for name, tensor in weights[0].items())


@pytest.mark.parametrize(
    "stage",
    [2, 3],
)
def test_what_zero_cannot_do_is_refused(stage):
    with pytest.raises(UserError, match="so each process needs as many as the others, but 2 processes share 5"):
        check_zero(stage, 2, 5)


def test_what_zero_can_do_is_not_refused():
    check_zero(1, 2, 5)
    check_zero(2, 2, 4)
    check_zero(3, 2, 4)


def test_offload_without_zero_is_refused():
    with pytest.raises(UserError, match="trainer.offload moves what ZeRO has divided: set trainer.zero"):
        TrainerSettings(offload=True)
