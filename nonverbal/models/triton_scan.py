"""The selective scan, and the convolution before it, as Triton kernels: for CUDA, where torch brings Triton along.

A program works on one row and a block of channels, which lie across the lanes of a warp. A chunk of steps lies in
registers while the states are gone through one after another, so no state is kept but the one before each chunk, and
nothing that is summed over states leaves the registers. What is summed over channels or rows is written as partial
sums, which torch adds up in a fixed order: the same inputs give the same bits.

Shapes: N rows, T steps, D channels, S states; P, T filled up to whole chunks. Everything is float32 inside. Like
``selective_scan.py``, this file needs torch alone besides Triton, and travels with checkpoints.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

try:  # transformers asks for nothing that is imported inside of a try
    import triton
    import triton.language as tl
except ImportError as error:
    raise ImportError(f"Triton, which torch for CUDA brings along, cannot be imported: {error}") from error

CHUNK = 8
"""Steps between states that are kept: what lies between is computed again in the backward pass."""

BLOCK, WARPS = 64, 1
"""Channels of a program, and its warps: two channels a lane."""

CONV_STEPS, CONV_BLOCK, CONV_WARPS = 16, 128, 4
"""Steps and channels that a program of the convolution works on at once, and its warps."""


@triton.jit
def _softplus(x):  # type: ignore[no-untyped-def]
    # log(1 + e) = 2 artanh(e / (2 + e)) for 0 <= e <= 1: a logarithm of 1 + e loses small step sizes.
    e = tl.exp(-tl.abs(x))
    s = e / (e + 2.0)
    q = s * s
    p = q * (1 / 15) + 1 / 13
    p = p * q + 1 / 11
    p = p * q + 1 / 9
    p = p * q + 1 / 7
    p = p * q + 1 / 5
    p = p * q + 1 / 3
    return tl.maximum(x, 0.0) + 2.0 * (s + s * q * p)


@triton.jit
def _sigmoid(x):  # type: ignore[no-untyped-def]
    return 1.0 / (1.0 + tl.exp(-x))


@triton.jit(do_not_specialize=["steps", "padded", "slots"])
def _forward(  # type: ignore[no-untyped-def]
    u, delta, z, b, c, a, d, bias, kept, out,
    steps, width, padded, slots,
    u_row, u_step, delta_row, delta_step, z_row, z_step,
    STATES: tl.constexpr, CHUNK: tl.constexpr, BLOCK: tl.constexpr, KEEP: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(width, BLOCK)
    n = (tl.program_id(0) // blocks).to(tl.int64)
    channel = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    own = channel < width
    u += n * u_row + channel
    delta += n * delta_row + channel
    z += n * z_row + channel
    out += n * steps * width + channel
    b += n * STATES * padded
    c += n * STATES * padded
    a += channel
    kept += n * slots * STATES * width + channel
    skip = tl.load(d + channel, mask=own, other=0.0)
    add = tl.load(bias + channel, mask=own, other=0.0)
    for t0 in range(0, steps, CHUNK):
        dt = ()
        into = ()
        y = ()
        for k in tl.static_range(CHUNK):
            inside = own & (t0 + k < steps)
            x = tl.load(u + k * u_step, mask=inside, other=0.0).to(tl.float32)
            raw = tl.load(delta + k * delta_step, mask=inside, other=0.0).to(tl.float32) + add
            step = tl.where(inside, _softplus(raw), 0.0)
            dt = dt + (step,)
            into = into + (step * x,)
            y = y + (skip * x,)
        # The state before this chunk was written after the one before it.
        before = kept - STATES * width if KEEP else kept
        for s in range(STATES):
            rate = tl.load(a + s * width, mask=own, other=0.0)
            h = tl.load(before + s * width, mask=own & (t0 > 0), other=0.0)
            summed = ()
            for k in tl.static_range(CHUNK):
                h = tl.exp2(dt[k] * rate) * h + into[k] * tl.load(b + s * padded + t0 + k)
                summed = summed + (y[k] + h * tl.load(c + s * padded + t0 + k),)
            y = summed
            tl.store(kept + s * width, h, mask=own & (t0 + CHUNK < steps))
        for k in tl.static_range(CHUNK):
            inside = own & (t0 + k < steps)
            gate = tl.load(z + k * z_step, mask=inside, other=0.0).to(tl.float32)
            tl.store(out + k * width, y[k] * gate * _sigmoid(gate), mask=inside)
        tl.debug_barrier()
        u += CHUNK * u_step
        delta += CHUNK * delta_step
        z += CHUNK * z_step
        out += CHUNK * width
        if KEEP:
            kept += STATES * width


@triton.jit(do_not_specialize=["rows", "steps", "padded", "slots"])
def _backward(  # type: ignore[no-untyped-def]
    u, delta, z, b, c, a, d, bias, kept, grad,
    du, ddelta, dz, db, dc, da, reach, dd, dbias,
    rows, steps, width, padded, slots,
    u_row, u_step, delta_row, delta_step, z_row, z_step,
    STATES: tl.constexpr, CHUNK: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    blocks = tl.cdiv(width, BLOCK)
    n = (tl.program_id(0) // blocks).to(tl.int64)
    block = tl.program_id(0) % blocks
    channel = block * BLOCK + tl.arange(0, BLOCK)
    own = channel < width
    # From the last chunk to the first.
    last = (steps - 1) // CHUNK * CHUNK
    u += n * u_row + last.to(tl.int64) * u_step + channel
    delta += n * delta_row + last.to(tl.int64) * delta_step + channel
    z += n * z_row + last.to(tl.int64) * z_step + channel
    here = (n * steps + last) * width
    grad += here + channel
    du += here + channel
    ddelta += here + channel
    dz += here + channel
    b += n * STATES * padded
    c += n * STATES * padded
    partial = (block.to(tl.int64) * rows + n) * STATES * padded
    db += partial
    dc += partial
    a += channel
    kept += (n * slots + (steps - 1) // CHUNK - 1) * STATES * width + channel
    da += n * STATES * width + channel
    reach += n * STATES * width + channel
    skip = tl.load(d + channel, mask=own, other=0.0)
    add = tl.load(bias + channel, mask=own, other=0.0)
    dskip = tl.zeros((BLOCK,), tl.float32)
    dadd = tl.zeros((BLOCK,), tl.float32)
    for back in range(0, steps, CHUNK):
        t0 = last - back
        dt = ()
        into = ()
        y = ()
        gy = ()
        from_state = ()
        from_decay = ()
        for k in tl.static_range(CHUNK):
            inside = own & (t0 + k < steps)
            x = tl.load(u + k * u_step, mask=inside, other=0.0).to(tl.float32)
            raw = tl.load(delta + k * delta_step, mask=inside, other=0.0).to(tl.float32) + add
            step = tl.where(inside, _softplus(raw), 0.0)
            gate = tl.load(z + k * z_step, mask=inside, other=0.0).to(tl.float32)
            g = tl.load(grad + k * width, mask=inside, other=0.0).to(tl.float32)
            dt = dt + (step,)
            into = into + (step * x,)
            y = y + (skip * x,)
            gy = gy + (g * gate * _sigmoid(gate),)
            from_state = from_state + (tl.zeros((BLOCK,), tl.float32),)
            from_decay = from_decay + (tl.zeros((BLOCK,), tl.float32),)
        for s in range(STATES):
            rate = tl.load(a + s * width, mask=own, other=0.0)
            h = tl.load(kept + s * width, mask=own & (t0 > 0), other=0.0)
            dh = tl.load(reach + s * width, mask=own & (back > 0), other=0.0)
            summed_a = tl.load(da + s * width, mask=own & (back > 0), other=0.0)
            at = s * padded + t0
            decay = ()
            was = ()
            bt = ()
            ct = ()
            summed = ()
            for k in tl.static_range(CHUNK):
                bt = bt + (tl.load(b + at + k),)
                ct = ct + (tl.load(c + at + k),)
                decay = decay + (tl.exp2(dt[k] * rate),)
                was = was + (decay[k] * h,)
                h = was[k] + into[k] * bt[k]
                summed = summed + (y[k] + h * ct[k],)
                tl.store(dc + at + k, tl.sum(gy[k] * h))
            y = summed
            states = ()
            decays = ()
            for k in tl.static_range(CHUNK - 1, -1, -1):
                # What reaches a state from its own output and from the states after it.
                through = dh + gy[k] * ct[k]
                tl.store(db + at + k, tl.sum(through * into[k]))
                states = (from_state[k] + through * bt[k],) + states
                dh = through * decay[k]
                through *= was[k]
                decays = (from_decay[k] + through * rate,) + decays
                summed_a += through * dt[k]
            from_state = states
            from_decay = decays
            tl.store(reach + s * width, dh, mask=own)
            tl.store(da + s * width, summed_a, mask=own)
        for k in tl.static_range(CHUNK):
            # Read again, rather than kept in registers.
            inside = own & (t0 + k < steps)
            x = tl.load(u + k * u_step, mask=inside, other=0.0).to(tl.float32)
            raw = tl.load(delta + k * delta_step, mask=inside, other=0.0).to(tl.float32) + add
            gate = tl.load(z + k * z_step, mask=inside, other=0.0).to(tl.float32)
            g = tl.load(grad + k * width, mask=inside, other=0.0).to(tl.float32)
            open = _sigmoid(gate)
            slope = (from_state[k] * x + from_decay[k] * 0.6931471805599453) * _sigmoid(raw)
            slope = tl.where(inside, slope, 0.0)
            tl.store(dz + k * width, g * y[k] * open * (1.0 + gate * (1.0 - open)), mask=inside)
            tl.store(du + k * width, from_state[k] * dt[k] + gy[k] * skip, mask=inside)
            tl.store(ddelta + k * width, slope, mask=inside)
            dskip += gy[k] * x
            dadd += slope
        tl.debug_barrier()
        u -= CHUNK * u_step
        delta -= CHUNK * delta_step
        z -= CHUNK * z_step
        grad -= CHUNK * width
        du -= CHUNK * width
        ddelta -= CHUNK * width
        dz -= CHUNK * width
        kept -= STATES * width
    tl.store(dd + n * width + channel, dskip, mask=own)
    tl.store(dbias + n * width + channel, dadd, mask=own)


@triton.jit
def _convolve(x, weight, bias, t, steps, step, width, own, TAPS: tl.constexpr):  # type: ignore[no-untyped-def]
    """Sum up what steps ``t`` see, before SiLU: ``x`` points to step 0 of the channels."""
    total = tl.load(bias, mask=own, other=0.0)[None, :] + tl.zeros((t.shape[0], own.shape[0]), tl.float32)
    for j in tl.static_range(TAPS):
        at = t - (TAPS - 1) + j
        seen = (at >= 0) & (at < steps)
        value = tl.load(x[None, :] + at.to(tl.int64)[:, None] * step, mask=own[None, :] & seen[:, None], other=0.0)
        total += tl.load(weight + j * width, mask=own, other=0.0)[None, :] * value.to(tl.float32)
    return total


@triton.jit(do_not_specialize=["steps"])
def _conv_forward(  # type: ignore[no-untyped-def]
    x, weight, bias, out, steps, width, row, step,
    TAPS: tl.constexpr, STEPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    blocks, spans = tl.cdiv(width, BLOCK), tl.cdiv(steps, STEPS)
    block = tl.program_id(0) % blocks
    span = tl.program_id(0) // blocks
    n = (span // spans).to(tl.int64)
    channel = block * BLOCK + tl.arange(0, BLOCK)
    own = channel < width
    t = span % spans * STEPS + tl.arange(0, STEPS)
    total = _convolve(x + n * row + channel, weight + channel, bias + channel, t, steps, step, width, own, TAPS)
    place = (n * steps + t)[:, None] * width + channel[None, :]
    tl.store(out + place, total * _sigmoid(total), mask=own[None, :] & (t < steps)[:, None])


@triton.jit(do_not_specialize=["steps"])
def _conv_backward(  # type: ignore[no-untyped-def]
    x, weight, bias, grad, dx, dweight, dbias, steps, width, row, step,
    TAPS: tl.constexpr, STEPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    blocks, spans = tl.cdiv(width, BLOCK), tl.cdiv(steps, STEPS)
    channel = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    span = tl.program_id(0) // blocks
    n = (span // spans).to(tl.int64)
    own = channel < width
    t = span % spans * STEPS + tl.arange(0, STEPS)
    x += n * row + channel
    grad += n * steps * width + channel
    total = tl.zeros((STEPS, BLOCK), tl.float32)
    for j in tl.static_range(TAPS):
        # Step t reaches the sums of itself and of the steps after it.
        at = t + j
        mask = own[None, :] & (at < steps)[:, None]
        reached = _convolve(x, weight + channel, bias + channel, at, steps, step, width, own, TAPS)
        open = _sigmoid(reached)
        g = tl.load(grad[None, :] + at.to(tl.int64)[:, None] * width, mask=mask, other=0.0).to(tl.float32)
        g *= open * (1.0 + reached * (1.0 - open))
        total += tl.load(weight + (TAPS - 1 - j) * width + channel, mask=own, other=0.0)[None, :] * g
        if j == 0:
            partial = span.to(tl.int64) * width + channel
            tl.store(dbias + partial, tl.sum(g, 0), mask=own)
            for i in tl.static_range(TAPS):
                back = t - (TAPS - 1) + i
                seen = own[None, :] & ((back >= 0) & (back < steps))[:, None]
                value = tl.load(x[None, :] + back.to(tl.int64)[:, None] * step, mask=seen, other=0.0).to(tl.float32)
                tl.store(dweight + partial * TAPS + i, tl.sum(g * value, 0), mask=own)
    place = (n * steps + t)[:, None] * width + channel[None, :]
    tl.store(dx + place, total, mask=own[None, :] & (t < steps)[:, None])


def scan(u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor, z: Tensor, bias: Tensor) -> Tensor:
    """Scan, skip and gate: see ``selective_scan``. Each argument may be of a type of its own, but not float64."""
    inputs = (u, delta, z, b, c, a, d, bias)
    keep = torch.is_grad_enabled() and any(value.requires_grad for value in inputs)
    y: Tensor = _Scan.apply(*inputs, keep)  # type: ignore[no-untyped-call]
    return y


def conv(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolve, then SiLU: see ``causal_conv``. Each argument may be of a type of its own, but not float64."""
    y: Tensor = _Conv.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return y


