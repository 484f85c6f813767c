import dataclasses
import itertools

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from toys import speakers

from nonverbal.errors import UserError
from nonverbal.evaluation.cross_validation import cross_validate
from nonverbal.evaluation.heads import training
from nonverbal.evaluation.heads.attention import SelfAttention
from nonverbal.evaluation.heads.fusion import METHODS, Attention, Concatenation, Fusion, FusionNetwork
from nonverbal.evaluation.heads.neural import count
from nonverbal.evaluation.heads.training import Unit, build, train
from nonverbal.evaluation.renyi import largest
from nonverbal.tasks.folds import group_folds
from nonverbal.tasks.protocols import NAMED

CPU = torch.device("cpu")
WIDTHS = (14, 9)
each_method = pytest.mark.parametrize("method", METHODS)


class Plain(nn.Module):
    """RENO of PyTorch's own modules, in the words of the paper. What our network draws at first is copied."""

    def __init__(self, network: FusionNetwork) -> None:
        super().__init__()
        head, length = network.head, network.head.length
        self.head, self.standardised = head, network.standardised
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(1, 32, 3, padding=1),
                nn.ReLU(),
                nn.MaxPool1d(2),
                nn.Conv1d(32, 64, 3, padding=1),
                nn.ReLU(),
                nn.AdaptiveMaxPool1d(length),
            )
            for _ in head.widths
        )
        one = head.tokens == "one"
        width = 64 * length if one else 64
        joint = width * len(head.widths) if one else width
        self.own = nn.ModuleList(nn.MultiheadAttention(width, 2, batch_first=True) for _ in head.widths)
        self.joint = nn.MultiheadAttention(joint, 2, batch_first=True)
        if not head.attends:
            self.own, self.joint = nn.ModuleList(), nn.Identity()  # type: ignore[assignment]
        self.dense = nn.Sequential(
            nn.Linear(64 * length * len(head.widths), 512), nn.ReLU(), nn.Linear(512, 128), nn.ReLU(), nn.Linear(128, 3)
        )
        ours = list(network.parameters())
        assert [value.shape for value in self.parameters()] == [value.shape for value in ours]
        for own, value in zip(self.parameters(), ours, strict=True):
            own.data.copy_(value.data)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        parts = self.standardised(features).split(self.head.widths, dim=1)
        values = [block(part[:, None]).permute(0, 2, 1) for block, part in zip(self.blocks, parts, strict=True)]
        clips = len(features)
        if self.head.attends:
            shape = (clips, 1, -1) if self.head.tokens == "one" else (clips, -1, 64)
            values = [part.reshape(shape) for part in values]
            values = [self.attended(own, part) for own, part in zip(self.own, values, strict=True)]
            axis = 2 if self.head.tokens == "one" else 1
            together = self.attended(self.joint, torch.cat(values, dim=axis))
        else:
            together = torch.cat(values, dim=1)
        return self.dense(together.reshape(clips, -1)), self.divergence(values)

    def attended(self, attention: nn.Module, values: Tensor) -> Tensor:
        found: Tensor = attention(values, values, values)[0]
        return found + values if self.head.residual else found

    def divergence(self, values: list[Tensor]) -> Tensor:
        values = [part.reshape(len(part), -1, 64) for part in values]
        over = [part.mean(1) if self.head.over == "filters" else part.flatten(1) for part in values]
        found = []
        for x, y in itertools.combinations([part.softmax(dim=1) for part in over], 2):
            if self.head.direction == "backward":
                x, y = y, x
            found.append(torch.log(((x + 0.2) ** 2 * (y + 0.2) ** (1 - 2)).sum(dim=1)) / (2 - 1))
        return torch.stack(found).mean(dim=0)


def sounds(clips: int = 90, widths: tuple[int, ...] = WIDTHS, size: float = 3.0) -> tuple[np.ndarray, list[str]]:
    """Values of two or more encoders, each of which shows the class."""
    random = np.random.default_rng(0)
    labels = np.arange(clips) % 3
    parts = [random.standard_normal((clips, width)) + 5 for width in widths]
    for part in parts:
        part[:, :3] += size * np.eye(3)[labels]
    return np.concatenate(parts, axis=1).astype(np.float32)[:, None], [f"class {label}" for label in labels]


