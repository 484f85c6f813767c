"""The convolutions of wav2vec 2.0's encoders over time, channels last; with PyTorch's own they take most of a step.

Shapes: N rows, T steps, C channels. On a CPU, a convolution is computed as a product of windows with a matrix, one
stretch at a time, with a hand-written backward pass; PyTorch would transpose the channels before and after each one. On
other devices, the convolution of the waveform is a batched matrix product of windows too, those after it are cuDNN's
with channels last, and the grouped one with a wide kernel is computed with a Fourier transform.
"""

from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from nonverbal.models.functional import CACHED_VALUES, compute_dtype, exact


def gelu_conv1d(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    """Convolve the GELU of ``(N, T, C)`` along T, channels last, without padding.

    The two are one operation so that the backward pass can compute the GELU again instead of storing it.

    Args:
        x: ``(N, T, C)``, before its activation.
        weight: ``(C', C, kernel)``, as in ``torch.nn.Conv1d``.
        bias: ``(C',)``.
        stride: step along T.

    Returns:
        ``(N, (T - kernel) // stride + 1, C')``.
    """
    if x.device.type != "cpu":
        return channels_last_conv1d(F.gelu(x.to(compute_dtype(x))), weight, bias, stride)
    y = cast(Tensor, _GeluConv1d.apply(x, weight.to(x.dtype), stride))  # type: ignore[no-untyped-call]
    return y if bias is None else y + bias.to(y.dtype)


def waveform_conv1d(waveforms: Tensor, weight: Tensor, bias: Tensor, stride: int) -> Tensor:
    """Convolve waveforms ``(N, T)`` along T, without padding. The waveforms get no gradient.

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


def conv1d_group_norm(
    waveforms: Tensor, weight: Tensor, stride: int, norm: torch.nn.GroupNorm, steps: Tensor | None = None
) -> Tensor:
    """Convolve waveforms ``(N, T)`` and normalise each channel of each row over time, as ``norm`` does.

    The mean and variance of a convolution over time follow from the mean and covariance of its input windows. So the
    norm is folded into weights and biases for each row, and the unnormalised output is never computed.

    Args:
        waveforms: ``(N, T)``.
        weight: ``(C', 1, kernel)``.
        stride: step along T.
        norm: with one group per channel.
        steps: ``(N,)``, number of the T' steps over which mean and variance of a row are computed; all if None.

    Returns:
        ``(N, T', C')``, in the type of ``waveforms``.
    """
    # (C', 1, kernel) -> (kernel, C')
    flat = weight[:, 0].T.double()
    # (N, T) -> (N, T', kernel)
    seen = windows(waveforms[..., None].contiguous(), len(flat), stride)
    mean, covariance = _moments(seen.double(), steps)
    variance = torch.einsum("kc,nkl,lc->nc", flat, covariance, flat)
    scale = norm.weight * torch.rsqrt(variance + norm.eps)
    bias = norm.bias - (mean @ flat) * scale
    # (N, kernel, C'), (N, 1, C') -> (N, kernel + 1, C')
    return _windows_product(seen, torch.cat([flat * scale[:, None], bias[:, None]], 1))


def _moments(seen: Tensor, steps: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return mean ``(N, kernel)`` and covariance ``(N, kernel, kernel)`` of windows, ``(N, T', kernel)``."""
    if steps is None:
        mean = seen.mean(1)
        centred = seen - mean[:, None]
        return mean, centred.transpose(1, 2) @ centred / seen.shape[1]
    own = torch.arange(seen.shape[1], device=seen.device) < steps[:, None]
    mean = (seen * own[..., None]).sum(1) / steps[:, None]
    centred = (seen - mean[:, None]) * own[..., None]
    return mean, centred.transpose(1, 2) @ centred / steps[:, None, None]


def own_group_norm(norm: torch.nn.GroupNorm, hidden: Tensor, steps: Sequence[int]) -> Tensor:
    """Normalise each row of ``(N, C, T)`` over its first ``steps`` only; later steps are set to zero."""
    result = torch.zeros_like(hidden)
    for row, count in enumerate(steps):
        own = hidden[row : row + 1, :, :count]
        result[row : row + 1, :, :count] = F.group_norm(own, norm.num_groups, norm.weight, norm.bias, norm.eps)
    return result


def plain_conv_features(layers: Any, waveforms: Tensor, steps: Tensor | None) -> Tensor:
    """Return the output ``(N, S, C)`` of transformers' own convolution modules for waveforms ``(N, T)``.

    Args:
        layers: the modules, with any activation.
        waveforms: ``(N, T)``.
        steps: ``(N,)``, number of steps of the first convolution that its group norm uses in each row; all if None.
    """
    hidden, first = waveforms[:, None], layers[0]
    if steps is not None and isinstance(norm := getattr(first, "layer_norm", None), torch.nn.GroupNorm):
        hidden = first.activation(own_group_norm(norm, first.conv(hidden), steps.tolist()))
        layers = layers[1:]
    for layer in layers:
        hidden = layer(hidden)
    return hidden.transpose(1, 2)


def same_conv1d(x: Tensor, conv: torch.nn.Conv1d) -> Tensor:
    """Convolve ``(N, T, C)`` along T with a padded ``conv``.

    Returns:
        ``(N, T + 2 x padding - kernel + 1, C')``.
    """
    if x.device.type != "cpu":
        return fourier_conv1d(x, conv)
    return channels_last_conv1d(x, conv.weight, conv.bias, 1, cast(int, conv.padding[0]), conv.groups)


def channels_last_conv1d(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int = 0, groups: int = 1
) -> Tensor:
    """Convolve ``(N, T, C)`` along T as an image of one row: oneDNN and cuDNN are fast only for this form.

    Returns:
        ``(N, (T + 2 x padding - kernel) // stride + 1, C')``.
    """
    # (N, T, C) -> (N, C, 1, T), as a view: channels stay last in memory
    spread = x.transpose(1, 2)[:, :, None]
    kernel = weight[:, :, None].contiguous(memory_format=torch.channels_last)
    y = F.conv2d(spread, kernel, bias, (1, stride), (0, padding), groups=groups)
    return y[:, :, 0].transpose(1, 2)


def fourier_conv1d(x: Tensor, conv: torch.nn.Conv1d) -> Tensor:
    """Convolve ``(N, T, C)`` along T with a padded ``conv`` of stride 1, in float32 or better.

    A convolution is a product in the frequency domain. In bfloat16 cuDNN has no fast grouped convolution:
    wav2vec 2.0's over 128 frames in 16 groups would be more than half of a step on an H100.

    Returns:
        ``(N, T + 2 x padding - kernel + 1, C')``, in the type in which matrix products of ``x`` are computed.
    """
    from scipy.fft import next_fast_len

    groups, padding = conv.groups, cast(int, conv.padding[0])
    # Read it only once, because every access computes the weight norm.
    weight = conv.weight
    (rows, steps, channels), (out, _, kernel) = x.shape, weight.shape
    count = steps + 2 * padding - kernel + 1
    # At the end, the kernel wraps around into the zero padding at the start.
    length = next_fast_len(max(steps + padding, count, kernel), real=True)
    with exact(x.device):
        wide = torch.promote_types(x.dtype, torch.float32)
        # (N, T, C) -> (N, C, T) -> (N, G, C / G, F)
        spread = F.pad(x.to(wide).transpose(1, 2), (padding, 0))
        seen = torch.fft.rfft(spread, length).view(rows, groups, channels // groups, -1)
        # (C', C / G, kernel) -> (G, C' / G, C / G, F)
        taps = torch.fft.rfft(weight.to(wide), length).conj().view(groups, out // groups, channels // groups, -1)
        # (N, G, C / G, F) x (G, C' / G, C / G, F) -> (N, G, C' / G, F) -> (N, C', T')
        product = torch.einsum("ngcf,gocf->ngof", seen, taps).reshape(rows, out, -1)
        y = torch.fft.irfft(product, length)[..., :count].transpose(1, 2)
        if conv.bias is not None:
            y = y + conv.bias
    return cast(Tensor, y.to(compute_dtype(x)))


def windows(x: Tensor, size: int, stride: int) -> Tensor:
    """Return ``(N, (T - size) // stride + 1, size x C)``, a view of the contiguous ``(N, T, C)``."""
    rows, length, channels = x.shape
    count = (length - size) // stride + 1
    return x.as_strided((rows, count, size * channels), (length * channels, stride * channels, 1))


def _windows_product(seen: Tensor, folded: Tensor) -> Tensor:
    """Return windows ``(N, T', kernel)`` times weights and bias, ``(N, kernel + 1, C')``: the bias multiplies a 1."""
    ones = F.pad(seen, (0, 1), value=1.0)
    return cast(Tensor, _Product.apply(ones, folded.to(seen.dtype)))  # type: ignore[no-untyped-call]


class _Product(torch.autograd.Function):
    """``(N, T, K)`` x ``(N, K, C)``, without a gradient for the first factor, which is data."""

    @staticmethod
    def forward(ctx: Any, data: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(data)
        return torch.bmm(data, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        (data,) = ctx.saved_tensors
        return None, torch.bmm(data.transpose(1, 2), gradient.contiguous())


class _GeluConv1d(torch.autograd.Function):
    """A convolution, and its gradients, as products of windows with matrices.

    Taps are processed in groups of at most ``stride``, whose windows do not overlap, because a product would first copy
    overlapping windows. All is done one stretch at a time, so that windows, activations and gradients stay in the
    cache.
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
    """Return the first tap of each group, and its number of taps."""
    return [(first, min(stride, kernel - first)) for first in range(0, kernel, stride)]


def _weight_gradient(gradient: Tensor, x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Return ``(C', C, kernel)``, the sum over stretches in float32 or better."""
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

    Input sample stride x t + i contributes to output t - j through tap i + stride x j. So the gradient of a block of
    ``stride`` samples is the sum, over the groups of taps, of an output's gradient times the taps of the group.
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
        # If the stride is longer than the kernel, the samples between kernels keep a gradient of zero.
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
    """Return rows ``start`` to ``stop`` of ``(T, C)``; those before the first and after the last are zero."""
    inside = x[max(start, 0) : max(stop, 0)]
    before = min(max(-start, 0), stop - start)
    missing = (0, 0, before, stop - start - before - len(inside))
    return F.pad(inside, missing) if any(missing) else inside


def _stretches(shape: Sequence[int], width: int) -> Iterator[tuple[int, int, int]]:
    """Cut each row of ``shape`` (rows, length, ...) into stretches; their windows of ``width`` values fit the cache."""
    longest = max(CACHED_VALUES // width, 1)
    for row in range(shape[0]):
        for start in range(0, shape[1], longest):
            yield row, start, min(start + longest, shape[1])


def _unfolded(x: Tensor, size: int, stride: int) -> Tensor:
    """Return the windows of ``(T, C)`` as rows, ``((T - size) // stride + 1, size x C)``, a view."""
    return windows(x[None], size, stride)[0]
