"""What all neural heads have in common, and what each computes."""

import dataclasses

import numpy as np
import pytest
import torch
from toys import job_of, speakers, toy

from nonverbal.evaluation.cross_validation import cross_validate
from nonverbal.evaluation.heads import HEADS, neural
from nonverbal.evaluation.heads.base import Job, Pooled
from nonverbal.evaluation.heads.cnn import Cnn
from nonverbal.evaluation.heads.fcn import Fcn
from nonverbal.evaluation.heads.linear import Linear
from nonverbal.evaluation.heads.mlp import Mlp
from nonverbal.evaluation.heads.neural import FittedNetwork, NeuralHead, count
from nonverbal.tasks.folds import Fold, group_folds
from nonverbal.tasks.metrics import uar

QUICK = [Mlp(rate=1e-3, warmup_steps=0), Linear(rate=2e-3, epochs=15), Fcn(), Cnn(length=4)]
each_head = pytest.mark.parametrize("head", QUICK, ids=lambda head: type(head).__name__)


def fit(head: NeuralHead[Pooled], job: Job[Pooled]) -> FittedNetwork[Pooled]:
    (fitted,) = head.fit([job])
    return fitted


@each_head
def test_a_class_that_shows_is_found_and_the_answer_is_probabilities(head: NeuralHead[Pooled]) -> None:
    features, labels = toy()
    fitted = fit(head, job_of(features, labels))
    others, truth = toy(60, seed=1)
    values = fitted.predict(others)
    assert values.shape == (60, 3)
    np.testing.assert_allclose(values.sum(axis=1), 1, atol=1e-12)
    assert uar(np.array(truth), np.array([f"class {number}" for number in values.argmax(axis=1)])) > 0.8
    assert 1 <= fitted.chosen["epochs"] <= head.epochs
    assert fitted.inner_uar == []


@each_head
def test_only_the_means_of_the_last_layer_are_read(head: NeuralHead[Pooled]) -> None:
    features, labels = toy()
    head = dataclasses.replace(head, epochs=2)  # type: ignore[type-var]
    fitted = fit(head, job_of(features, labels))
    expected = fitted.predict(features)
    features[:, 0], features[:, :, 12:] = -1, -1
    np.testing.assert_array_equal(fitted.predict(features), expected)
    np.testing.assert_array_equal(fit(head, job_of(features, labels)).predict(features), expected)


@each_head
def test_labels_without_meaning_score_chance(head: NeuralHead[Pooled]) -> None:
    features, labels = toy(240)
    shuffled = np.random.default_rng(1).permutation(labels).tolist()
    folds = group_folds(shuffled, speakers(240), 3, 0)
    head = dataclasses.replace(head, epochs=5)  # type: ignore[type-var]
    results = list(cross_validate(head, features, shuffled, speakers(240), folds, 0))
    # 240 decisions at chance 1/3 have a standard deviation of 0.03.
    assert abs(np.mean([result.metrics["uar"] for result in results]) - 1 / 3) < 0.12


@each_head
def test_the_same_seed_gives_the_same_bits_and_another_seed_others(head: NeuralHead[Pooled]) -> None:
    features, labels = toy()
    head = dataclasses.replace(head, epochs=2)  # type: ignore[type-var]
    first, second, other = (fit(head, job_of(features, labels, seed)).predict(features) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, second)
    assert not np.allclose(first, other)


def test_what_else_is_drawn_changes_nothing() -> None:
    features, labels = toy()
    head = Fcn(epochs=2)
    torch.manual_seed(1)
    first = fit(head, job_of(features, labels)).predict(features)
    before = torch.random.get_rng_state()
    torch.manual_seed(2)
    np.testing.assert_array_equal(fit(head, job_of(features, labels)).predict(features), first)
    torch.manual_seed(1)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("name", [name for name in HEADS if name != "cnn"])
def test_the_test_side_decides_nothing(name: str) -> None:
    """The test side's labels and features are poisoned: what is chosen, and the decisions on it, stay as they are."""
    features, labels = toy(90, size=1.0)
    head = dataclasses.replace(HEADS[name], epochs=6) if isinstance(HEADS[name], NeuralHead) else HEADS[name]  # type: ignore
    (fold, *_) = group_folds(labels, speakers(90), 3, 0)
    poisoned = np.array(labels)
    poisoned[fold.test] = np.random.default_rng(0).permutation(poisoned[fold.test])
    before, after = (
        next(iter(cross_validate(head, features, list(given), speakers(90), [fold], 0))) for given in (labels, poisoned)
    )
    assert before.metrics != after.metrics
    assert before.chosen == after.chosen
    np.testing.assert_array_equal(before.values, after.values)
    rows, others = fold.test[:5], fold.test[5:]
    features[others] = 1e3
    (again,) = cross_validate(head, features, labels, speakers(90), [fold], 0)
    assert again.chosen == before.chosen
    np.testing.assert_allclose(again.values[: len(rows)], before.values[: len(rows)], atol=1e-5)