def unit(head: Fusion, rows: np.ndarray, epochs: int = 4, seed: int = 0) -> Unit:
    features, labels = sounds(widths=head.widths)
    read = head.read(features, one_frame=True)
    answers = np.array([int(label[-1]) for label in labels])
    network = build(lambda: head.network(read, rows, 3), seed)
    return Unit(network, read, answers, rows, np.setdiff1d(np.arange(90), rows), epochs, seed, head.epochs)


def weights(network: nn.Module) -> Tensor:
    return torch.cat([value.detach().flatten() for value in network.parameters()])


@pytest.mark.parametrize(
    "head",
    [
        Fusion(widths=WIDTHS, length=3, dropout=0),
        Fusion(widths=(8, 9, 11), length=2, dropout=0, over="values", direction="backward", divergence="as_printed"),
        Fusion(widths=WIDTHS, length=2, dropout=0, tokens="one", balance=0.1),
        Attention(widths=WIDTHS, length=3, dropout=0, residual=False),
        Concatenation(widths=WIDTHS, length=3, dropout=0),
    ],
    ids=["reno", "three encoders", "one token", "attention", "concat"],
)
def test_the_network_is_trained_as_one_of_pytorchs_own_modules(head: Fusion) -> None:
    """10 steps: three epochs of three, the last of which has fewer clips, and one more."""
    ours = unit(head, np.arange(70))
    plain = Plain(ours.network)  # type: ignore[arg-type]
    stack = training._Stack([ours], head.gather, head, CPU)
    optimizer = torch.optim.Adam(plain.parameters(), head.rate)
    labels = torch.from_numpy(ours.labels)
    for step in range(10):
        stack.learn(step)
        rows = ours.batch(step, head.batch)
        logits, divergence = plain(ours.features[rows])
        loss = nn.functional.cross_entropy(logits, labels[rows])
        if head.diverges:
            loss = head.balance * loss + (1 - head.balance) * divergence.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    stack.release({0})
    torch.testing.assert_close(weights(ours.network), weights(plain), atol=1e-5, rtol=0)


def test_attention_is_pytorchs() -> None:
    torch.manual_seed(0)
    ours, theirs = SelfAttention(12, 2), nn.MultiheadAttention(12, 2, batch_first=True)
    nn.init.normal_(ours.projected.bias)
    theirs.in_proj_weight.data, theirs.in_proj_bias.data = ours.projected.weight.data, ours.projected.bias.data
    theirs.out_proj.load_state_dict(ours.output.state_dict())
    tokens = torch.randn(3, 5, 12)
    torch.testing.assert_close(ours(tokens), theirs(tokens, tokens, tokens)[0])


@each_method
def test_networks_trained_together_are_trained_as_if_alone(method: str) -> None:
    head = METHODS[method](widths=WIDTHS, length=2, epochs=3)
    sides = [np.arange(size) for size in (40, 71)]
    company, alone = ([unit(head, rows, 3) for rows in sides] for _ in range(2))
    for _ in train(company, head.gather, head, CPU):
        pass
    for one in alone:
        for _ in train([one], head.gather, head, CPU):
            pass
    for one, other in zip(company, alone, strict=True):
        torch.testing.assert_close(weights(one.network), weights(other.network), atol=1e-4, rtol=0)


@each_method
def test_a_class_that_both_encoders_show_is_found_and_the_test_side_decides_nothing(method: str) -> None:
    features, labels = sounds(size=5.0)
    head = METHODS[method](widths=WIDTHS, length=7, epochs=4)
    (fold, *_) = group_folds(labels, speakers(90), 3, 0)
    poisoned = np.array(labels)
    poisoned[fold.test] = np.random.default_rng(0).permutation(poisoned[fold.test])
    before, after = (
        next(iter(cross_validate(head, features, list(given), speakers(90), [fold], 0, one_frame=True)))
        for given in (labels, poisoned)
    )
    assert before.metrics["uar"] > 0.6  # chance is 1/3
    assert before.chosen == after.chosen
    np.testing.assert_array_equal(before.values, after.values)


