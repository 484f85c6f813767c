"""Dropout, attention and convolutions with backward passes by hand, for where PyTorch's own waste most of a step.

On a CPU, PyTorch draws dropout's random numbers one by one, leaves its fast attention as soon as attention weights are
dropped, and moves channels first and last around every convolution. What is here computes the same functions; dropout
takes other random numbers. On other devices PyTorch's own are used.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

RESOLUTION = 1 << 15
"""Dropout's probabilities are multiples of 1 / 32768."""


CACHED_VALUES = 1 << 21
"""Values of a matrix that is to stay in the cache between two operations."""


def compute_dtype(like: Tensor) -> torch.dtype:
    """Return the type in which matrix products of ``like`` are computed: autocast's where that is on."""
    device = like.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else like.dtype


def dropout(x: Tensor, p: float) -> Tensor:
    """Return ``x`` with a share ``p`` of its values zeroed, and the others divided by 1 - p."""
    if p == 0 or x.device.type != "cpu":
        return F.dropout(x, p)
    return cast(Tensor, _Dropout.apply(x, p))  # type: ignore[no-untyped-call]


def attention(query: Tensor, key: Tensor, value: Tensor, attended: Tensor | None, p: float) -> Tensor:
    """Return scaled dot-product attention with dropped weights, ``(N, H, S, D)``.

    Args:
        query: ``(N, H, S, D)``, as ``key`` and ``value``.
        key: see ``query``.
        value: see ``query``.
        attended: ``(N, 1, 1, S)`` bool, True where a frame may be attended to; all where None.
        p: share of the weights that is dropped.
    """
    if p == 0 or query.device.type != "cpu":
        return F.scaled_dot_product_attention(query, key, value, attended, p)
    rows, heads, frames, width = query.shape
    if attended is not None:
        # (N, 1, 1, S) -> (N x H, 1, S)
        attended = attended.expand(rows, heads, 1, frames).reshape(rows * heads, 1, frames)
    # (N, H, S, D) -> (N x H, S, D)
    query, key, value = (x.reshape(rows * heads, frames, width) for x in (query, key, value))
    context = _Attention.apply(query / math.sqrt(width), key, value, attended, p)  # type: ignore[no-untyped-call]
    return cast(Tensor, context.view(rows, heads, frames, width))