def test_the_epoch_is_that_of_the_highest_uar_over_all_inner_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = toy(90, size=0.8)
    job, head = job_of(features, labels), Fcn(epochs=9, patience=3)
    curves: list[list[np.ndarray]] = []
    train = neural.train

    def spy(units, *rest):  # type: ignore[no-untyped-def]
        curves.extend(unit.decided for unit in units if len(unit.test))
        return train(units, *rest)

    monkeypatch.setattr(neural, "train", spy)
    fitted = fit(head, job)
    answers = np.concatenate([job.labels[fold.test] for fold in job.inner])
    curve = [uar(answers, np.concatenate(decided)) for decided in zip(*curves, strict=False)]
    assert len(curves) == 3
    best = int(np.argmax(curve))
    assert fitted.chosen == {"epochs": best + 1}
    assert len(curve) == min(9, best + 1 + 3)


def test_a_choice_on_the_rows_that_a_job_gives_is_the_network_of_that_epoch() -> None:
    """As where a protocol chooses on the fold that it reports: the last network is the one that was chosen."""
    features, labels = toy(90, size=0.8)
    job = job_of(features, labels)
    train, test = np.arange(60), np.arange(60, 90)
    own = dataclasses.replace(job, inner=[Fold("0", train, test)], training=train)
    head = Fcn(epochs=6)
    fitted = fit(head, own)
    decided = fitted.predict(features[test]).argmax(axis=1)
    (unit,) = head._course(own).inner
    for _ in head._train([unit]):
        pass
    np.testing.assert_array_equal(decided, unit.decided[int(fitted.chosen["epochs"]) - 1])


@pytest.mark.parametrize("name", [name for name in HEADS if name != "cnn"])
def test_without_inner_folds_nothing_is_chosen(name: str) -> None:
    features, labels = toy(60, size=6.0)
    head = HEADS[name]
    fitted = next(iter(head.fit([dataclasses.replace(job_of(features, labels), inner=[])])))
    if isinstance(head, NeuralHead):
        assert fitted.chosen == {"epochs": head.epochs}
    else:
        assert fitted.chosen["layer"] == 1
    assert np.mean(fitted.predict(features).argmax(axis=1) == np.arange(60) % 3) > 0.5  # chance is 1/3


def test_jobs_of_different_shapes_are_fitted_in_their_order() -> None:
    jobs = []
    for dim in (6, 6, 9, 6):
        features, labels = toy(60, dim=dim, seed=len(jobs))
        jobs.append(job_of(features, labels))
    head = Linear(width=16, epochs=3)  # so small that those of one shape are trained together
    for job, together in zip(jobs, list(head.fit(jobs)), strict=True):
        alone = fit(head, job)
        assert together.chosen == alone.chosen
        np.testing.assert_allclose(together.predict(job.features), alone.predict(job.features), atol=1e-4)


def test_a_head_of_two_layers_learns_what_scikit_learns_does() -> None:
    """XOR of two values, which no straight line decides; both do."""
    from sklearn.neural_network import MLPClassifier

    random = np.random.default_rng(0)
    features, _ = toy(400, size=0)
    signs = random.choice([-1, 1], (400, 2))
    features[:, -1, :2] = 5 + 2 * signs + 0.3 * random.standard_normal((400, 2))
    labels = [f"class {int(a == b)}" for a, b in signs]
    job = job_of(features, labels)
    ours = fit(Mlp(rate=2e-3, warmup_steps=0), job).predict(features[200:]).argmax(axis=1)
    read = features[:, -1, :12]
    theirs = MLPClassifier((256,), batch_size=16, max_iter=50, random_state=0).fit(read - 5, job.labels)
    linear = fit(Linear(epochs=10), job).predict(features[200:]).argmax(axis=1)
    assert np.mean(theirs.predict(read[200:] - 5) == job.labels[200:]) > 0.95
    assert np.mean(ours == job.labels[200:]) > 0.95
    assert np.mean(linear == job.labels[200:]) < 0.75


