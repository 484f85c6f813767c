"""One process and two take the same gradients in fine-tuning, class weights and layer weights too."""

import sys

import pytest
import torch
from labelled_tones import labelled_shards, tones  # noqa: F401
from tuned_runs import arguments, run, tiny_encoder, weights

from finetune import train

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")


@pytest.mark.processes
@pytest.mark.parametrize(
    "more", [{}, pytest.param({"encoder.train": "lora"}, marks=pytest.mark.slow)], ids=["all blocks", "LoRA"]
)
def test_two_processes_train_as_one(labelled_shards, tmp_path, more):  # noqa: F811
    # One class more frequent than the other, so that micro-batches differ in their weights.
    sounds = labelled_shards([sound for i, sound in enumerate(tones(speakers=6, takes=2)[:-1]) if i % 4 != 3]).folder
    encoder = tiny_encoder(tmp_path / "encoder")
    settings = {"only": "seed-0/fold-0", "epochs": 2, "head.class_weights": "balanced", **more}
    train.main(arguments(sounds, encoder, tmp_path / "one", **settings))
    result = run(arguments(sounds, encoder, tmp_path / "two", **settings), TORCHRUN)
    assert result.returncode == 0, result.stderr
    one, two = (weights(tmp_path / name / "seed-0/fold-0") for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-6, msg=f"{name} differs")


@pytest.mark.processes
@pytest.mark.slow
@pytest.mark.parametrize("stage", [2, 3])
def test_zero_trains_as_one_process_with_what_is_frozen(labelled_shards, tmp_path, stage):  # noqa: F811
    sounds = labelled_shards(tones(speakers=6, takes=2)).folder
    encoder = tiny_encoder(tmp_path / "encoder")
    settings = {"only": "seed-0/fold-0", "epochs": 2}
    zero = {"trainer.zero": stage, "trainer.processes": 2}
    for name, more in (("one", {}), ("two", zero)):
        result = run(arguments(sounds, encoder, tmp_path / name, **settings, **more))
        assert result.returncode == 0, result.stderr
    one, two = (weights(tmp_path / name / "seed-0/fold-0") for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-6, msg=f"{name} differs")
