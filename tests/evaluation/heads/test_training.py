import numpy as np
import pytest
import torch
from torch import nn
from toys import job_of, toy

from nonverbal.errors import UserError
from nonverbal.evaluation.heads import HEADS, training
from nonverbal.evaluation.heads.cnn import Cnn
from nonverbal.evaluation.heads.fcn import Fcn
from nonverbal.evaluation.heads.linear import Linear
from nonverbal.evaluation.heads.mlp import Mlp
from nonverbal.evaluation.heads.neural import NeuralHead
from nonverbal.evaluation.heads.settings import NeuralSettings
from nonverbal.evaluation.heads.training import DROPOUT, Network, Unit, at_a_time, build, together, train
from nonverbal.seeding import Stream, torch_seed

CPU = torch.device("cpu")
NEURAL = [Mlp(epochs=4), Linear(epochs=4, patience=4), Fcn(epochs=4), Cnn(epochs=2, length=4)]


def units(head: NeuralHead, sizes: list[int], epochs: int, seed: int = 0) -> list[Unit]:
    """A unit for each size, trained on the first clips of a toy of its own and deciding on the others."""
    made = []
    for number, size in enumerate(sizes):
        features, labels = toy(90, size=1.5, seed=number)
        job = job_of(features, labels)
        read, rows = head.read(features, False), np.arange(90)
        network = build(lambda read=read, rows=rows[:size]: head.network(read, rows, 3), seed)  # type: ignore[misc]
        made.append(Unit(network, read, job.labels, rows[:size], rows[size:], epochs, seed, head.epochs))
    return made


def weights(network: nn.Module) -> torch.Tensor:
    return torch.cat([value.detach().flatten() for value in network.parameters()])


def trained_plainly(head: NeuralHead, unit: Unit, steps: int) -> Network:
    """The same with a plain module and PyTorch's own optimizer and loss, from what ``Unit.batch`` draws."""
    network, labels = unit.network, torch.from_numpy(unit.labels)
    optimizer = torch.optim.Adam(
        network.parameters(), head.rate, betas=head.betas, eps=head.eps, weight_decay=head.weight_decay
    )
    balance = None
    if head.weigh_classes:
        balance = 1 / torch.bincount(labels[unit.train]).float()
    for step in range(steps):
        rows = unit.batch(step, head.batch)
        kept = None
        if head.dropout:
            kept = []
            for layer, width in enumerate(network.dropped):
                source = torch.Generator().manual_seed(torch_seed(unit.seed, Stream.HEAD, DROPOUT, step, layer))
                drawn = torch.rand(head.batch, width, generator=source)[: len(rows)]
                kept.append((drawn >= head.dropout) / (1 - head.dropout))
        optimizer.param_groups[0]["lr"] = head.rate_of(step, head.epochs * unit.steps(head.batch))
        optimizer.zero_grad()
        nn.functional.cross_entropy(network((unit.features[rows],), kept), labels[rows], balance).backward()
        optimizer.step()
    return network


