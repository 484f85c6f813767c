"""The first process chooses the checkpoint that a run continues from; the others take that one or stop the run."""

import shutil
from pathlib import Path

import pytest
from test_trainer import settings_of
from tiny_runs import CLIPS, MAMBA, TORCHRUN, assert_same_run, pretrain, pretrain_here
from toy import ToyObjective, toy_data

from nonverbal.errors import UserError
from nonverbal.training.resuming import resume
from nonverbal.training.run_folder import RunFolder
from nonverbal.training.trainer import Trainer

OWN_FOLDERS = (*TORCHRUN, "2", str(Path(__file__).with_name("own_folders.py")))


@pytest.fixture(scope="module")
def shards(module_shards):
    return module_shards(CLIPS)


@pytest.fixture(scope="module")
def one(shards, tmp_path_factory):
    """The run as one process does it."""
    return pretrain_here(shards.folder, tmp_path_factory.mktemp("one") / "run", *MAMBA)


def damage(folder):
    (folder / "model.safetensors").write_bytes(b"damaged")


@pytest.mark.processes
@pytest.mark.slow
def test_all_go_back_where_the_first_finds_its_newest_damaged(tmp_path, shards, one):
    run = shutil.copytree(one, tmp_path / "run")
    shutil.copytree(one, tmp_path / "run-elsewhere")
    damage(run / "checkpoints/step-6")
    result = pretrain(shards.folder, run, *MAMBA, launcher=OWN_FOLDERS)
    assert result.returncode == 0, result.stderr
    assert f"continuing from {run / 'checkpoints/step-3'}" in result.stdout
    assert_same_run(one, run)


@pytest.mark.processes
def test_a_process_without_the_checkpoint_stops_the_run_and_is_named(tmp_path, shards, one):
    run = shutil.copytree(one, tmp_path / "run")
    result = pretrain(shards.folder, run, *MAMBA, launcher=OWN_FOLDERS)
    assert result.returncode != 0
    path = run / "checkpoints/step-6"
    assert f"nonverbal: the first process continues from {path}, but process 1 on " in result.stderr
    assert f"cannot (the checkpoint {run}-elsewhere/checkpoints/step-6 cannot be read" in result.stderr
    assert "--out must be one folder that all machines of the run share" in result.stderr
    assert 'Traceback (most recent call last):\n  File "' + str(Path(__file__).parents[2]) not in result.stderr


class Two:
    """What the first of two processes hears of the other."""

    def __init__(self, rank, name, said):
        self.rank, self.world, self.is_first = rank, 2, rank == 0
        self.name, self.said = name, said

    def of_first(self, name):
        return name if self.is_first else self.name

    def of_each(self, said):
        return [said, self.said] if self.is_first else [None, said]


def resumed(folder, rank, name, said=None):
    return resume(folder / "checkpoints", ToyObjective(), Two(rank, name, said), pytest.fail).position.step


def test_the_second_takes_the_first_ones_choice_whatever_it_sees_itself(tmp_path, shards):
    settings = settings_of(checkpoint_every=4)
    run = RunFolder(tmp_path / "run")
    run.checkpoints.mkdir(parents=True)
    Trainer(ToyObjective(), toy_data(shards), settings, run, seed=0).train()
    assert resumed(tmp_path / "run", 1, "step-8") == 8
    assert resumed(tmp_path / "run", 1, None) == 0
    with pytest.raises(UserError, match=r"continues from .*step-9, but process 1 on .* cannot"):
        resumed(tmp_path / "run", 1, "step-9")
    assert resumed(tmp_path / "run", 0, None) == 12
    with pytest.raises(UserError, match=r"continues from .*step-12, but process 1 on there cannot; --out must be one"):
        resumed(tmp_path / "run", 0, None, said="process 1 on there cannot")
