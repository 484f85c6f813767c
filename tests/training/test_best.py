"""The best checkpoint is the objective's to choose, and a run without a better one may end early."""

import gc
import json
import math
import multiprocessing
import signal
import subprocess
import threading
import weakref
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from classifier import CLASSES, Labelled, trainer_of
from patience import HANGS
from safetensors.torch import load_file
from sklearn.metrics import recall_score
from test_trainer import CLIPS, settings_of, stop_at
from test_trainer import trainer_of as toy_trainer_of
from tiny_runs import TORCHRUN, environment, rows
from toy import ToyObjective, toy_data

from nonverbal.batch import Loss
from nonverbal.curves import read_panels
from nonverbal.errors import UserError
from nonverbal.models.ssam import Architecture
from nonverbal.objectives.base import Best
from nonverbal.objectives.reconstruction import SsamSettings
from nonverbal.signals import Interrupted, Signals
from nonverbal.stages.pretraining import PretrainConfig, build
from nonverbal.training import checkpoint
from nonverbal.training.position import Position
from nonverbal.training.progress import describe
from nonverbal.training.settings import TrainerSettings


def run_of(folder, processes, *arguments):
    command = [*TORCHRUN, str(processes), str(Path(__file__).with_name("classifier.py")), str(folder), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=HANGS, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def expected_uar(weights, corpora):
    """By scikit-learn, over all rows of the classes that there are."""
    batches = [batch for batch in Labelled().validation(0, 1) if batch.corpus in corpora]
    true = torch.cat([batch.targets.tensors["labels"] for batch in batches])
    waveforms = torch.cat([batch.waveforms for batch in batches])
    predicted = (waveforms @ weights["linear.weight"].T + weights["linear.bias"]).argmax(-1)
    return recall_score(true, predicted, average="macro", labels=sorted(set(true.tolist())))


@pytest.mark.processes
@pytest.mark.parametrize("processes", [1, 2])
def test_the_highest_uar_over_all_validation_rows_is_the_best(tmp_path, processes):
    output = run_of(tmp_path, processes)
    validation = {row["step"]: row for row in rows(tmp_path) if row["kind"] == "validation"}
    assert len(validation) == 9
    for step, row in validation.items():
        weights = load_file(tmp_path / f"checkpoints/step-{step}/model.safetensors")
        assert row["uar"] == pytest.approx(expected_uar(weights, "ab"), abs=1e-12)
        assert row["corpora.a.uar"] == pytest.approx(expected_uar(weights, "a"), abs=1e-12)
        assert row["corpora.b.uar"] == pytest.approx(expected_uar(weights, "b"), abs=1e-12)
        assert not any("recall" in name for name in row)
        assert f"validation at step {step}: uar {row['uar']:.3f}" in output
    best = max(validation, key=lambda step: validation[step]["uar"])
    assert best != min(validation, key=lambda step: validation[step]["loss"])
    assert (tmp_path / "best").read_text() == f"step-{best}\n"
    assert all("uar" in row for row in rows(tmp_path) if row["kind"] == "train")
    position = json.loads((tmp_path / "checkpoints/step-9/state.json").read_text())["position"]
    assert (position["best_step"], position["best_value"]) == (best, validation[best]["uar"])


def test_a_class_without_a_row_is_left_out(tmp_path):
    objective = trainer_of(tmp_path).objective
    assert objective.finish({"loss": 1.0, "recall.0": 0.5, "recall.1": 1.0}) == {"loss": 1.0, "uar": 0.75}
    assert CLASSES == 3


@pytest.mark.processes
@pytest.mark.slow  # several processes, or a compiler, that import torch
def test_all_processes_end_together_when_patience_is_at_its_end(tmp_path):
    output = run_of(tmp_path, 2, "patient")
    told = "ended at step 4 of 9 after 3 validations without a better value than that of step 1 (trainer.patience)"
    assert told in output
    assert (tmp_path / "latest").read_text() == "step-4\n"


class Scripted(ToyObjective):
    """Has the values of its validation passes told beforehand."""

    def __init__(self, values, highest=False):
        super().__init__()
        self.values, self.passes, self.best = values, -1, Best("score", highest)

    def train(self, mode=True):
        self.passes += not mode
        return super().train(mode)

    def forward(self, batch):
        loss = super().forward(batch)
        value = torch.tensor(0.0 if self.training else self.values[self.passes])
        return Loss(loss.sum, {**loss.metrics, "score": (value, torch.tensor(1.0))})


VALUES = [5.0, 4.0, 4.5, 4.0, 3.0, 2.0, 1.0, 0.5]
PATIENT = settings_of(steps=8, validate_every=1, checkpoint_every=100, patience=2, keep_checkpoints=9)


@pytest.fixture
def shards(make_shards):
    return make_shards(CLIPS)


def state(folder):
    latest = (folder / "latest").read_text().strip()
    return latest, json.loads((folder / "checkpoints" / latest / "state.json").read_text())


@pytest.mark.parametrize(("highest", "end", "best"), [(False, 4, 2), (True, 3, 1)])
def test_patience_ends_a_run_and_counts_by_the_direction(tmp_path, shards, capsys, highest, end, best):
    toy_trainer_of(tmp_path, shards, PATIENT, Scripted(VALUES, highest)).train()
    latest, kept = state(tmp_path)
    assert latest == f"step-{end}"
    assert kept["position"]["best_step"] == best
    assert (tmp_path / "best").read_text() == f"step-{best}\n"
    than = f"without a better value than that of step {best}"
    said = f"ended at step {end} of 8 after 2 validations {than} (trainer.patience)\n"
    assert said in capsys.readouterr().out
    # Started again, it is finished; with more patience it goes on.
    before = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    toy_trainer_of(tmp_path, shards, PATIENT, Scripted([], highest)).train()
    assert said in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == before
    more = settings_of(steps=8, validate_every=1, checkpoint_every=100, patience=9)
    toy_trainer_of(tmp_path, shards, more, Scripted(VALUES[end:], highest)).train()
    assert state(tmp_path)[0] == "step-8"
    assert "ended at" not in capsys.readouterr().out


def test_what_patience_ends_between_two_rows_has_a_row_of_its_last_steps(tmp_path, shards):
    toy_trainer_of(tmp_path, shards, replace(PATIENT, log_every=50), Scripted(VALUES)).train()
    assert [row["step"] for row in rows(tmp_path) if row["kind"] == "train"] == [1, 4]


def test_patience_with_nothing_that_counts_names_no_step(tmp_path, shards, capsys):
    toy_trainer_of(tmp_path, shards, PATIENT, Scripted([math.nan] * 8)).train()
    assert "ended at step 2 of 8 after 2 validations whose value was not finite, or" in capsys.readouterr().out


class Moments(dict):
    """A dictionary that can be referred to weakly."""


def test_the_moments_of_a_checkpoint_are_not_held_beside_the_optimizers(tmp_path, shards, monkeypatch):
    toy_trainer_of(tmp_path, shards, settings_of(steps=4)).train()
    loaded, load_both = [], checkpoint.load

    def load(path, model):
        position, moments = load_both(path, model)
        kept = Moments(moments)
        loaded.append(weakref.ref(kept))
        return position, kept

    monkeypatch.setattr(checkpoint, "load", load)
    with closing(toy_trainer_of(tmp_path, shards, settings_of(steps=6)).steps()) as steps:
        next(steps)
        gc.collect()
        assert [kept() for kept in loaded] == [None]


def test_a_run_that_continues_in_the_middle_of_its_patience_ends_where_it_would_have(tmp_path, shards):
    toy_trainer_of(tmp_path / "whole", shards, PATIENT, Scripted(VALUES)).train()
    trainer = toy_trainer_of(tmp_path / "parts", shards, PATIENT, Scripted(VALUES))
    with pytest.raises(Interrupted):
        stop_at(trainer, 3)
    assert state(tmp_path / "parts")[1]["position"]["without_improvement"] == 1
    toy_trainer_of(tmp_path / "parts", shards, PATIENT, Scripted(VALUES[3:])).train()
    assert state(tmp_path / "parts") == state(tmp_path / "whole")
    assert state(tmp_path / "whole")[0] == "step-4"


def test_patience_needs_clips_for_validation(tmp_path, make_shards):
    shards = make_shards([("a", 2.0, "train")] * 4)
    shape = Architecture(hidden_size=16, layers=1, state_size=2)
    tiny = PretrainConfig(data=[shards.folder], out=tmp_path, family="ssam", ssam=SsamSettings(architecture=shape))
    build(tiny)
    with pytest.raises(UserError, match=r"trainer.patience is 2, but there are no validation clips .* leave it out"):
        build(replace(tiny, trainer=TrainerSettings(patience=2)))
    with pytest.raises(UserError, match="trainer.patience must be at least 1, but is 0"):
        TrainerSettings(patience=0)


@pytest.mark.parametrize(
    ("value", "before", "lowest", "highest"),
    [(1.0, None, True, True), (1.0, 2.0, True, False), (2.0, 1.0, False, True), (1.0, 1.0, False, False)],
)
def test_what_is_better(value, before, lowest, highest):
    assert Best().improves(value, before) is lowest
    assert Best("uar", highest=True).improves(value, before) is highest
    assert not Best().improves(float("nan"), before)
    assert not Best("uar", highest=True).improves(float("inf"), before)


def test_a_checkpoint_that_knows_only_of_the_loss_is_read(tmp_path):
    model = torch.nn.Linear(2, 2)
    path = checkpoint.save(tmp_path / "checkpoints", model.state_dict(), {}, Position(step=4))
    kept = json.loads((path / "state.json").read_text())
    old = {"step": 4, "epoch": 1, "batch": 7, "updates": 4, "skipped_in_a_row": 0, "best_step": 2, "best_loss": 0.25}
    (path / "state.json").write_text(json.dumps({**kept, "position": old}))
    expected = Position(step=4, epoch=1, batch=7, updates=4, best_step=2, best_value=0.25)
    assert checkpoint.load(path, model)[0] == expected


def test_steps_that_are_closed_early_leave_nothing_behind(tmp_path, shards):
    handler, threads = signal.getsignal(signal.SIGTERM), threading.active_count()
    trainer = toy_trainer_of(tmp_path, shards, data=toy_data(shards, workers=1))
    with closing(trainer.steps(Signals())) as steps:
        taken = [next(steps) for _ in range(2)]
        assert multiprocessing.active_children()
        assert signal.getsignal(signal.SIGTERM) is not handler
    assert [step.number for step in taken] == [1, 2]
    assert all(0 < step.waited < step.seconds for step in taken)
    assert all(8000 <= step.largest <= 6 * 16_000 for step in taken)
    assert multiprocessing.active_children() == []
    assert signal.getsignal(signal.SIGTERM) is handler
    assert threading.active_count() <= threads + 1
    assert not (tmp_path / "latest").exists()


def test_a_run_says_what_is_drawn_of_it(tmp_path):
    trainer_of(tmp_path, steps=2).train()
    assert [panel.metric for panel in read_panels(tmp_path)] == ["loss", "uar", "lr"]
    (tmp_path / "curves.json").write_text('[{"metric": "loss"}]')
    with pytest.raises(UserError, match=r"curves.json cannot be read .*delete it to draw every metric"):
        read_panels(tmp_path)


def test_what_was_not_measured_is_not_shown():
    shown = ("loss {loss:.3f}", "accuracy {accuracy:.3f} (chance {chance:.3f})", "perplexity {perplexity:.1f}")
    row = {"loss": 4.5127, "accuracy": 0.091, "chance": 0.044, "perplexity": 112.31}
    assert describe(row, shown) == "loss 4.513  accuracy 0.091 (chance 0.044)  perplexity 112.3"
    assert describe({"loss": 1.0, "accuracy": 0.5}, shown) == "loss 1.000"
    assert describe({}, shown) == ""
