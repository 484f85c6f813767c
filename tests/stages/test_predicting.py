"""Probabilities of clips: places, modes and processes, by a classifier whose logits are known."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nonverbal.batch import Batch, Targets
from nonverbal.errors import UserError
from nonverbal.stages.predicting import clip_probabilities


class Loudness(nn.Module):
    """Logits of a clip: the mean of its windows' samples times a weight a class, with dropout, and its mode noted."""

    classes = ("a", "b", "c")

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Linear(1, 3, bias=False)
        nn.init.constant_(self.weights.weight[0], 2.0)
        self.dropout = nn.Dropout(0.5)
        self.types: list[torch.dtype] = []

    def logits(self, batch: Batch) -> Tensor:
        clip, clips = batch.targets.tensors["clip"], len(batch.targets.tensors["places"])
        sums = torch.zeros(clips).index_add(0, clip, batch.waveforms.sum(1))
        means = sums / torch.zeros(clips).index_add(0, clip, batch.lengths.float())
        found: Tensor = self.weights(self.dropout(means[:, None]))
        self.types.append(found.dtype)
        assert not self.training
        assert torch.is_inference_mode_enabled()
        return found


def batch_of(rows: list[tuple[int, list[float]]], places: list[int]) -> Batch:
    """Rows are (clip, samples)."""
    lengths = torch.tensor([len(row) for _, row in rows])
    waveforms = nn.utils.rnn.pad_sequence([torch.tensor(row) for _, row in rows], batch_first=True)
    tensors = {"clip": torch.tensor([clip for clip, _ in rows]), "places": torch.tensor(places)}
    return Batch(waveforms, lengths, [], Targets(1, tensors), 0, 0, 0, padded=True)


def expected(classifier: Loudness, mean: float) -> np.ndarray:
    logits = mean * classifier.weights.weight.detach().numpy()[:, 0].astype(np.float64)
    powers = np.exp(logits)
    return np.asarray(powers / powers.sum())


def test_clips_come_by_their_places_with_probabilities_that_sum_to_one() -> None:
    classifier = Loudness().train()
    first = batch_of([(0, [0.1, 0.3]), (1, [0.5]), (0, [0.5, 0.1, 0.2])], [7, 2])
    with torch.autocast("cpu", torch.bfloat16):
        places, values = clip_probabilities(classifier, [first, batch_of([(0, [-0.5])], [4])])
    assert places.tolist() == [2, 4, 7]
    assert values.dtype == np.float64
    means = [0.5, -0.5, (0.1 + 0.3 + 0.5 + 0.1 + 0.2) / 5]
    assert values == pytest.approx(np.stack([expected(classifier, mean) for mean in means]), abs=1e-6)
    assert values.sum(1) == pytest.approx(1, abs=1e-15)
    assert classifier.types == [torch.float32] * 2
    assert classifier.training


def test_no_clips_make_no_rows() -> None:
    places, values = clip_probabilities(Loudness(), [])
    assert places.shape == (0,)
    assert values.shape == (0, 3)


def test_all_processes_are_given_the_clips_of_all() -> None:
    class Two:
        """Stands for two processes, of which the other had the clip at place 1."""

        def of_each(self, value: Any) -> list[Any]:
            return [value, (np.array([1]), np.log([[0.2, 0.3, 0.5]]))]

    places, values = clip_probabilities(Loudness(), [batch_of([(0, [0.0]), (1, [0.1])], [0, 2])], Two())  # type: ignore[arg-type]
    assert places.tolist() == [0, 1, 2]
    assert values[1] == pytest.approx([0.2, 0.3, 0.5])
    assert values[0] == pytest.approx(1 / 3)


def test_values_that_are_not_finite_are_refused() -> None:
    classifier = Loudness()
    nn.init.constant_(classifier.weights.weight, float("nan"))
    with pytest.raises(UserError, match="not finite for 2 of 2 clips"):
        clip_probabilities(classifier, [batch_of([(0, [0.1]), (1, [0.2])], [0, 1])])
