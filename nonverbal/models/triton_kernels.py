"""The kernels of ``triton_scan.py``.

A program works on one row and a block of channels, which lie across the lanes of a warp. A chunk of steps lies in
registers while the states are gone through one after another, so no state is kept but the one before each chunk, and
nothing that is summed over states leaves the registers. What is summed over channels or rows is written as partial
sums, which torch adds up in a fixed order: the same inputs give the same bits. Everything is float32 inside.

Shapes: N rows, T steps, D channels, S states; P, T filled up to whole chunks. Arrays ``(N, T, D)`` have strides of
their own for rows and steps where they are arguments, and none between channels. Offsets of rows are int64.
"""

# mypy: disable-error-code="import-untyped, import-not-found, no-untyped-def, untyped-decorator, assignment"
# ruff: noqa: RUF005  (Triton adds tuples up, and has no stars)

try:  # transformers asks for nothing that is imported inside of a try
    import triton
    import triton.language as tl
except ImportError as error:
    raise ImportError(f"Triton, which torch for CUDA brings along, cannot be imported: {error}") from error


@triton.jit
def _softplus(x):
    # log(1 + e) = 2 artanh(e / (2 + e)) for 0 <= e <= 1: a logarithm of 1 + e loses small step sizes.
    e = tl.exp2(-1.4426950408889634 * tl.abs(x))
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
def _sigmoid(x):
    return 1.0 / (1.0 + tl.exp2(-1.4426950408889634 * x))


@triton.jit(do_not_specialize=["steps", "padded", "slots"])
def scan_forward(
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
def scan_backward(
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
def _at(x, t, steps, step, own):
    """Read steps ``t`` of the channels ``x`` points to, ``(steps, channels)``; zeros where there is no such step."""
    mask = own[None, :] & ((t >= 0) & (t < steps))[:, None]
    return tl.load(x[None, :] + t.to(tl.int64)[:, None] * step, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _convolve(x, weight, bias, t, steps, step, width, own, TAPS: tl.constexpr):
    """Sum up what steps ``t`` see, before SiLU."""
    total = tl.load(bias, mask=own, other=0.0)[None, :]
    for j in tl.static_range(TAPS):
        seen = _at(x, t - (TAPS - 1) + j, steps, step, own)
        total = total + tl.load(weight + j * width, mask=own, other=0.0)[None, :] * seen
    return total


@triton.jit(do_not_specialize=["steps"])
def conv_forward(
    x, weight, bias, out, steps, width, row, step,
    TAPS: tl.constexpr, STEPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    blocks, spans = tl.cdiv(width, BLOCK), tl.cdiv(steps, STEPS)
    block = tl.program_id(0) % blocks
    span = tl.program_id(0) // blocks
    n = (span // spans).to(tl.int64)
    channel = block * BLOCK + tl.arange(0, BLOCK)
    own = channel < width
    t = (span % spans).to(tl.int64) * STEPS + tl.arange(0, STEPS)
    total = _convolve(x + n * row + channel, weight + channel, bias + channel, t, steps, step, width, own, TAPS)
    place = (n * steps + t)[:, None] * width + channel[None, :]
    tl.store(out + place, total * _sigmoid(total), mask=own[None, :] & (t < steps)[:, None])


@triton.jit(do_not_specialize=["steps"])
def conv_backward(
    x, weight, bias, grad, dx, dweight, dbias, steps, width, row, step,
    TAPS: tl.constexpr, STEPS: tl.constexpr, TILES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Gradients: ``dweight`` and ``dbias`` are partial sums, ``(N x spans, W, D)`` and ``(N x spans, D)``."""
    blocks, spans = tl.cdiv(width, BLOCK), tl.cdiv(steps, STEPS * TILES)
    channel = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    span = (tl.program_id(0) // blocks).to(tl.int64)
    own = channel < width
    n = span // spans
    x += n * row + channel
    grad += n * steps * width + channel
    dx += n * steps * width + channel
    weight += channel
    bias += channel
    sum_bias = tl.zeros((BLOCK,), tl.float32)
    sums = ()
    for _ in tl.static_range(TAPS):
        sums = sums + (tl.zeros((BLOCK,), tl.float32),)
    for tile in range(TILES):
        t = (span % spans * TILES + tile) * STEPS + tl.arange(0, STEPS)
        total = tl.zeros((STEPS, BLOCK), tl.float32)
        for j in tl.static_range(TAPS):
            # A step reaches the sums of itself and of the steps after it.
            reached = _convolve(x, weight, bias, t + j, steps, step, width, own, TAPS)
            g = _at(grad, t + j, steps, width, own)
            open = _sigmoid(reached)
            g *= open * (1.0 + reached * (1.0 - open))
            total += tl.load(weight + (TAPS - 1 - j) * width, mask=own, other=0.0)[None, :] * g
            if j == 0:
                sum_bias += tl.sum(g, 0)
                summed = ()
                for i in tl.static_range(TAPS):
                    summed = summed + (sums[i] + tl.sum(g * _at(x, t - (TAPS - 1) + i, steps, step, own), 0),)
                sums = summed
        tl.store(dx[None, :] + t[:, None] * width, total, mask=own[None, :] & (t < steps)[:, None])
    tl.store(dbias + span * width + channel, sum_bias, mask=own)
    for i in tl.static_range(TAPS):
        tl.store(dweight + (span * TAPS + i) * width + channel, sums[i], mask=own)
