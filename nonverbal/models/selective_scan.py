"""The selective scan of Mamba (Gu and Dao, 2023, Algorithm 2), and the convolution before it, for every device.

    h_t = exp(dt_t A) h_{t-1} + dt_t B_t u_t,    y_t = C_t h_t + D u_t,    with dt = softplus(delta + bias),

then gated: y silu(z). Shapes: N rows, T steps, D channels, S states of each channel.

On CUDA it is computed by mamba-ssm's kernel if that works, or else by ours in Triton; on a CPU by a C++ kernel, which
the system's compiler builds once, in a few seconds; elsewhere by PyTorch. All of them store only the state of every few
steps, and compute the others again in the backward pass. Five files are copied into checkpoints: this one,
``scan_choice.py`` and ``scan_kernel.py``, which need only torch, and ``triton_scan.py`` and ``triton_kernels.py``,
which also need Triton and are imported only when it is used.
"""

import ctypes
import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from .scan_choice import Scan, cuda_kernel, kernel_for, refusal
from .scan_kernel import KERNEL_CHUNK, KERNEL_TILE, in_rows, library, strides

CHUNK = 16
"""Steps between states that the PyTorch version stores: about the square root of the 250 steps of two seconds."""


def selective_scan(
    u: Tensor,
    delta: Tensor,
    a: Tensor,
    b: Tensor,
    c: Tensor,
    d: Tensor,
    z: Tensor,
    bias: Tensor,
    scan: Scan = "auto",
) -> Tensor:
    """Scan, skip and gate, with float32 inside; differentiable once in every argument.

    Args:
        u: input, ``(N, T, D)``.
        delta: step sizes before bias and softplus, ``(N, T, D)``.
        a: decay, negative, ``(D, S)``.
        b: input to state, ``(N, T, S)``.
        c: state to output, ``(N, T, S)``.
        d: skip, ``(D,)``.
        z: gate, ``(N, T, D)``.
        bias: of the step sizes, ``(D,)``.
        scan: the implementation. PyTorch replaces a kernel for float64 on CUDA, for growing states on a CPU, and in
            compilers and tracers.

    Returns:
        ``(N, T, D)``, of the type of ``u``.

    Raises:
        ValueError: if the shapes do not match.
        MemoryError: if there is not enough memory for the kernel's states.
        RuntimeError: if the kernel that ``scan`` names cannot be used.
    """
    (rows, steps, width), states = u.shape, a.shape[-1]
    given = {"delta": delta, "z": z, "b": b, "c": c, "a": a, "d": d, "bias": bias}
    wanted = [(rows, steps, width)] * 2 + [(rows, steps, states)] * 2 + [(width, states), (width,), (width,)]
    for (name, value), shape in zip(given.items(), wanted, strict=True):
        _check_shape(name, value, shape)
    kernel = kernel_for(scan, u, delta, z, b, c, a, d, bias)
    if (run := cuda_kernel(kernel)) is not None:
        return run(u, delta, a, b, c, d, z, bias)
    wide = torch.float64 if u.dtype == torch.float64 else torch.float32
    b, c, a, d, bias = (value.to(wide) for value in (b, c, a, d, bias))
    # The kernel's exponential is only valid for negative arguments.
    if kernel == "C++" and bool((a <= 0).all()):
        narrow = _narrow(u, delta, z)
        keep = torch.is_grad_enabled()
        y = _apply(_CompiledScan, u.to(narrow), delta.to(narrow), z.to(narrow), b, c, a, d, bias, keep)
    else:
        step = F.softplus(delta.to(wide) + bias)
        y = _apply(_PlainScan, u.to(wide), step, a, b, c, d) * F.silu(z.to(wide))
    return y.to(u.dtype)


