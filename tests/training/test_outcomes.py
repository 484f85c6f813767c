"""Steps that are not finite change nothing, and are counted exactly although a GPU's norms are read late."""

import pytest
import torch
from test_trainer import CLIPS, rows_of, settings_of, stop_at, trainer_of
from toy import ToyObjective

from nonverbal.batch import Loss
from nonverbal.errors import UserError
from nonverbal.signals import Interrupted
from nonverbal.training import checkpoint
from nonverbal.training.metrics import Means
from nonverbal.training.optimizer import OptimizerSettings
from nonverbal.training.outcomes import MAX_SKIPPED, Outcomes
from nonverbal.training.position import Position
from nonverbal.training.progress import Reporter
from nonverbal.training.spread import spread
from nonverbal.training.trainer import LATE, Trainer


class Norms:
    """A log that keeps norms alone."""

    def __init__(self):
        self.norms = []

    def add(self, losses, lr, grad_norm):
        self.norms.append(grad_norm)


@pytest.fixture
def shards(make_shards):
    return make_shards(CLIPS)


class Late(Trainer):
    """Reads outcomes as on a GPU."""

    late = LATE


def strategy_of(trainer):
    return spread(trainer.objective, trainer.optimizer, trainer.settings, trainer.processes.device, {}, 0)


def outcomes_of(norms):
    outcomes = Outcomes(Position(), Norms(), Reporter(99), OptimizerSettings(lr=0.5, warmup_steps=7))
    for step, norm in enumerate(norms):
        outcomes.add(step, [Loss(torch.tensor(1.0), {})], 0.1, torch.tensor(norm))
    return outcomes


def test_all_but_the_last_are_read_and_then_the_last(capsys):
    outcomes = outcomes_of([1.0, float("nan"), float("inf"), 2.0])
    outcomes.read(late=2)
    assert (outcomes.position.updates, outcomes.position.skipped_in_a_row) == (1, 1)
    assert capsys.readouterr().out == "step 2 skipped: a gradient (but no loss) is not finite\n"
    outcomes.read(late=1)
    assert (outcomes.position.updates, outcomes.position.skipped_in_a_row) == (1, 2)
    outcomes.read(late=0)
    assert (outcomes.position.updates, outcomes.position.skipped_in_a_row) == (2, 0)
    assert outcomes.log.norms == [1.0, 2.0]


def test_the_tenth_in_a_row_stops_and_is_named():
    outcomes = outcomes_of([1.0] + [float("inf")] * (MAX_SKIPPED - 1) + [float("nan"), 1.0])
    outcomes.read(late=2)
    with pytest.raises(UserError, match=r"stopped at step 11: 10 steps in a row.*peak 0\.5.*warm-up .*7 steps"):
        outcomes.read(late=1)


@pytest.mark.parametrize("log_every", [1, 5])
def test_a_run_that_reads_late_leaves_the_same_behind(tmp_path, shards, log_every):
    for name, kind in (("now", Trainer), ("late", Late)):
        objective = ToyObjective(spoil={3, 4, 9})
        trainer_of(tmp_path / name, shards, settings_of(log_every=log_every), objective, kind=kind).train()
    assert rows_of(tmp_path / "now") == rows_of(tmp_path / "late")
    for step in (10, 12):
        now, late = ((tmp_path / name / f"checkpoints/step-{step}/state.json").read_bytes() for name in ("now", "late"))
        assert now == late
    assert checkpoint.load(tmp_path / "late/checkpoints/step-12", ToyObjective())[0].updates == 9


def test_a_checkpoint_of_a_signal_counts_every_step(tmp_path, shards):
    trainer = trainer_of(tmp_path, shards, settings_of(log_every=100), ToyObjective(spoil={6}), kind=Late)
    with pytest.raises(Interrupted):
        stop_at(trainer, 7)
    position, _ = checkpoint.load(tmp_path / "checkpoints/step-7", ToyObjective())
    assert (position.step, position.updates, position.skipped_in_a_row) == (7, 6, 1)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_changes_neither_weights_nor_moments(tmp_path, shards, bad):
    strategy = strategy_of(trainer_of(tmp_path, shards, settings_of(optimizer={"clip_norm": 1.0})))
    states = []
    for spoilt in (False, True):
        for parameter in strategy.parameters.values():
            parameter.grad = torch.full_like(parameter, 0.1)
        if spoilt:
            parameter.grad.flatten()[3] = bad
        norm = strategy.update(1e-2, 5)
        assert bool(norm.isfinite()) != spoilt
        steps = {float(state["step"]) for state in strategy.optimizer.state.values()}
        states.append(({**strategy.weights(), **strategy.moments()}, steps))
        states[-1] = ({name: tensor.clone() for name, tensor in states[-1][0].items()}, steps)
    (before, one), (after, same) = states
    assert one == same == {1.0}
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert all(parameter.grad is None for parameter in strategy.parameters.values())


def test_an_objective_that_leaves_a_weight_without_a_gradient_is_named(tmp_path, shards):
    strategy = strategy_of(trainer_of(tmp_path, shards))
    for parameter in strategy.parameters.values():
        parameter.grad = torch.zeros_like(parameter)
    strategy.parameters["layers.1.bias"].grad = None
    with pytest.raises(AssertionError, match=r"the objective has given no gradient to layers\.1\.bias"):
        strategy.update(1e-2, 5)


def test_only_a_process_that_wants_them_copies_weights_and_moments(tmp_path, shards, monkeypatch):
    trainer = trainer_of(tmp_path, shards)
    trainer.train()
    assert trainer.strategy.weights()
    assert trainer.strategy.moments()
    monkeypatch.setattr("nonverbal.training.data_parallel.on_cpu", lambda _: pytest.fail("copied"))
    assert trainer.strategy.weights(wanted=False) == trainer.strategy.moments(wanted=False) == {}


def test_means_are_sums_in_float64_by_name():
    """1e8 + 1 is lost in float32; names may differ from one loss to the next."""
    means = Means(lambda means: means)
    values = {"loss": (torch.tensor(1e8), torch.tensor(2.0)), "accuracy": (torch.tensor(3.0), torch.tensor(4.0))}
    means.add(Loss(torch.tensor(0.0), values))
    means.add(Loss(torch.tensor(0.0), {"loss": (torch.tensor(1.0), torch.tensor(2.0))}))
    means.add(Loss(torch.tensor(0.0), values), "corpora.a.")
    expected = {"loss": (1e8 + 1) / 4, "accuracy": 0.75, "corpora.a.loss": 5e7, "corpora.a.accuracy": 0.75}
    assert means.read() == dict(sorted(expected.items()))
