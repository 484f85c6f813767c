"""A run goes on as it began, whether or not the table that it advises is made meanwhile."""

import json
import os
import signal
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from tiny_runs import CLIPS, MAMBA, command_of, losses

from nonverbal.data.log_mel import write_log_mel
from nonverbal.data.workers import Done
from nonverbal.errors import UserError
from nonverbal.signals import Interrupted
from nonverbal.stages.pretraining import check_alike
from nonverbal.training.trainer import Trainer
from pretrain import train


def in_this_process(work, items, _):
    return (Done(item, work(item)) for item in items)


@pytest.fixture
def shards(make_shards):
    return make_shards(CLIPS)


@pytest.fixture
def pretrain(shards, monkeypatch):
    """Run ``nonverbal pretrain`` in this process; ``stop`` is the step in which a signal comes."""
    # Making the table does so too, and sums depend on it.
    torch.set_num_threads(1)

    def run(out, stop=None):
        class Stopping(Trainer):
            def take(self, step, *rest):
                super().take(step, *rest)
                if step + 1 == stop:
                    os.kill(os.getpid(), signal.SIGTERM)

        with monkeypatch.context() as patched:
            patched.setattr(train, "Trainer", Stopping)
            train.main(command_of(shards.folder, out, *MAMBA, "trainer.workers=0")[2:])

    return run


def test_a_run_goes_on_without_a_table_that_was_made_meanwhile(pretrain, shards, tmp_path, monkeypatch, capsys):
    pretrain(tmp_path / "whole")
    with pytest.raises(Interrupted):
        pretrain(tmp_path / "parts", stop=4)
    monkeypatch.setattr("nonverbal.data.log_mel.over_processes", in_this_process)
    write_log_mel(shards.folder, 1)
    capsys.readouterr()
    pretrain(tmp_path / "parts")
    assert "read: whole rows, to standardise them, as when this run began" in " ".join(capsys.readouterr().out.split())
    assert list(json.loads((tmp_path / "parts/data.json").read_text())) == [str(shards.folder)]
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    for name in ("model", "optimizer"):
        whole, parts = (
            load_file(tmp_path / run / f"checkpoints/step-6/{name}.safetensors") for run in ("whole", "parts")
        )
        assert whole.keys() == parts.keys()
        assert all(torch.equal(whole[key], parts[key]) for key in whole)
    # A new run takes the table, and reads by it to its end.
    with pytest.raises(Interrupted):
        pretrain(tmp_path / "new", stop=1)
    assert list(json.loads((tmp_path / "new/data.json").read_text()))[1] == str(shards.folder / "log-mel.npy")
    (shards.folder / "log-mel.json").unlink()
    with pytest.raises(UserError, match="log-mel.json is gone, but the run began with this table"):
        pretrain(tmp_path / "new")


class Three:
    """Three processes, of which the others hold ``others``."""

    def __init__(self, *others):
        self.others = others

    def of_each(self, value):
        return [value, *self.others]


def test_processes_that_would_read_other_data_are_refused():
    data = SimpleNamespace(contents={"shards/a": "1", "shards/a/log-mel.npy": "2"})
    check_alike(Three(["1", "2"], ["1", "2"]), data)
    with pytest.raises(UserError, match=r"^the data of process 2 differ from .*log-mel.npy\); copy the same files"):
        check_alike(Three(["1", "2"], ["1"]), data)
