"""Dropout and attention, with backward passes by hand where PyTorch's own waste most of a step.

On a CPU, PyTorch draws dropout's random numbers one by one, and leaves its fast attention as soon as attention weights
are dropped. What is here computes the same functions; dropout takes other random numbers. On other devices PyTorch's
own are used.
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
"""Values of a matrix that is to stay in the cache between two operations."""


def compute_dtype(like: Tensor) -> torch.dtype:
    """Return the type in which matrix products of ``like`` are computed: autocast's where that is on."""
    device = like.device.type
    on = is_autocast_available(device) and torch.is_autocast_enabled(device)
    return torch.get_autocast_dtype(device) if on else like.dtype


def exact(device: torch.device) -> AbstractContextManager[Any]:
    """Keep autocast, where the device has it, from rounding the factors of matrix products in the block.

    As ``selective_scan._exact``, which travels with checkpoints and can import nothing from here.
    """
    return torch.autocast(device.type, enabled=False) if is_autocast_available(device.type) else nullcontext()


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


def in_heads(x: Tensor, heads: int) -> Tensor:
    """Return ``(N, S, H x D)`` as ``(N, H, S, D)``."""
    return x.view(*x.shape[:2], heads, -1).transpose(1, 2)


def joined(context: Tensor) -> Tensor:
    """Return ``(N, H, S, D)`` as ``(N, S, H x D)``."""
    return context.transpose(1, 2).flatten(2)


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
    """What is kept is a byte a value, until the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        # As numbers: a product with booleans is many times slower.
        kept = (_Draws().marks(x, p) >= 0).view(torch.uint8)
        ctx.save_for_backward(kept)
        ctx.scale = 1 / (1 - p)
        return kept.to(x.dtype).mul_(x).mul_(ctx.scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (kept,) = ctx.saved_tensors
        return kept.to(gradient.dtype).mul_(gradient).mul_(ctx.scale), None


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