def gelu_conv1d(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    """Convolve the GELU of ``(N, T, C)`` along T, channels last, without padding.

    The two are one step so that the GELU need not be kept for the backward pass: it is computed again.

    Args:
        x: ``(N, T, C)``, before its activation.
        weight: ``(C', C, kernel)``, as ``torch.nn.Conv1d`` has it.
        bias: ``(C',)``.
        stride: step along T.

    Returns:
        ``(N, (T - kernel) // stride + 1, C')``.
    """
    y = cast(Tensor, _GeluConv1d.apply(x, weight.to(x.dtype), stride))  # type: ignore[no-untyped-call]
    return y if bias is None else y + bias.to(y.dtype)


def waveform_conv1d(waveforms: Tensor, weight: Tensor, bias: Tensor, stride: int) -> Tensor:
    """Convolve waveforms ``(N, T)`` along T, without padding; they get no gradient.

    Args:
        waveforms: ``(N, T)``.
        weight: ``(C', 1, kernel)``.
        bias: ``(C',)``.
        stride: step along T.

    Returns:
        ``(N, T', C')``, in the type of ``waveforms``.
    """
    # (kernel, C'), (1, C') -> (kernel + 1, C') -> (N, kernel + 1, C')
    folded = torch.cat([weight[:, 0].T, bias[None]]).expand(len(waveforms), -1, -1)
    return _windows_product(windows(waveforms[..., None].contiguous(), weight.shape[2], stride), folded)


def conv1d_group_norm(waveforms: Tensor, weight: Tensor, stride: int, norm: torch.nn.GroupNorm) -> Tensor:
    """Convolve waveforms ``(N, T)`` and normalise each channel of each row over time, as ``norm`` does.

    A convolution's mean and variance over time follow from the mean and covariance of its input's windows. So the norm
    is folded into weights and biases of each row, and the convolution's own output never exists.

    Returns:
        ``(N, T', C')``, in the type of ``waveforms``.
    """
    # (C', 1, kernel) -> (kernel, C')
    flat = weight[:, 0].T.double()
    # (N, T) -> (N, T', kernel)
    seen = windows(waveforms[..., None].contiguous(), len(flat), stride)
    exact = seen.double()
    mean = exact.mean(1)
    centred = exact - mean[:, None]
    covariance = centred.transpose(1, 2) @ centred / exact.shape[1]
    variance = torch.einsum("kc,nkl,lc->nc", flat, covariance, flat)
    scale = norm.weight * torch.rsqrt(variance + norm.eps)
    bias = norm.bias - (mean @ flat) * scale
    # (N, kernel, C'), (N, 1, C') -> (N, kernel + 1, C')
    return _windows_product(seen, torch.cat([flat * scale[:, None], bias[:, None]], 1))


def same_conv1d(x: Tensor, conv: torch.nn.Conv1d) -> Tensor:
    """Convolve ``(N, T, C)`` along T with a padded ``conv``, channels last, which takes oneDNN half the time.

    Returns:
        ``(N, T + 2 x padding - kernel + 1, C')``.
    """
    # (N, T, C) -> (N, C, 1, T), in place: channels stay last in memory
    spread = x.transpose(1, 2)[:, :, None]
    weight = conv.weight[:, :, None].contiguous(memory_format=torch.channels_last)
    padding = (0, cast(int, conv.padding[0]))
    y = F.conv2d(spread, weight, conv.bias, padding=padding, groups=conv.groups)
    return y[:, :, 0].transpose(1, 2)


def windows(x: Tensor, size: int, stride: int) -> Tensor:
    """Return ``(N, (T - size) // stride + 1, size x C)``, a view of the contiguous ``(N, T, C)``."""
    rows, length, channels = x.shape
    count = (length - size) // stride + 1
    return x.as_strided((rows, count, size * channels), (length * channels, stride * channels, 1))


def _windows_product(seen: Tensor, folded: Tensor) -> Tensor:
    """Return windows ``(N, T', kernel)`` times weights and bias, ``(N, kernel + 1, C')``: the bias is weight of a 1."""
    ones = F.pad(seen, (0, 1), value=1.0)
    return cast(Tensor, _Product.apply(ones, folded.to(seen.dtype)))  # type: ignore[no-untyped-call]


class _Draws:
    """Draws which values to drop. Seeded by torch's generator, and faster than it."""

    def __init__(self) -> None:
        seed = int(torch.empty((), dtype=torch.int64).random_())
        self.bits = np.random.PCG64DXSM(seed)

    def marks(self, like: Tensor, p: float) -> Tensor:
        """Return int16 in the shape of ``like`` that are negative with probability ``p``, from four a 64-bit draw."""
        count = like.numel()
        draws = torch.from_numpy(self.bits.random_raw((count + 3) // 4).view(np.int16))
        return draws[:count].view(like.shape).bitwise_and_(RESOLUTION - 1).sub_(round(p * RESOLUTION))


def _with_signs(values: Tensor, marks: Tensor) -> Tensor:
    """Return ``values``, at least 0, negative where ``marks`` are. ``marks`` are used up."""
    if values.dtype != torch.bfloat16:
        return torch.copysign(values, marks.to(values.dtype))
    # A bfloat16 has its sign where an int16 has it.
    return marks.bitwise_and_(-(1 << 15)).bitwise_or_(values.view(torch.int16)).view(torch.bfloat16)


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        kept = (_Draws().marks(x, p) >= 0).to(x.dtype).mul_(1 / (1 - p))
        ctx.save_for_backward(kept)
        return x * kept

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (kept,) = ctx.saved_tensors
        return gradient * kept, None


class _Attention(torch.autograd.Function):
    """Attention weights are at least 0, so one tensor of them, negative where dropped, is all that is kept.

    Some heads are taken at a time, so that their weights stay in the cache.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, attended: Tensor | None, p: float) -> Tensor:
        value = value / (1 - p)
        signed = query.new_empty(*query.shape[:2], key.shape[1])
        context = torch.empty_like(value)
        draws = _Draws()
        for heads in _parts(signed):
            scores = torch.bmm(query[heads], key[heads].transpose(1, 2))
            if attended is not None:
                scores.masked_fill_(~attended[heads], float("-inf"))
            weights = torch.softmax(scores, -1)
            signed[heads] = _with_signs(weights, draws.marks(weights, p))
            torch.bmm(signed[heads].relu(), value[heads], out=context[heads])
        ctx.save_for_backward(query, key, value, signed)
        ctx.p = p
        return context

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, signed = ctx.saved_tensors
        gradient = gradient.contiguous()
        for_query, for_key, for_value = torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)
        for heads in _parts(signed):
            weights = signed[heads]
            torch.bmm(weights.relu().transpose(1, 2), gradient[heads], out=for_value[heads])
            kept = torch.bmm(gradient[heads], value[heads].transpose(1, 2))
            kept = torch.ops.aten.threshold_backward(kept, weights, 0)
            for_scores = torch.ops.aten._softmax_backward_data(kept, weights.abs(), -1, weights.dtype)
            torch.bmm(for_scores, key[heads], out=for_query[heads])
            torch.bmm(for_scores.transpose(1, 2), query[heads], out=for_key[heads])
        return for_query, for_key, for_value.div_(1 - ctx.p), None, None


def _parts(weights: Tensor) -> Iterator[slice]:
    """Cut the heads of ``(heads, S, S)`` into parts whose weights fit the cache."""
    heads = max(CACHED_VALUES // (weights.shape[1] * weights.shape[2]), 1)
    for start in range(0, len(weights), heads):
        yield slice(start, start + heads)


class _Product(torch.autograd.Function):
    """``(N, T, K)`` x ``(N, K, C)``, for a first factor that is data."""

    @staticmethod
    def forward(ctx: Any, data: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(data)
        return torch.bmm(data, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        (data,) = ctx.saved_tensors
        return None, torch.bmm(data.transpose(1, 2), gradient.contiguous())


class _GeluConv1d(torch.autograd.Function):
    """A convolution as products of windows with matrices; so are its gradients.

    Taps are taken in groups of at most ``stride``, whose windows do not overlap: of overlapping ones a product makes a
    copy first. All are taken a stretch at a time, so that windows, activations and their gradients stay in the cache.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        x = x.contiguous()
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        out, channels, kernel = weight.shape
        # (C', C, taps) -> (taps x C, C')
        groups = [
            (first, taps, weight[:, :, first : first + taps].permute(2, 1, 0).reshape(-1, out))
            for first, taps in _tap_groups(kernel, stride)
        ]
        y = x.new_empty(len(x), (x.shape[1] - kernel) // stride + 1, out)
        for row, start, stop in _stretches(y.shape, kernel * channels):
            seen = F.gelu(x[row, start * stride : (stop - 1) * stride + kernel])
            for first, taps, flat in groups:
                part = _unfolded(seen[first:], taps, stride)[: stop - start]
                torch.addmm(y[row, start:stop], part, flat, beta=int(first > 0), out=y[row, start:stop])
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight = ctx.saved_tensors
        gradient = gradient.contiguous()
        return _input_gradient(gradient, x, weight, ctx.stride), _weight_gradient(gradient, x, weight, ctx.stride), None


def _tap_groups(kernel: int, stride: int) -> list[tuple[int, int]]:
    """Return the first tap of each group, and how many it has."""
    return [(first, min(stride, kernel - first)) for first in range(0, kernel, stride)]


def _weight_gradient(gradient: Tensor, x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Return ``(C', C, kernel)``; stretches are added up in float32 or better."""
    out, channels, kernel = weight.shape
    total = torch.zeros(out, kernel * channels, dtype=torch.promote_types(weight.dtype, torch.float32))
    for row, start, stop in _stretches(gradient.shape, kernel * channels):
        seen = F.gelu(x[row, start * stride : (stop - 1) * stride + kernel])
        for first, taps in _tap_groups(kernel, stride):
            part = _unfolded(seen[first:], taps, stride)[: stop - start]
            # (C', stretch) x (stretch, taps x C) -> (C', taps x C)
            total[:, first * channels : (first + taps) * channels] += gradient[row, start:stop].T @ part
    return total.view(out, kernel, channels).transpose(1, 2).to(weight.dtype)


def _input_gradient(gradient: Tensor, x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Return ``(N, T, C)``.

    Input sample stride x t + i has met output t - j through tap i + stride x j. So a block of ``stride`` samples is the
    sum, over the groups of taps, of an output's gradient times the taps of the group.
    """
    out, channels, kernel = weight.shape
    length = x.shape[1]
    # (C', C, taps) -> (C', taps x C)
    groups = [
        weight[:, :, first : first + taps].transpose(1, 2).reshape(out, -1)
        for first, taps in _tap_groups(kernel, stride)
    ]
    result = torch.empty_like(x)
    for row, start, stop in _stretches((len(x), -(-length // stride)), stride * out):
        # What no tap has met, where the stride is longer than the kernel, stays zero.
        spread = gradient.new_zeros(stop - start, stride * channels)
        for before, flat in enumerate(groups):
            # (blocks, C') x (C', taps x C) -> (blocks, taps x C)
            met = _rows(gradient[row], start - before, stop - before)
            spread[:, : flat.shape[1]].addmm_(met, flat, beta=int(before > 0))
        here = slice(start * stride, min(stop * stride, length))
        samples = spread.view(-1, channels)[: here.stop - here.start]
        torch.ops.aten.gelu_backward.grad_input(samples, x[row, here], grad_input=result[row, here])
    return result


def _rows(x: Tensor, start: int, stop: int) -> Tensor:
    """Return rows ``start`` to ``stop`` of ``(T, C)``; those before its first and behind its last are zero."""
    inside = x[max(start, 0) : max(stop, 0)]
    before = min(max(-start, 0), stop - start)
    missing = (0, 0, before, stop - start - before - len(inside))
    return F.pad(inside, missing) if any(missing) else inside


def _stretches(shape: Sequence[int], width: int) -> Iterator[tuple[int, int, int]]:
    """Cut each row of ``shape`` (rows, length, ...) into stretches whose windows of ``width`` values fit the cache."""
    longest = max(CACHED_VALUES // width, 1)
    for row in range(shape[0]):
        for start in range(0, shape[1], longest):
            yield row, start, min(start + longest, shape[1])


def _unfolded(x: Tensor, size: int, stride: int) -> Tensor:
    """Return the windows of ``(T, C)`` as rows, ``((T - size) // stride + 1, size x C)``, a view."""
    return windows(x[None], size, stride)[0]
