"""The selective scan, and the convolution before it, as Triton kernels for CUDA, for which torch comes with Triton.

Shapes: N rows, T steps, D channels, S states; P, T rounded up to whole chunks. Like ``selective_scan.py``, this file
and ``triton_kernels.py`` are copied into checkpoints; they need only torch and Triton.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .scan_kernel import in_rows, strides
from .triton_kernels import conv_backward, conv_forward, scan_backward, scan_forward

CHUNK = 8
"""Steps between stored states; the states between them are computed again in the backward pass."""

BLOCK, WARPS = 64, 1
"""Channels of a program, and its warps: two channels per lane."""

CONV_STEPS, CONV_TILES, CONV_BLOCK, CONV_WARPS = 8, 8, 64, 1
"""For a program of the convolution: steps processed at once, how often the backward pass does so before it writes its
sums, channels, and warps."""


def scan(u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor, z: Tensor, bias: Tensor) -> Tensor:
    """Scan, skip and gate: see ``selective_scan``. Arguments may have different types, but not float64."""
    inputs = (u, delta, z, b, c, a, d, bias)
    keep = torch.is_grad_enabled() and any(value.requires_grad for value in inputs)
    y: Tensor = _Scan.apply(*inputs, keep)  # type: ignore[no-untyped-call]
    return y


def conv(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolve, then SiLU: see ``causal_conv``. Arguments may have different types, but not float64."""
    y: Tensor = _Conv.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return y


class _Scan(torch.autograd.Function):
    """The scan with softplus, skip and gate."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        u, delta, z, b, c, a, d, bias, keep = inputs
        u, delta, z = (in_rows(value) for value in (u, delta, z))
        (rows, steps, width), states = u.shape, a.shape[1]
        chunks = _ceil(steps, CHUNK)
        # (N, T, S) -> (N, S, P)
        turned = torch.zeros(2, rows, states, chunks * CHUNK, device=u.device)
        turned[0, ..., :steps], turned[1, ..., :steps] = b.transpose(1, 2), c.transpose(1, 2)
        # (D, S) -> (S, D), for an exponential of base 2
        decay = (a.float().t() * math.log2(math.e)).contiguous()
        slots = max(chunks - 1, 1) if keep else 1
        kept = torch.empty(rows, slots, states, width, device=u.device)
        out = torch.empty(u.shape, dtype=u.dtype, device=u.device)
        saved = (u, delta, z, *turned, decay, d.float().contiguous(), bias.float().contiguous(), kept)
        sizes = (steps, width, turned.shape[-1], slots, *strides((u, delta, z)))
        with _on(u.device):
            scan_forward[(rows * _ceil(width, BLOCK),)](
                *saved, out, *sizes, STATES=states, CHUNK=CHUNK, BLOCK=BLOCK, KEEP=keep, num_warps=WARPS
            )
        ctx.save_for_backward(*saved)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        u, delta, z, b, c, decay, d, bias, kept = ctx.saved_tensors
        (rows, steps, width), (states, padded) = u.shape, b.shape[1:]
        blocks = _ceil(width, BLOCK)
        du, ddelta, dz = (torch.empty(value.shape, dtype=value.dtype, device=value.device) for value in (u, delta, z))
        db, dc = torch.empty(2, blocks, rows, states, padded, device=u.device)
        da, reach = torch.empty(2, rows, states, width, device=u.device)
        dd, dbias = torch.empty(2, rows, width, device=u.device)
        sizes = (rows, steps, width, padded, kept.shape[1], *strides((u, delta, z)))
        with _on(u.device):
            scan_backward[(rows * blocks,)](
                *(u, delta, z, b, c, decay, d, bias, kept, grad.contiguous(), du, ddelta, dz),
                *(db, dc, da, reach, dd, dbias, *sizes),
                STATES=states, CHUNK=CHUNK, BLOCK=BLOCK, num_warps=WARPS,
            )  # fmt: skip
        # (blocks, N, S, P) -> (N, T, S)
        db, dc = (value.sum(0)[..., :steps].transpose(1, 2) for value in (db, dc))
        return du, ddelta, dz, db, dc, da.sum(0).t(), dd.sum(0), dbias.sum(0), None


class _Conv(torch.autograd.Function):
    """The convolution and its SiLU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        saved = in_rows(x), weight.float().t().contiguous(), bias.float().contiguous()
        out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        with _on(x.device):
            conv_forward[(len(x) * _ceil(x.shape[1], CONV_STEPS) * _ceil(x.shape[2], CONV_BLOCK),)](
                *saved, out, *x.shape[1:], *strides(saved[:1]), **_CONV, TAPS=weight.shape[1]
            )
        ctx.save_for_backward(*saved)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        x, weight, bias = ctx.saved_tensors
        dx = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        (taps, width), spans = weight.shape, len(x) * _ceil(x.shape[1], CONV_STEPS * CONV_TILES)
        dweight, dbias = weight.new_empty(spans, taps, width), weight.new_empty(spans, width)
        with _on(x.device):
            conv_backward[(spans * _ceil(width, CONV_BLOCK),)](
                *(x, weight, bias, grad.contiguous(), dx, dweight, dbias, *x.shape[1:], *strides([x])),
                **_CONV, TAPS=taps, TILES=CONV_TILES,
            )  # fmt: skip
        return dx, dweight.sum(0).t(), dbias.sum(0)


_CONV = {"STEPS": CONV_STEPS, "BLOCK": CONV_BLOCK, "num_warps": CONV_WARPS}


def _ceil(size: int, part: int) -> int:
    return -(-size // part)


def _on(device: torch.device) -> Any:
    """Make ``device`` current: Triton launches on the current device, and not on that of the tensors."""
    return torch.cuda.device(device if device.type == "cuda" else -1)