def causal_conv(x: Tensor, weight: Tensor, bias: Tensor, scan: Scan = "auto") -> Tensor:
    """Convolve each channel causally over its last few steps, then apply SiLU; differentiable once in every argument.

    Args:
        x: input, ``(N, T, D)``.
        weight: of the previous steps and, last, of the step itself, ``(D, W)``.
        bias: ``(D,)``.
        scan: the implementation of the scan; if it is a kernel, so is the convolution. mamba-ssm has no kernel for
            these shapes, so Triton's is used there if it works.

    Returns:
        ``(N, T, D)``, of the type of ``x``; the kernel computes in float32, PyTorch in the type of autocast.

    Raises:
        ValueError: if the shapes do not match.
        MemoryError: if there is not enough memory for the kernel's rows.
        RuntimeError: if the kernel that ``scan`` names cannot be used.
    """
    width = x.shape[2]
    _check_shape("weight", weight, (width, weight.shape[-1]))
    _check_shape("bias", bias, (width,))
    kernel = kernel_for(scan, x, weight, bias)
    if kernel in ("mamba-ssm", "Triton") and refusal("Triton", x.device) is None:
        from .triton_scan import conv

        return conv(x, weight, bias)
    if kernel == "C++":
        wide = torch.float64 if x.dtype == torch.float64 else torch.float32
        return _apply(_CompiledConv, x.to(_narrow(x)), weight.to(wide), bias.to(wide)).to(x.dtype)
    # (N, T, D) -> (N, D, T) -> (N, T, D)
    turned = F.pad(x.transpose(1, 2), (weight.shape[1] - 1, 0))
    y = F.conv1d(turned, weight.to(x.dtype).unsqueeze(1), bias.to(x.dtype), groups=width)
    return F.silu(y).transpose(1, 2).to(x.dtype)


def _apply(function: type[torch.autograd.Function], *values: Any) -> Tensor:
    out: Tensor = function.apply(*values)  # type: ignore[no-untyped-call]
    return out


