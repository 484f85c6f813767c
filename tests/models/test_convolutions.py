import pytest
import torch
import torch.nn.functional as F
from gradients import assert_same, drawn
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.utils.parametrize import remove_parametrizations
from transformers import Wav2Vec2ForPreTraining

from nonverbal.models import wav2vec2
from nonverbal.models.convolutions import (
    channels_last_conv1d,
    conv1d_group_norm,
    fourier_conv1d,
    gelu_conv1d,
    same_conv1d,
    waveform_conv1d,
)


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


@given(st.integers(1, 9), st.integers(1, 3), st.integers(1, 12), st.booleans())
def test_fourier_conv1d_is_a_padded_conv1d(kernel, groups, frames, has_bias):
    x = drawn(2, frames, 2 * groups)
    conv = torch.nn.Conv1d(2 * groups, 4 * groups, kernel, padding=kernel // 2, groups=groups, bias=has_bias).double()
    theirs = conv(x.transpose(1, 2)).transpose(1, 2)
    assert_same(fourier_conv1d(x, conv), theirs, [x, *conv.parameters()])


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 9), st.integers(0, 2))
def test_channels_last_conv1d_is_conv1d(kernel, stride, longer, padding):
    x, weight, bias = drawn(2, kernel + longer, 3), drawn(4, 3, kernel), drawn(4)
    theirs = F.conv1d(x.transpose(1, 2), weight, bias, stride, padding).transpose(1, 2)
    assert_same(channels_last_conv1d(x, weight, bias, stride, padding), theirs, [x, weight, bias])


@pytest.mark.parametrize("layout", ["base", "large"])
def test_convolutions_of_other_devices_have_the_shapes_of_the_cpus(layout):
    shape = wav2vec2.Architecture(layout=layout, hidden_size=32, layers=1, heads=2, conv_channels=16)
    kinds = []
    for device in ("cpu", "meta"):
        with torch.device(device):
            encoder = Wav2Vec2ForPreTraining(wav2vec2.config_of(shape)).wav2vec2
        # A weight norm has no gradient without values.
        remove_parametrizations(encoder.encoder.pos_conv_embed.conv, "weight")
        conv = wav2vec2.conv_features(encoder, torch.zeros(2, 4000, device=device))
        places = same_conv1d(torch.zeros(2, 9, 32, device=device), encoder.encoder.pos_conv_embed.conv)
        (conv.sum() + places.sum()).backward()
        kinds.append([conv.shape, places.shape, [p.grad is not None for p in encoder.parameters()]])
    assert kinds[0] == kinds[1]


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