@each_method
def test_under_renos_protocol_training_stops_on_the_test_fold_and_nothing_is_trained_again(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    features, labels = sounds(size=1.0)
    head = METHODS[method](widths=WIDTHS, length=2, epochs=5, patience=2)
    (fold, *_) = group_folds(labels, speakers(90), 3, 0)
    trained: list[Unit] = []

    def spy(self, units):  # type: ignore[no-untyped-def]
        trained.extend(units)
        for one in units:
            yield from train([one], self.gather, self, CPU)

    monkeypatch.setattr("nonverbal.evaluation.heads.neural.NeuralHead._train", spy)
    protocol = NAMED["reno"].protocol
    (result,) = cross_validate(head, features, labels, speakers(90), [fold], 0, protocol, one_frame=True)
    (one,) = trained
    uars = [np.mean([np.mean(d[one.labels[one.test] == c] == c) for c in range(3)]) for d in one.decided]
    assert result.chosen == {"epochs": int(np.argmax(uars)) + 1}
    assert result.metrics["uar"] == pytest.approx(max(uars))
    # The weights kept are those of as many epochs.
    again = dataclasses.replace(one, network=build(lambda: head.network(one.features, one.train, 3), 0), decided=[])
    again.epochs, again.stopped = int(result.chosen["epochs"]), False
    for _ in train([again], head.gather, head, CPU):
        pass
    kept = torch.cat([one.weights[name].flatten() for name, _ in again.network.named_parameters()])
    assert torch.equal(kept, weights(again.network))


def test_weights_that_are_wanted_are_those_of_the_epoch_among_others_and_alone() -> None:
    """Of the first while both are trained, of the second once it alone is."""
    head = Fusion(widths=WIDTHS, length=2)
    ended, wanted = (1, 3), (1, 2)
    company = [unit(head, np.arange(70), epochs) for epochs in ended]
    for one in train(company, head.gather, head, CPU):
        one.wanted = len(one.decided) == wanted[company.index(one)]
    for one, epochs in zip(company, wanted, strict=True):
        expected = unit(head, np.arange(70), epochs)
        for _ in train([expected], head.gather, head, CPU):
            pass
        assert not one.wanted
        kept = torch.cat([one.weights[name].flatten() for name, _ in one.network.named_parameters()])
        torch.testing.assert_close(kept, weights(expected.network), atol=1e-4, rtol=0)


def test_as_printed_trains_the_same_network() -> None:
    networks = []
    for form in ("normalised", "as_printed"):
        one = unit(Fusion(widths=WIDTHS, length=2, divergence=form), np.arange(70))  # type: ignore[arg-type]
        for _ in train([one], Fusion().gather, one.network.head, CPU):  # type: ignore[arg-type]
            pass
        networks.append(weights(one.network))
    torch.testing.assert_close(*networks, atol=1e-4, rtol=0)


def test_the_divergence_draws_encoders_together() -> None:
    found = []
    for balance in (1.0, 0.05):
        head = Fusion(widths=WIDTHS, length=2, balance=balance, epochs=8)
        one = unit(head, np.arange(70), 8)
        for _ in train([one], head.gather, head, CPU):
            pass
        network = one.network
        assert isinstance(network, FusionNetwork)
        with torch.no_grad():
            found.append(float(network._divergence(network._encoded(one.features)).mean()))
    assert found[1] < found[0] / 2
    assert 0 <= found[1] < found[0] < largest(64)


@pytest.mark.parametrize(
    ("method", "widths", "parameters"),
    [
        ("reno", (768, 768), 1_440_262),
        ("reno", (960, 3840), 1_440_262),
        ("attention", (768, 1920), 1_440_262),
        ("concat", (768, 1920), 1_390_342),
        ("reno", (768, 768, 3840), 2_118_598),
    ],
)
def test_parameters(method: str, widths: tuple[int, ...], parameters: int) -> None:
    """RENO states 1.3 to 1.5 M, of a pair."""
    assert count(METHODS[method](widths=widths).network(torch.zeros(2, sum(widths)), np.arange(2), 6)) == parameters


def test_settings_without_a_meaning_are_not_told_apart() -> None:
    changed = {"divergence": "as_printed", "tokens": "one", "length": 4}
    assert Concatenation(**changed).meant() == Concatenation(length=4)  # type: ignore[arg-type]
    assert Attention(**changed).meant() == Attention(tokens="one", length=4)  # type: ignore[arg-type]
    assert Fusion(**changed).meant() == Fusion(**changed)  # type: ignore[arg-type]


@pytest.mark.parametrize("changes", [{"order": 0.0}, {"delta": -1.0}, {"balance": 0.0}, {"length": 0}, {"batch": 0}])
def test_impossible_settings_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(UserError, match=next(iter(changes))):
        Fusion(**changes)  # type: ignore[arg-type]