class TestNetworks:
    """Networks by hand."""

    TRAINING = torch.tensor([[1.0, 4.0], [3.0, 4.0]])
    """Means 2 and 4; the standard deviations are 1 and, of what is constant, taken for 1."""

    def test_mlp(self) -> None:
        network = Mlp(width=2).network(self.TRAINING, np.arange(2), 2)
        with torch.no_grad():
            network.hidden.weight.copy_(torch.tensor([[1.0, 0.0], [-1.0, 2.0]]))
            network.hidden.bias.copy_(torch.tensor([0.0, 1.0]))
            network.output.weight.copy_(torch.tensor([[1.0, 1.0], [0.0, -1.0]]))
            network.output.bias.copy_(torch.tensor([0.5, 0.0]))
        # (4, 5) is (2, 1): hidden values 2 and 1. (1, 4) is (-1, 0): 0 and 2.
        logits = network((torch.tensor([[4.0, 5.0], [1.0, 4.0]]),), None)
        assert logits.tolist() == [[3.5, -1.0], [2.5, -2.0]]
        kept = [torch.tensor([[2.0, 0.0], [0.0, 2.0]])]
        assert network((torch.tensor([[4.0, 5.0], [1.0, 4.0]]),), kept).tolist() == [[4.5, 0.0], [4.5, -4.0]]

    def test_linear_of_means_is_the_mean_of_linear_of_frames(self) -> None:
        random = torch.Generator().manual_seed(0)
        frames = torch.randn(3, 50, 7, generator=random)
        network = Linear(width=5).network(frames.mean(dim=1), np.arange(3), 4)
        by_frames = network.output(network.shared(network.standardised(frames)).mean(dim=1))
        torch.testing.assert_close(network((frames.mean(dim=1),), None), by_frames)

    def test_fcn(self) -> None:
        network = Fcn().network(self.TRAINING, np.arange(2), 2)
        dense = network.dense
        with torch.no_grad():
            for layer in (dense.first, dense.second, dense.output):
                layer.weight.zero_()
                layer.bias.zero_()
            dense.first.weight[0] = torch.tensor([1.0, 1.0])
            dense.first.bias[1] = -1.0
            dense.second.weight[0, :2] = torch.tensor([2.0, 9.0])
            dense.output.weight[:, 0] = torch.tensor([1.0, -1.0])
        # (4, 5) is (2, 1): 3 and 0, then 6.
        assert network((torch.tensor([[4.0, 5.0]]),), None).tolist() == [[6.0, -6.0]]

    def test_cnn(self) -> None:
        """Against the same by scipy's correlation and maxima by hand."""
        from scipy.signal import correlate

        random = torch.Generator().manual_seed(0)
        training = torch.randn(20, 13, generator=random)
        network = Cnn(length=2).network(training, np.arange(20), 3)
        block = network.block
        values = ((training - training.mean(0)) / training.std(0, correction=0)).numpy()[0]
        first, second = (layer.weight.detach().numpy() for layer in (block.first, block.second))
        biases = [layer.bias.detach().numpy() for layer in (block.first, block.second)]
        hidden = np.stack([correlate(values, row[0], "same") for row in first]) + biases[0][:, None]
        hidden = np.maximum(hidden, 0)[:, :12].reshape(32, 6, 2).max(axis=2)
        deep = np.stack([sum(correlate(h, k, "same") for h, k in zip(hidden, row, strict=True)) for row in second])
        deep = np.maximum(deep + biases[1][:, None], 0).reshape(64, 2, 3).max(axis=2)
        expected = network.dense(torch.from_numpy(deep.reshape(1, -1).astype(np.float32)), None)
        torch.testing.assert_close(network((training[:1],), None), expected, atol=1e-5, rtol=1e-5)

    @pytest.mark.parametrize(
        ("head", "dim", "classes", "parameters"),
        [
            (Mlp(), 768, 6, 768 * 256 + 256 + 256 * 6 + 6),
            (Linear(), 768, 6, 768 * 256 + 256 + 256 * 6 + 6),
            (Fcn(), 768, 6, 460_166),
            (Fcn(), 3840, 6, 2_033_030),
            (Cnn(), 768, 6, 990_790),
            (Cnn(), 3840, 6, 990_790),
        ],
    )
    def test_parameters(self, head: NeuralHead[Pooled], dim: int, classes: int, parameters: int) -> None:
        """RENO states .7 to 1 M and .9 to 1.1 M for encoders of 768 to 3840 values."""
        assert count(head.network(torch.zeros(2, dim), np.arange(2), classes)) == parameters

    def test_how_big_a_network_is_is_kept_with_the_scores(self) -> None:
        features, labels = toy(60)
        details = fit(Fcn(epochs=1), job_of(features, labels)).details
        assert details["parameters"] == 12 * 512 + 512 + 512 * 128 + 128 + 128 * 3 + 3
        assert (details["stated"], details["together"], details["device"]) == ("0.7 to 1 M", 1, "cpu")
