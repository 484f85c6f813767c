"""Bhattacharyya distances between rows of attention maps against closed forms and a plain loop."""

import math

import numpy as np
import pytest
import torch

from nonverbal.evaluation.analyses import attention_rows
from nonverbal.evaluation.analyses.attention_rows import distances_of


def maps(heads: int, frames: int, seed: int) -> torch.Tensor:
    scores = torch.randn(heads, frames, frames, generator=torch.Generator().manual_seed(seed))
    return (3 * scores).softmax(-1)


def by_loops(first: torch.Tensor, second: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    heads, frames = first.shape[:2]
    apart, away = np.zeros((heads, heads)), np.zeros(heads)

    def distance(p: torch.Tensor, q: torch.Tensor) -> float:
        return -math.log(sum(math.sqrt(a * b) for a, b in zip(p.tolist(), q.tolist(), strict=True)))

    for t in range(frames):
        for head in range(heads):
            for other in range(heads):
                apart[head, other] += distance(first[head, t], second[other, t])
            away[head] += distance(first[head, t], second[head, (t + frames // 2) % frames])
    return apart, away


@pytest.mark.parametrize("frames", [2, 7, 12])
def test_distances_are_those_of_a_plain_loop(frames: int, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = maps(3, frames, 0), maps(3, frames, 1)
    expected = by_loops(first, second)
    for rows in (256, 5):
        monkeypatch.setattr(attention_rows, "ROWS", rows)
        for found, loop in zip(distances_of(first, second), expected, strict=True):
            np.testing.assert_allclose(found, loop, rtol=1e-5, atol=1e-5)


def test_a_row_on_one_frame_is_half_the_logarithm_of_the_frames_from_an_even_one() -> None:
    frames = 11
    even, one = torch.full((1, frames, frames), 1 / frames), torch.eye(frames)[None]
    apart, away = distances_of(one, even)
    assert apart[0, 0] / frames == pytest.approx(0.5 * math.log(frames), rel=1e-6)
    assert away[0] == pytest.approx(apart[0, 0])
    # Equal rows are at 0, and those that share nothing as far apart as single precision tells.
    same, rolled = distances_of(one, one)
    assert same[0, 0] == 0
    assert rolled[0] / frames == pytest.approx(-math.log(torch.finfo(torch.float32).tiny))
