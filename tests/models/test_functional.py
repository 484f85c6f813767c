import math

import pytest
import torch
from gradients import assert_same, drawn
from hypothesis import given
from hypothesis import strategies as st

from nonverbal.models import functional
from nonverbal.models.functional import attention, dropout


def test_dropout_zeroes_its_share_and_keeps_the_mean():
    x = torch.ones(200_000, requires_grad=True)
    y = dropout(x, 0.1)
    kept = y != 0
    # Six standard deviations of a binomial share.
    assert abs(kept.double().mean() - 0.9) < 6 * math.sqrt(0.09 / len(x)) + 1 / functional.RESOLUTION
    assert torch.allclose(y[kept], torch.tensor(1 / 0.9))
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(gradient, y.detach())


@given(st.integers(1, 30), st.integers(0, 2**31))
def test_dropout_is_a_function_of_the_seed(size, seed):
    draws = []
    for _ in range(2):
        torch.manual_seed(seed)
        draws.append(dropout(torch.ones(size), 0.5))
    assert torch.equal(*draws)


def test_dropout_of_nothing_changes_nothing():
    x = torch.randn(5)
    assert torch.equal(dropout(x, 0.0), x)


@pytest.mark.parametrize("padded", [False, True])
def test_attention_is_softmax_dropout_and_product(monkeypatch, padded):
    query, key, value = drawn(2, 3, 7, 4), drawn(2, 3, 7, 4), drawn(2, 3, 7, 4)
    attended = (torch.arange(7) < torch.tensor([[7], [5]]))[:, None, None] if padded else None
    marks = torch.randint(-1, 3, (6, 7, 7), dtype=torch.int16)
    rows = iter(marks)
    monkeypatch.setattr(functional._Draws, "marks", lambda _, like, p: torch.stack([next(rows) for _ in like]))
    monkeypatch.setattr(functional, "CACHED_VALUES", 100)  # two of the six heads at a time
    scores = query @ key.transpose(2, 3) / 2
    if padded:
        scores = scores.masked_fill(~attended, float("-inf"))
    weights = scores.softmax(-1) * (marks.view(2, 3, 7, 7) >= 0) / 0.75
    assert_same(attention(query, key, value, attended, 0.25), weights @ value, [query, key, value])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_signs_mark_what_is_dropped(dtype):
    values = torch.tensor([0.0, 0.25, 1.0, 0.0, 0.25, 1.0], dtype=dtype)
    marks = torch.tensor([-5, -1, -32768, 0, 3, 32767], dtype=torch.int16)
    signed = functional._with_signs(values, marks)
    assert signed.abs().tolist() == values.tolist()
    assert signed.signbit().tolist() == [True, True, True, False, False, False]


def test_marks_are_drawn_from_torchs_seed_with_their_share():
    like = torch.empty(1000, 999)
    torch.manual_seed(3)
    marks = functional._Draws().marks(like, 0.1)
    torch.manual_seed(3)
    assert torch.equal(functional._Draws().marks(like, 0.1), marks)
    assert not torch.equal(functional._Draws().marks(like, 0.1), marks)
    # Six standard deviations of a binomial share; the probability is a multiple of 1 / 32768.
    assert abs((marks < 0).double().mean() - 0.1) < 6 * math.sqrt(0.09 / 999_000) + 1 / 65536


def test_attention_drops_its_share():
    zeros, value = torch.zeros(1, 1, 300, 4), torch.ones(1, 1, 300, 4)
    context = attention(zeros, zeros, value, None, 0.5)
    # Each is the share kept of 300 equal weights, over 1 - p.
    assert abs(context.mean() - 1) < 6 / math.sqrt(300 * 300)
    assert context.std() > 0
