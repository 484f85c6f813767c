"""DeepSpeed's ZeRO on two CPU processes, against DistributedDataParallel and across checkpoints."""

import importlib.util
import shutil
import weakref
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_runs import CLIPS, MAMBA, TORCHRUN, assert_same_run, pretrain, rows

from nonverbal.errors import UserError
from nonverbal.training.settings import TrainerSettings
from nonverbal.training.zero import _deepspeed_config, _kept, check_zero

needs_deepspeed = pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="DeepSpeed is missing")
DIVIDING_ALL = (*TORCHRUN, "2", str(Path(__file__).with_name("divide_all.py")))
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


@pytest.mark.processes
@pytest.mark.slow
@needs_deepspeed
@pytest.mark.parametrize("stage", [1, 2])
def test_zero_takes_the_same_steps_with_dropped_layers(tmp_path, shards, with_layer_drop, stage):
    zero = run_of(shards, tmp_path / "zero", *EVEN, "trainer.processes=2", f"trainer.zero={stage}")
    assert_same_run(with_layer_drop, zero)


@pytest.mark.processes
@pytest.mark.slow
@needs_deepspeed
@pytest.mark.parametrize("stage", [1, 2, 3])
def test_zero_with_offload_takes_the_same_steps(tmp_path, shards, with_layer_drop, stage):
    settings = (*EVEN, "trainer.processes=2", f"trainer.zero={stage}", "trainer.offload=true")
    assert_same_run(with_layer_drop, run_of(shards, tmp_path / "zero", *settings))


@pytest.mark.processes
@pytest.mark.slow
@needs_deepspeed
def test_zero_3_takes_the_same_steps(tmp_path, shards, without_layer_drop):
    settings = (*WITHOUT_LAYER_DROP, "trainer.processes=2", "trainer.zero=3")
    assert_same_run(without_layer_drop, run_of(shards, tmp_path / "zero", *settings))


@pytest.mark.processes
@pytest.mark.slow
@needs_deepspeed
@pytest.mark.parametrize("settings", [(), ("trainer.offload=true",)], ids=["alone", "offload"])
def test_zero_3_with_all_weights_divided_takes_the_same_steps_with_dropped_layers(tmp_path, shards, settings):
    run = tmp_path / "zero"
    result = pretrain(shards, run, *EVEN, "trainer.zero=3", *settings, launcher=DIVIDING_ALL)
    assert result.returncode == 0, result.stderr
    assert_same_run(run_of(shards, tmp_path / "whole", *EVEN), run)


@pytest.mark.processes
@pytest.mark.slow
@needs_deepspeed
@pytest.mark.parametrize("clips", [1, 3])
def test_processes_with_unequal_numbers_of_validation_batches(tmp_path, make_shards, clips):
    validation = [("abc"[i], 1.0 + i / 4, "validation") for i in range(clips)]
    shards = make_shards([clip for clip in CLIPS if clip[2] == "train"] + validation).folder
    run = tmp_path / "zero"
    result = pretrain(shards, run, *EVEN, "trainer.zero=3", launcher=DIVIDING_ALL)
    assert result.returncode == 0, result.stderr
    assert_same_run(run_of(shards, tmp_path / "whole", *EVEN), run)
    (row,) = (row for row in rows(run) if row["kind"] == "validation" and row["step"] == 6)
    assert sum(name.startswith("corpora.") and name.endswith(".loss") for name in row) == clips


@pytest.mark.processes
@pytest.mark.slow
@needs_deepspeed
def test_an_audio_mamba_takes_the_same_steps(tmp_path, shards):
    whole = run_of(shards, tmp_path / "whole", *EVEN, *MAMBA)
    for stage in (1, 3):
        zero = (*EVEN, *MAMBA, "trainer.processes=2", f"trainer.zero={stage}")
        assert_same_run(whole, run_of(shards, tmp_path / f"zero{stage}", *zero))


@pytest.mark.processes
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


@pytest.mark.processes
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


@pytest.mark.processes
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
    with pytest.raises(
        UserError, match="so each process needs the same number of micro-batches, but 2 processes share 5"
    ):
        check_zero(stage, 2, 5)


def test_what_zero_can_do_is_not_refused():
    check_zero(1, 2, 5)
    check_zero(2, 2, 4)
    check_zero(3, 2, 4)


@pytest.mark.parametrize("stage", [1, 2, 3])
@pytest.mark.parametrize("offload", [False, True])
def test_no_buffer_takes_more_than_200_mb(stage, offload):
    """DeepSpeed's own defaults, of 5e8 values, would take 2 GB."""
    zero = _deepspeed_config(stage, offload, None)["zero_optimization"]
    buffers = {name: value for name, value in zero.items() if name.endswith("bucket_size")}
    assert "reduce_bucket_size" in buffers
    assert all(4 * value <= 200e6 for value in buffers.values())


@needs_deepspeed
@pytest.mark.parametrize("stage", [1, 2, 3])
def test_deepspeed_knows_the_settings_of_its_buffers(stage):
    from deepspeed.runtime.zero.config import DeepSpeedZeroConfig

    zero = DeepSpeedZeroConfig(**_deepspeed_config(stage, False, None)["zero_optimization"])
    assert zero.reduce_bucket_size == 50_000_000
    assert (zero.prefetch_bucket_size if stage == 3 else zero.allgather_bucket_size) == 50_000_000


def test_what_is_not_wanted_is_let_go_as_soon_as_it_is_gathered():
    alive = []

    def gathered():
        for name in "abc":
            # The loop still holds the last one.
            assert sum(seen() is not None for seen in alive) <= 1
            tensor = torch.zeros(3)
            alive.append(weakref.ref(tensor))
            yield name, tensor
            del tensor

    assert _kept(False, gathered()) == {}
    assert len(alive) == 3
    kept = _kept(True, ((name, torch.full((2,), float(i))) for i, name in enumerate("ab")))
    assert {name: tensor.tolist() for name, tensor in kept.items()} == {"a": [0, 0], "b": [1, 1]}


def test_offload_without_zero_is_refused():
    with pytest.raises(UserError, match="trainer.offload moves what ZeRO partitions: set trainer.zero"):
        TrainerSettings(offload=True)