class _Scan(torch.autograd.Function):
    """The scan with softplus, skip and gate."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        u, delta, z, b, c, a, d, bias, keep = inputs
        u, delta, z = (value if value.stride(-1) == 1 else value.contiguous() for value in (u, delta, z))
        (rows, steps, width), states = u.shape, a.shape[1]
        chunks = triton.cdiv(steps, CHUNK)
        # (N, T, S) -> (N, S, P)
        turned = torch.zeros(2, rows, states, chunks * CHUNK, device=u.device)
        turned[0, ..., :steps], turned[1, ..., :steps] = b.transpose(1, 2), c.transpose(1, 2)
        # (D, S) -> (S, D), for an exponential of base 2
        decay = (a.float().t() * math.log2(math.e)).contiguous()
        slots = max(chunks - 1, 1) if keep else 1
        kept = torch.empty(rows, slots, states, width, device=u.device)
        out = torch.empty(u.shape, dtype=u.dtype, device=u.device)
        saved = (u, delta, z, *turned, decay, d.float().contiguous(), bias.float().contiguous(), kept)
        sizes = (steps, width, turned.shape[-1], slots, *_strides(u, delta, z))
        with _on(u.device):
            _forward[(rows * triton.cdiv(width, BLOCK),)](
                *saved, out, *sizes, STATES=states, CHUNK=CHUNK, BLOCK=BLOCK, KEEP=keep, num_warps=WARPS
            )
        ctx.save_for_backward(*saved)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        u, delta, z, b, c, decay, d, bias, kept = ctx.saved_tensors
        (rows, steps, width), (states, padded) = u.shape, b.shape[1:]
        blocks = triton.cdiv(width, BLOCK)
        du, ddelta, dz = (torch.empty(value.shape, dtype=value.dtype, device=value.device) for value in (u, delta, z))
        db, dc = torch.empty(2, blocks, rows, states, padded, device=u.device)
        da, reach = torch.empty(2, rows, states, width, device=u.device)
        dd, dbias = torch.empty(2, rows, width, device=u.device)
        sizes = (rows, steps, width, padded, kept.shape[1], *_strides(u, delta, z))
        with _on(u.device):
            _backward[(rows * blocks,)](
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
        saved = x if x.stride(-1) == 1 else x.contiguous(), weight.float().t().contiguous(), bias.float().contiguous()
        out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        with _on(x.device):
            _conv_forward[_spans(x)](*saved, out, *x.shape[1:], *_strides(saved[0]), TAPS=weight.shape[1], **_CONV)
        ctx.save_for_backward(*saved)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        x, weight, bias = ctx.saved_tensors
        dx = torch.empty(x.shape, dtype=x.dtype, device=x.device)
        spans, (taps, width) = len(x) * triton.cdiv(x.shape[1], CONV_STEPS), weight.shape
        dweight, dbias = weight.new_empty(spans, width, taps), weight.new_empty(spans, width)
        with _on(x.device):
            _conv_backward[_spans(x)](
                *(x, weight, bias, grad.contiguous(), dx, dweight, dbias, *x.shape[1:], *_strides(x)),
                TAPS=taps,
                **_CONV,
            )
        return dx, dweight.sum(0), dbias.sum(0)


_CONV = {"STEPS": CONV_STEPS, "BLOCK": CONV_BLOCK, "num_warps": CONV_WARPS}


def _spans(x: Tensor) -> tuple[int]:
    return (len(x) * triton.cdiv(x.shape[1], CONV_STEPS) * triton.cdiv(x.shape[2], CONV_BLOCK),)


def _strides(*values: Tensor) -> list[int]:
    return [stride for value in values for stride in value.stride()[:2]]


def _on(device: torch.device) -> Any:
    """Triton launches on the current device, not on the tensors'."""
    return torch.cuda.device(device if device.type == "cuda" else -1)