@pytest.mark.parametrize("head", NEURAL, ids=lambda head: type(head).__name__)
def test_one_network_is_trained_as_a_plain_module_is(head: NeuralHead) -> None:
    """10 steps: three epochs of three steps, the third of which has fewer clips, and one more."""
    size = 2 * head.batch + 5
    (plain,), (ours,) = units(head, [size], 4), units(head, [size], 4)
    stack = training._Stack([ours], head.gather, head, CPU)
    for step in range(10):
        stack.learn(step)
    stack.release({0})
    expected = weights(trained_plainly(head, plain, 10))
    torch.testing.assert_close(weights(ours.network), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("head", NEURAL, ids=lambda head: type(head).__name__)
def test_networks_trained_together_are_trained_as_if_alone(head: NeuralHead) -> None:
    """Of different numbers of clips and steps an epoch; and decisions at the end, of many epochs."""
    sizes = [40, 71, 60]
    company, alone = units(head, sizes, head.epochs), units(head, sizes, head.epochs)
    for _ in train(company, head.gather, head, CPU):
        pass
    for unit in alone:
        for _ in train([unit], head.gather, head, CPU):
            pass
    for one, other in zip(company, alone, strict=True):
        assert len(one.decided) == len(other.decided) == head.epochs
        torch.testing.assert_close(weights(one.network), weights(other.network), atol=1e-4, rtol=0)
        assert np.mean(np.concatenate(one.decided) == np.concatenate(other.decided)) >= 0.99


def test_decisions_at_the_end_are_those_of_a_plain_module() -> None:
    head = Fcn(dropout=0.3, epochs=15)
    (plain,), (ours, *_) = units(head, [60], 15), units(head, [60, 50], 15)
    network = trained_plainly(head, plain, 15 * plain.steps(head.batch))
    for _ in train([ours], head.gather, head, CPU):
        pass
    with torch.no_grad():
        expected = network((plain.features[plain.test],), None).argmax(dim=1).numpy()
    assert np.mean(ours.decided[-1] == expected) >= 0.99


def short_alone(head: NeuralHead) -> nn.Module:
    unit = units(head, [70, 64], 2)[1]
    for _ in train([unit], head.gather, head, CPU):
        pass
    return unit.network


def test_a_unit_ends_with_its_epochs_or_when_it_is_stopped() -> None:
    head = Fcn()
    long, short, stopped = made = units(head, [70, 64, 40], 5)
    short.epochs = 2
    for unit in train(made, head.gather, head, CPU):
        stopped.stopped = len(stopped.decided) == 3
        assert unit.decided
    assert [len(unit.decided) for unit in (long, short, stopped)] == [5, 2, 3]
    torch.testing.assert_close(weights(short.network), weights(short_alone(head)), atol=1e-4, rtol=0)


def test_each_epoch_takes_each_clip_once_in_an_order_of_its_own() -> None:
    (unit,) = units(Fcn(), [70], 1)
    epochs = [np.concatenate([unit.batch(step, 32) for step in steps]) for steps in (range(3), range(3, 6))]
    assert [len(unit.batch(step, 32)) for step in range(6)] == [32, 32, 6] * 2
    assert all(sorted(rows) == list(range(70)) for rows in epochs)
    assert not np.array_equal(*epochs)


def test_a_batch_weighs_classes_alike_where_it_should() -> None:
    """By hand: 3 clips of class 0 and 1 of class 1, so that a clip of class 1 counts as three of class 0."""
    features, _ = toy(4)
    rows = np.arange(4)
    labels = np.array([0, 0, 0, 1])
    for head, expected in ((Mlp(), [1 / 6, 1 / 6, 1 / 6, 1 / 2]), (Fcn(), [1 / 4] * 4)):
        unit = Unit(head.network(head.read(features, False), rows, 2), features, labels, rows, rows[:0], 1, 0, 1)
        stack = training._Stack([unit], head.gather, head, CPU)
        np.testing.assert_allclose(stack._weights(unit, rows, 6), [*expected, 0, 0], rtol=1e-6)


def test_dropout_drops_its_share_and_keeps_the_mean() -> None:
    class Wide(Network):
        dropped = (1000, 20)

        def forward(self, inputs, kept):  # type: ignore[no-untyped-def]
            return inputs[0]

    head = Fcn(dropout=0.25, batch=50)
    unit = Unit(Wide(), None, np.zeros(1), np.zeros(1, int), np.zeros(0, int), 1, 0, 1)
    unit.network.register_parameter("w", nn.Parameter(torch.zeros(1)))
    stack = training._Stack([unit], head.gather, head, CPU)
    factors = stack._factors(0, 3, None)
    assert [tuple(value.shape) for value in factors] == [(50, 1000), (50, 20)]
    assert factors[0].unique().tolist() == [0, pytest.approx(4 / 3)]
    assert float((factors[0] == 0).float().mean()) == pytest.approx(0.25, abs=0.01)
    assert not torch.equal(factors[0], stack._factors(0, 4, None)[0])
    assert torch.equal(factors[0], stack._factors(0, 3, None)[0])
    few, many = (stack._factors(0, 3, frames)[1] for frames in (2, 5))
    assert tuple(few.shape) == (50, 2, 20)
    assert torch.equal(few, many[:, :2])


def test_the_learning_rate_warms_up_and_decays() -> None:
    settings = NeuralSettings(rate=1.0, warmup_steps=4, decay=True)
    assert [settings.rate_of(step, 12) for step in (0, 3, 4, 8, 11)] == [0.25, 1.0, 1.0, 0.5, 0.125]
    assert [NeuralSettings(rate=0.5).rate_of(step, 12) for step in (0, 11)] == [0.5, 0.5]


def test_as_many_are_trained_together_as_are_faster_so() -> None:
    gpu = torch.device("cuda")
    assert together(6_296, CPU) == 166
    assert together(131_072, CPU) == 8
    assert together(131_073, CPU) == together(10**8, CPU) == 1
    assert together(198_406, gpu) > 1000
    assert [at_a_time(units, 6_296, CPU) for units in (1, 7, 8, 500)] == [1, 1, 8, 166]
    assert at_a_time(15, 198_406, CPU) == 1
    assert at_a_time(3, 198_406, gpu) == 3


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"batch": 0}, "batch of a head must be at least 1, but is 0"),
        ({"dropout": 1.0}, "below 1, but are 1.0"),
        ({"rate": 0.0}, "rate and eps above 0"),
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, float], match: str) -> None:
    with pytest.raises(UserError, match=match):
        Fcn(**changes)  # type: ignore[arg-type]


def test_every_neural_head_is_tested_here() -> None:
    assert {type(head) for head in NEURAL} == {type(head) for head in HEADS.values() if isinstance(head, NeuralHead)}
