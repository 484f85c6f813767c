"""The kernels of ``triton_scan.py``.

A program processes one row and a block of channels, spread over the lanes of a warp. It keeps a chunk of steps in
registers while it loops over the states. So only the state before each chunk is stored, and sums over states never
leave the registers. Sums over channels or rows are written as partial sums, which torch adds up in a fixed order, so
that the same inputs give bitwise the same results. Everything is computed in float32.

Shapes: N rows, T steps, D channels, S states; P, T rounded up to whole chunks. Arguments ``(N, T, D)`` may have any
strides for rows and steps; their channels are contiguous. Offsets of rows are int64.
"""

# mypy: disable-error-code="import-untyped, import-not-found, no-untyped-def, untyped-decorator, assignment"
# ruff: noqa: RUF005  (Triton concatenates tuples with +, and does not know *)

try:  # transformers does not require packages that are imported inside a try
    import triton
    import triton.language as tl
except ImportError as error:
    raise ImportError(f"Triton, which comes with torch for CUDA, cannot be imported: {error}") from error


@triton.jit
def _softplus(x):
    # log(1 + e) = 2 artanh(e / (2 + e)) for 0 <= e <= 1; a logarithm of 1 + e would lose small step sizes.
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
        # The state before this chunk was stored at the end of the previous chunk.
        before = kept - STATES * width if KEEP else kept
        h_next = tl.load(before, mask=own & (t0 > 0), other=0.0)
        for s in range(STATES):
            rate = tl.load(a + s * width, mask=own, other=0.0)
            h = h_next
            # Load the next state while this one is computed.
            h_next = tl.load(before + (s + 1) * width, mask=own & (t0 > 0) & (s + 1 < STATES), other=0.0)
            summed = ()
            for k in tl.static_range(CHUNK):
                h = tl.exp2(dt[k] * rate) * h + into[k] * tl.load(b + s * padded + t0 + k)
                summed = summed + (y[k] + h * tl.load(c + s * padded + t0 + k),)
            y = summed
            tl.store(kept + s * width, h, mask=own & (t0 + CHUNK < steps))
        gated = ()
        for k in tl.static_range(CHUNK):
            gate = tl.load(z + k * z_step, mask=own & (t0 + k < steps), other=0.0).to(tl.float32)
            gated = gated + (y[k] * gate * _sigmoid(gate),)
        for k in tl.static_range(CHUNK):
            tl.store(out + k * width, gated[k], mask=own & (t0 + k < steps))
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
        h_next = tl.load(kept, mask=own & (t0 > 0), other=0.0)
        dh_next = tl.load(reach, mask=own & (back > 0), other=0.0)
        for s in range(STATES):
            rate = tl.load(a + s * width, mask=own, other=0.0)
            h = h_next
            dh = dh_next
            h_next = tl.load(kept + (s + 1) * width, mask=own & (t0 > 0) & (s + 1 < STATES), other=0.0)
            dh_next = tl.load(reach + (s + 1) * width, mask=own & (back > 0) & (s + 1 < STATES), other=0.0)
            summed_a = tl.load(da + s * width, mask=own & (back > 0), other=0.0)
            at = s * padded + t0
            bt = ()
            ct = ()
            # All loads come before the first store, because the compiler moves no load past a store.
            for k in tl.static_range(CHUNK):
                bt = bt + (tl.load(b + at + k),)
                ct = ct + (tl.load(c + at + k),)
            decay = ()
            was = ()
            summed = ()
            for k in tl.static_range(CHUNK):
                decay = decay + (tl.exp2(dt[k] * rate),)
                was = was + (decay[k] * h,)
                h = was[k] + into[k] * bt[k]
                summed = summed + (y[k] + h * ct[k],)
                tl.store(dc + at + k, tl.sum(gy[k] * h))
            y = summed
            states = ()
            decays = ()
            for k in tl.static_range(CHUNK - 1, -1, -1):
                # Gradient of a state: from its own output and from the states after it.
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
        slopes = ()
        opened = ()
        for k in tl.static_range(CHUNK):
            # Read again rather than kept in registers.
            inside = own & (t0 + k < steps)
            x = tl.load(u + k * u_step, mask=inside, other=0.0).to(tl.float32)
            raw = tl.load(delta + k * delta_step, mask=inside, other=0.0).to(tl.float32) + add
            gate = tl.load(z + k * z_step, mask=inside, other=0.0).to(tl.float32)
            g = tl.load(grad + k * width, mask=inside, other=0.0).to(tl.float32)
            open = _sigmoid(gate)
            opened = opened + (g * y[k] * open * (1.0 + gate * (1.0 - open)),)
            slope = (from_state[k] * x + from_decay[k] * 0.6931471805599453) * _sigmoid(raw)
            slopes = slopes + (tl.where(inside, slope, 0.0),)
            dskip += gy[k] * x
            dadd += slopes[k]
        for k in tl.static_range(CHUNK):
            inside = own & (t0 + k < steps)
            tl.store(du + k * width, from_state[k] * dt[k] + gy[k] * skip, mask=inside)
            tl.store(ddelta + k * width, slopes[k], mask=inside)
            tl.store(dz + k * width, opened[k], mask=inside)
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
def _rows(x, t, steps, step, own, COUNT: tl.constexpr):
    """Read ``COUNT`` steps from ``t`` of the channels that ``x`` points to; zeros for steps outside the row."""
    rows = ()
    x += t.to(tl.int64) * step
    for k in tl.static_range(COUNT):
        rows = rows + (tl.load(x + k * step, mask=own & (t + k >= 0) & (t + k < steps), other=0.0).to(tl.float32),)
    return rows


