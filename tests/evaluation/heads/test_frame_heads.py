import dataclasses

import numpy as np
import pytest
import torch
from toys import frames_toy, job_of

from nonverbal.evaluation.heads import FRAME_HEADS
from nonverbal.evaluation.heads.frames import FrameClips, FrameHead, mean_over_own
from nonverbal.evaluation.heads.multilayer import Multilayer
from nonverbal.evaluation.heads.neural import count
from nonverbal.evaluation.heads.nonlinear import Nonlinear
from nonverbal.evaluation.heads.training import Unit, build, train

CPU = torch.device("cpu")
QUICK = [Nonlinear(width=16, rate=5e-3, batch=8, epochs=12), Multilayer(width=16, rate=5e-3, batch=8, epochs=12)]
each_head = pytest.mark.parametrize("head", QUICK, ids=lambda head: type(head).__name__)


def test_the_weights_find_the_layer_that_shows_the_class() -> None:
    """It is not the last, which the non-linear probe reads, and not the input to the first."""
    frames, labels = frames_toy(90)
    others, answers = frames_toy(60, seed=1)[0], np.arange(60) % 3
    multilayer, nonlinear = (next(iter(head.fit([job_of(frames, labels)]))) for head in reversed(QUICK))
    assert np.mean(multilayer.predict(others).argmax(axis=1) == answers) > 0.9
    assert np.mean(nonlinear.predict(others).argmax(axis=1) == answers) < 0.6
    weights = multilayer.details["layer_weights"]
    assert len(weights) == 2
    assert sum(weights) == pytest.approx(1)
    assert weights[0] > 0.55
    assert all(0 <= weight <= 1 for weight in weights)


@each_head
def test_what_stands_beside_a_clip_changes_nothing(head: FrameHead) -> None:
    frames, labels = frames_toy()
    (fitted,) = dataclasses.replace(head, epochs=2).fit([job_of(frames, labels)])  # type: ignore[type-var]
    together = fitted.predict(frames)
    for row in (0, 7, 33):
        np.testing.assert_allclose(fitted.predict([frames[row]]), together[row : row + 1], atol=1e-6)
    np.testing.assert_allclose(together.sum(axis=1), 1)
    (again,) = dataclasses.replace(head, epochs=2).fit([job_of(frames, labels)])  # type: ignore[type-var]
    np.testing.assert_array_equal(again.predict(frames), together)


@each_head
def test_networks_trained_together_are_trained_as_if_alone(head: FrameHead) -> None:
    """Padding to the longest clip of all networks changes nothing, nor what dropout drops."""
    frames, labels = frames_toy()
    job = job_of(frames, labels)
    clips = head.read(frames, False)

    def unit(rows: np.ndarray, test: np.ndarray) -> Unit:
        network = build(lambda: head.network(clips, rows, 3), 0)
        return Unit(network, clips, job.labels, rows, test, 6, 0, 6)

    company, alone = ([unit(fold.train, fold.test) for fold in job.inner] for _ in range(2))
    for _ in train(company, head.gather, head, CPU):
        pass
    for one in alone:
        for _ in train([one], head.gather, head, CPU):
            pass
    for one, other in zip(company, alone, strict=True):
        for name, value in one.network.state_dict().items():
            torch.testing.assert_close(value, other.network.state_dict()[name], atol=1e-4, rtol=0)
        assert np.mean(np.concatenate(one.decided) == np.concatenate(other.decided)) >= 0.99


def test_frames_are_standardised_by_all_frames_of_the_clips_trained_on() -> None:
    frames, _ = frames_toy()
    rows = np.array([3, 5, 40])
    clips = FrameClips(frames, slice(1, None))
    standardised = clips.standardised(rows)
    together = torch.from_numpy(np.concatenate([clips.of(int(row)) for row in rows], axis=1))
    found = standardised(together)
    assert tuple(standardised.centre.shape) == (2, 1, 6)
    torch.testing.assert_close(found.mean(dim=1), torch.zeros(2, 6), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.std(dim=1, correction=0), torch.ones(2, 6), atol=1e-5, rtol=0)


def test_means_are_over_a_clips_own_frames() -> None:
    values = torch.tensor([[[1.0], [3.0], [100.0]], [[1.0], [3.0], [5.0]]])
    assert mean_over_own(values, torch.tensor([2, 3])).tolist() == [[2.0], [3.0]]


def test_the_network_is_the_papers() -> None:
    """By hand: linear, ReLU, linear, ReLU, linear on frames, mean, linear, ReLU, linear."""
    frames, _ = frames_toy()
    rows = np.arange(60)
    head = Nonlinear(width=16)
    clips = head.read(frames, False)
    network = head.network(clips, rows, 3)
    state = {name.removeprefix("layers."): value.numpy() for name, value in network.state_dict().items()}

    def linear(name: str, values: np.ndarray) -> np.ndarray:
        return values @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    every = np.concatenate([clip[-1].astype(np.float64) for clip in frames])
    values = (frames[4][-1].astype(np.float64) - every.mean(axis=0)) / every.std(axis=0)
    for name in ("first", "second"):
        values = np.maximum(linear(name, values), 0)
    values = linear("third", values).mean(axis=0)
    expected = linear("output", np.maximum(linear("pooled", values), 0))
    inputs = tuple(value[0] for value in head.gather([clips], [np.array([4, 5])]))
    np.testing.assert_allclose(network(inputs, None)[0].detach().numpy(), expected, atol=1e-5)


def test_a_weighted_sum_of_equal_weights_is_the_mean_of_layers() -> None:
    frames, _ = frames_toy()
    head = Multilayer(width=16)
    clips = head.read(frames, False)
    network = head.network(clips, np.arange(60), 3)
    values, lengths = (value[0] for value in head.gather([clips], [np.array([4, 5])]))
    summed = network.standardised(values).mean(dim=1)
    torch.testing.assert_close(network((values, lengths), None), network.layers(summed, lengths, None))
    assert network.details() == {"layer_weights": [0.5, 0.5]}


def test_an_encoder_with_one_layer_has_that_alone() -> None:
    frames, labels = frames_toy(layers=2)
    single = [clip[:1] for clip in frames]
    (fitted,) = Multilayer(width=8, epochs=1).fit([job_of(single, labels)])
    assert fitted.details["layer_weights"] == [1.0]


@pytest.mark.parametrize(("name", "parameters"), [("nonlinear", 395_782), ("multilayer", 395_782 + 12)])
def test_parameters(name: str, parameters: int) -> None:
    """768 values, 6 classes: 768 x 256 + 256, three times 256 x 256 + 256, 256 x 6 + 6; and 12 weights of layers."""
    frames = [np.zeros((13, 2, 768), np.float16)]
    head = FRAME_HEADS[name]
    assert isinstance(head, FrameHead)
    assert count(head.network(head.read(frames, False), np.arange(1), 6)) == parameters
