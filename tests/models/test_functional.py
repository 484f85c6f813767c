import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from nonverbal.models import functional
from nonverbal.models.functional import (
    attention,
    conv1d_group_norm,
    dropout,
    gelu_conv1d,
    same_conv1d,
    waveform_conv1d,
)


def drawn(*shape):
    return torch.randn(*shape, dtype=torch.double, requires_grad=True)


def assert_same(ours, theirs, inputs):
    """The same values, and the same gradients for a random gradient of the output."""
    assert torch.allclose(ours, theirs, atol=1e-9)
    direction = torch.randn_like(ours)
    gradients = (torch.autograd.grad(y, inputs, direction) for y in (ours, theirs))
    assert all(torch.allclose(a, b, atol=1e-9) for a, b in zip(*gradients, strict=True))


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 9), st.integers(1, 3), st.booleans())
def test_gelu_conv1d_is_gelu_and_conv1d(kernel, stride, longer, channels, has_bias):
    x, weight = drawn(2, kernel + longer, channels), drawn(3, channels, kernel)
    bias = drawn(3) if has_bias else None
    theirs = F.conv1d(F.gelu(x).transpose(1, 2), weight, bias, stride).transpose(1, 2)
    assert_same(gelu_conv1d(x, weight, bias, stride), theirs, [x, weight, bias] if has_bias else [x, weight])


def test_gelu_conv1d_takes_what_is_not_contiguous():
    x, weight = drawn(2, 3, 11), drawn(4, 3, 3)
    theirs = F.conv1d(F.gelu(x), weight, None, 2).transpose(1, 2)
    assert_same(gelu_conv1d(x.transpose(1, 2), weight, None, 2), theirs, [x, weight])


@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 9))
def test_waveform_conv1d_is_conv1d(kernel, stride, longer):
    waveforms = torch.randn(2, kernel + longer, dtype=torch.double)
    weight, bias = drawn(3, 1, kernel), drawn(3)
    theirs = F.conv1d(waveforms[:, None], weight, bias, stride).transpose(1, 2)
    assert_same(waveform_conv1d(waveforms, weight, bias, stride), theirs, [weight, bias])


@given(st.integers(1, 6), st.integers(1, 3), st.integers(1, 9))
def test_same_conv1d_is_a_padded_conv1d(kernel, groups, frames):
    x = drawn(2, frames, 2 * groups)
    conv = torch.nn.Conv1d(2 * groups, 4 * groups, kernel, padding=kernel // 2, groups=groups).double()
    theirs = conv(x.transpose(1, 2)).transpose(1, 2)
    assert_same(same_conv1d(x, conv), theirs, [x, conv.weight, conv.bias])


@pytest.mark.parametrize("offset", [0.0, 3.0])
def test_conv1d_group_norm_is_conv1d_and_group_norm(offset):
    waveforms, weight = torch.randn(3, 400, dtype=torch.double) + offset, drawn(6, 1, 10)
    norm = torch.nn.GroupNorm(6, 6).double()
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    theirs = norm(F.conv1d(waveforms[:, None], weight, None, 5)).transpose(1, 2)
    ours = conv1d_group_norm(waveforms, weight, 5, norm)
    assert_same(ours, theirs, [weight, norm.weight, norm.bias])


def test_conv1d_group_norm_in_bf16_is_as_exact_as_group_norm_in_bf16():
    waveforms = torch.randn(2, 4000)
    weight = (0.3 * torch.randn(16, 1, 10)).requires_grad_()
    norm = torch.nn.GroupNorm(16, 16)
    direction = torch.randn(2, 799, 16)

    def gradient(own, dtype):
        x = waveforms.to(dtype)
        if own:
            y = conv1d_group_norm(x, weight, 5, norm)
        else:
            y = norm(F.conv1d(x[:, None], weight.to(dtype), None, 5)).transpose(1, 2)
        return torch.autograd.grad(y, weight, direction.to(dtype))[0]

    exact = gradient(False, torch.float32)
    own, stock = ((gradient(own, torch.bfloat16) - exact).norm() / exact.norm() for own in (True, False))
    assert own < max(2 * stock, 0.02)


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