@triton.jit
def _taps(weight, width, own, TAPS: tl.constexpr):
    taps = ()
    for j in tl.static_range(TAPS):
        taps = taps + (tl.load(weight + j * width, mask=own, other=0.0),)
    return taps


@triton.jit(do_not_specialize=["steps"])
def conv_forward(
    x, weight, bias, out, steps, width, row, step,
    TAPS: tl.constexpr, STEPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Computes ``STEPS`` steps of a block of channels in registers."""
    blocks, spans = tl.cdiv(width, BLOCK), tl.cdiv(steps, STEPS)
    channel = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    span = tl.program_id(0) // blocks
    n = (span // spans).to(tl.int64)
    t = span % spans * STEPS
    own = channel < width
    taps = _taps(weight + channel, width, own, TAPS)
    add = tl.load(bias + channel, mask=own, other=0.0)
    seen = _rows(x + n * row + channel, t - (TAPS - 1), steps, step, own, STEPS + TAPS - 1)
    out += (n * steps + t) * width + channel
    for k in tl.static_range(STEPS):
        total = add
        for j in tl.static_range(TAPS):
            total += taps[j] * seen[k + j]
        tl.store(out + k * width, total * _sigmoid(total), mask=own & (t + k < steps))


@triton.jit(do_not_specialize=["steps"])
def conv_backward(
    x, weight, bias, grad, dx, dweight, dbias, steps, width, row, step,
    TAPS: tl.constexpr, STEPS: tl.constexpr, TILES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Computes ``TILES`` x ``STEPS`` steps. Partial sums: ``dweight (N x spans, W, D)``, ``dbias (N x spans, D)``."""
    blocks, spans = tl.cdiv(width, BLOCK), tl.cdiv(steps, STEPS * TILES)
    channel = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    span = (tl.program_id(0) // blocks).to(tl.int64)
    n = span // spans
    own = channel < width
    x += n * row + channel
    grad += n * steps * width + channel
    dx += n * steps * width + channel
    taps = _taps(weight + channel, width, own, TAPS)
    add = tl.load(bias + channel, mask=own, other=0.0)
    sum_bias = tl.zeros((BLOCK,), tl.float32)
    sums = ()
    for _ in tl.static_range(TAPS):
        sums = sums + (tl.zeros((BLOCK,), tl.float32),)
    for tile in range(TILES):
        t = ((span % spans) * TILES + tile) * STEPS
        # A step contributes to its own sum and to those of the steps after it.
        seen = _rows(x, t - (TAPS - 1), steps, step, own, STEPS + 2 * (TAPS - 1))
        given = _rows(grad, t, steps, width, own, STEPS + TAPS - 1)
        reach = ()
        for k in tl.static_range(STEPS + TAPS - 1):
            total = add
            for j in tl.static_range(TAPS):
                total += taps[j] * seen[k + j]
            open = _sigmoid(total)
            reach = reach + (given[k] * open * (1.0 + total * (1.0 - open)),)
        for k in tl.static_range(STEPS):
            sum_bias += reach[k]
            back = tl.zeros((BLOCK,), tl.float32)
            for j in tl.static_range(TAPS):
                back += taps[TAPS - 1 - j] * reach[k + j]
            tl.store(dx + (t + k) * width, back, mask=own & (t + k < steps))
        summed = ()
        for j in tl.static_range(TAPS):
            total = sums[j]
            for k in tl.static_range(STEPS):
                total += reach[k] * seen[k + j]
            summed = summed + (total,)
        sums = summed
    tl.store(dbias + span * width + channel, sum_bias, mask=own)
    for j in tl.static_range(TAPS):
        tl.store(dweight + (span * TAPS + j) * width + channel, sums[j], mask=own)