def _check_shape(name: str, value: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(value.shape) != shape:
        raise ValueError(f"{name} must have shape {shape}, but has shape {tuple(value.shape)}")


def _narrow(*tensors: Tensor) -> torch.dtype:
    """Return the type in which the kernel reads and writes; it supports bfloat16 directly."""
    types = {value.dtype for value in tensors}
    if types == {torch.bfloat16}:
        return torch.bfloat16
    return torch.float64 if tensors[0].dtype == torch.float64 else torch.float32


class _PlainScan(torch.autograd.Function):
    """The scan in PyTorch, one chunk at a time."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, step: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
        state = u.new_zeros(len(u), *a.shape)
        y = u * d
        kept = []
        with _exact(u.device):
            for at in range(0, u.shape[1], CHUNK):
                kept.append(state)
                part = slice(at, at + CHUNK)
                states, _ = _run(state, u[:, part], step[:, part], a, b[:, part])
                # (N, K, D, S) x (N, K, S) -> (N, K, D)
                y[:, part] += (states @ c[:, part].unsqueeze(-1)).squeeze(-1)
                state = states[:, -1].clone()
        ctx.save_for_backward(u, step, a, b, c, d, *kept)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        u, step, a, b, c, d, *kept = ctx.saved_tensors
        du, dstep, db, dc = grad * d, torch.empty_like(step), torch.empty_like(b), torch.empty_like(c)
        da, dstate = torch.zeros_like(a), torch.zeros(len(u), *a.shape, dtype=u.dtype, device=u.device)
        with _exact(u.device):
            for number in reversed(range(len(kept))):
                part = slice(number * CHUNK, (number + 1) * CHUNK)
                x, dt, gy = u[:, part], step[:, part], grad[:, part]
                states, decay = _run(kept[number], x, dt, a, b[:, part])
                dc[:, part] = (gy.unsqueeze(2) @ states).squeeze(2)
                # Gradient of each state: from its own output and from the states after it.
                reach = gy.unsqueeze(-1) * c[:, part].unsqueeze(2)
                for i in reversed(range(reach.shape[1])):
                    reach[:, i] += dstate
                    dstate = reach[:, i] * decay[:, i]
                db[:, part] = ((x * dt).unsqueeze(2) @ reach).squeeze(2)
                into = (reach @ b[:, part].unsqueeze(-1)).squeeze(-1)
                before = torch.cat([kept[number].unsqueeze(1), states[:, :-1]], 1)
                through = reach.mul_(before).mul_(decay)
                du[:, part] += into * dt
                dstep[:, part] = into * x + (through * a).sum(-1)
                da += (through * dt.unsqueeze(-1)).sum((0, 1))
        return du, dstep, da, db, dc, (grad * u).sum((0, 1))


def _run(state: Tensor, u: Tensor, step: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return the states after each step of a chunk and the decays, both ``(N, K, D, S)``."""
    decay = (step.unsqueeze(-1) * a).exp_()
    states = (u * step).unsqueeze(-1) * b.unsqueeze(2)
    for i in range(states.shape[1]):
        states[:, i].addcmul_(decay[:, i], state)
        state = states[:, i]
    return states, decay


def _exact(device: torch.device) -> AbstractContextManager[Any]:
    """Turn autocast off, so that factors of matrix products are not rounded."""
    # The same as in functional.py, which is not copied into checkpoints.
    if not torch.amp.autocast_mode.is_autocast_available(device.type):
        return nullcontext()
    exact: AbstractContextManager[Any] = torch.autocast(device.type, enabled=False)
    return exact


class _CompiledScan(torch.autograd.Function):
    """The scan with softplus, skip and gate, computed by the kernel."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        *timed, a, d, bias, keep = inputs
        timed = [in_rows(value) for value in timed]
        # (D, S) -> (S, D): channels are the last dimension everywhere. The kernel's exponential has base 2.
        turned = (a.t() * math.log2(math.e)).contiguous()
        (rows, steps, width), states = timed[0].shape, a.shape[1]
        chunks, padded = -(-steps // KERNEL_CHUNK), -(-width // KERNEL_TILE) * KERNEL_TILE
        kept = a.new_empty(rows, chunks, states, padded) if keep else a.new_empty(0)
        y: Tensor = timed[0].new_empty(rows, steps, width)
        saved = (*timed, turned, d.contiguous(), bias.contiguous(), kept)
        _call("forward", [*timed[0].shape, states, *strides(timed), int(keep)], *saved, y)
        ctx.save_for_backward(*saved)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        timed, turned = saved[:5], saved[5]
        states, (rows, _, width) = len(turned), grad.shape
        du, ddelta, dz = (torch.empty_like(grad, memory_format=torch.contiguous_format) for _ in range(3))
        da, (dd, dbias) = turned.new_empty(rows, states, width), turned.new_empty(2, rows, width)
        db, dc = turned.new_empty(2, _groups(rows), *timed[3].shape)
        sizes = [*grad.shape, states, *strides(timed), 1]
        _call("backward", sizes, *saved, grad.contiguous(), du, ddelta, dz, da, db, dc, dd, dbias)
        return du, ddelta, dz, db.sum(0), dc.sum(0), da.sum(0).t(), dd.sum(0), dbias.sum(0), None


class _CompiledConv(torch.autograd.Function):
    """The convolution and its SiLU, computed by the kernel."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        saved = in_rows(x), weight.t().contiguous(), bias.contiguous()
        y = x.new_empty(x.shape)
        _call("conv_forward", [*x.shape, weight.shape[1], *strides(saved[:1])], *saved, y)
        ctx.save_for_backward(*saved)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        x, weight, bias = ctx.saved_tensors
        dx = torch.empty_like(grad, memory_format=torch.contiguous_format)
        dweight, dbias = weight.new_empty(len(x), *weight.shape), weight.new_empty(len(x), len(bias))
        sizes = [*x.shape, len(weight), *strides([x])]
        _call("conv_backward", sizes, x, weight, bias, grad.contiguous(), dx, dweight, dbias)
        return dx, dweight.sum(0).t(), dbias.sum(0)


def _groups(rows: int) -> int:
    """Return the number of groups into which channels are divided: with few rows, some threads would be idle."""
    return -(-torch.get_num_threads() // max(rows, 1))


def _call(name: str, sizes: list[int], *tensors: Tensor) -> None:
    """Run a function of the kernel for the type of the first tensor."""
    kind = {torch.float32: "float", torch.float64: "double", torch.bfloat16: "bf16"}[tensors[0].dtype]
    numbers = [torch.get_num_threads(), _groups(sizes[0]), *sizes]
    pointers = [tensor.data_ptr() for tensor in tensors]
    function = getattr(library(), f"{name}_{kind}")
    if function((ctypes.c_int64 * len(numbers))(*numbers), (ctypes.c_void_p * len(pointers))(*pointers)):
        raise MemoryError("there is not enough memory for the states of the selective scan's kernel")
