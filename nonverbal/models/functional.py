"""Dropout and attention for the CPU, with hand-written backward passes.

On a CPU, PyTorch draws the random numbers of dropout one by one, and does not use its fast attention if attention
weights are dropped. The functions here compute the same, with other random numbers for dropout. On other devices they
call PyTorch's own.
"""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.amp.autocast_mode import is_autocast_available

RESOLUTION = 1 << 15
"""Dropout's probabilities are multiples of 1 / 32768."""


CACHED_VALUES = 1 << 21
"""Largest number of values of a matrix that should stay in the cache between two operations."""


def compute_dtype(like: Tensor) -> torch.dtype:
    """Return the type in which matrix products of ``like`` are computed: that of autocast if it is on."""
    device = like.device.type
    on = is_autocast_available(device) and torch.is_autocast_enabled(device)
    return torch.get_autocast_dtype(device) if on else like.dtype


def exact(device: torch.device) -> AbstractContextManager[Any]:
    """Turn autocast off in the block, if the device has it, so that factors of matrix products are not rounded.

    The same as ``selective_scan._exact``, which is copied into checkpoints and so cannot import this function.
    """
    return torch.autocast(device.type, enabled=False) if is_autocast_available(device.type) else nullcontext()


def dropout(x: Tensor, p: float) -> Tensor:
    """Return ``x`` with a share ``p`` of its values set to zero and the others divided by 1 - p."""
    if p == 0 or x.device.type != "cpu":
        return F.dropout(x, p)
    return cast(Tensor, _Dropout.apply(x, p))  # type: ignore[no-untyped-call]


def attention(query: Tensor, key: Tensor, value: Tensor, attended: Tensor | None, p: float) -> Tensor:
    """Return scaled dot-product attention with dropped weights, ``(N, H, S, D)``.

    Args:
        query: ``(N, H, S, D)``.
        key: ``(N, H, S, D)``.
        value: ``(N, H, S, D)``.
        attended: ``(N, 1, 1, S)`` bool, True for frames that may be attended to; all if None.
        p: share of the weights that are dropped.
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


def in_heads(x: Tensor, heads: int) -> Tensor:
    """Return ``(N, S, H x D)`` as ``(N, H, S, D)``."""
    return x.view(*x.shape[:2], heads, -1).transpose(1, 2)


def joined(context: Tensor) -> Tensor:
    """Return ``(N, H, S, D)`` as ``(N, S, H x D)``."""
    return context.transpose(1, 2).flatten(2)


class _Draws:
    """Draws which values to drop. It is seeded by torch's generator, and faster."""

    def __init__(self) -> None:
        seed = int(torch.empty((), dtype=torch.int64).random_())
        self.bits = np.random.PCG64DXSM(seed)

    def marks(self, like: Tensor, p: float) -> Tensor:
        """Return int16 in the shape of ``like``, negative with probability ``p``; a 64-bit draw gives four of them."""
        count = like.numel()
        draws = torch.from_numpy(self.bits.random_raw((count + 3) // 4).view(np.int16))
        return draws[:count].view(like.shape).bitwise_and_(RESOLUTION - 1).sub_(round(p * RESOLUTION))


def _with_signs(values: Tensor, marks: Tensor) -> Tensor:
    """Return ``values``, which must be at least 0, made negative where ``marks`` are. Overwrites ``marks``."""
    if values.dtype != torch.bfloat16:
        return torch.copysign(values, marks.to(values.dtype))
    # The sign bit of a bfloat16 is where that of an int16 is.
    return marks.bitwise_and_(-(1 << 15)).bitwise_or_(values.view(torch.int16)).view(torch.bfloat16)


class _Dropout(torch.autograd.Function):
    """Dropout that stores one byte per value for the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        # As numbers, because a product with booleans is many times slower.
        kept = (_Draws().marks(x, p) >= 0).view(torch.uint8)
        ctx.save_for_backward(kept)
        ctx.scale = 1 / (1 - p)
        return kept.to(x.dtype).mul_(x).mul_(ctx.scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (kept,) = ctx.saved_tensors
        return kept.to(gradient.dtype).mul_(gradient).mul_(ctx.scale), None


class _Attention(torch.autograd.Function):
    """Attention that stores only one tensor of weights. They are at least 0, so a minus sign marks dropped ones.

    It computes a few heads at a time, so that their weights stay in the cache.
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
    """Cut the heads of ``(heads, S, S)`` into parts whose weights fit in the cache."""
    heads = max(CACHED_VALUES // (weights.shape[1] * weights.shape[2]), 1)
    for start in range(0, len(weights), heads):
        yield slice(start, start + heads)
