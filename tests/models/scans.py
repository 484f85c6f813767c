"""The selective scan and its convolution by their definitions, and what tests compare with them."""

import torch
import torch.nn.functional as F

NAMES = ("u", "delta", "a", "b", "c", "d", "z", "bias")


def in_sequence(u, delta, a, b, c, d, z, bias):
    """The definition, one step after another."""
    dt = F.softplus(delta + bias)
    state = u.new_zeros(len(u), *a.shape)
    outputs = [u[:, :0]]
    for t in range(u.shape[1]):
        decay = torch.exp(dt[:, t, :, None] * a)
        state = decay * state + (dt[:, t] * u[:, t])[:, :, None] * b[:, t, None, :]
        outputs.append(((state * c[:, t, None, :]).sum(-1) + d * u[:, t])[:, None])
    return torch.cat(outputs, 1) * F.silu(z)


def convolution(x, weight, bias):
    """The definition, one step after another."""
    width = weight.shape[1]
    padded = F.pad(x, (0, 0, width - 1, 0))
    sums = [(padded[:, t : t + width] * weight.t()).sum(1, keepdim=True) for t in range(x.shape[1])]
    return F.silu(torch.cat([x[:, :0], *sums], 1) + bias)


def drawn(rows, steps, width, states, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype)

    decay = -torch.arange(1, states + 1, dtype=dtype) * (1 + 0.1 * normal(width, states).abs())
    u, z = normal(2, rows, steps, width)
    b, c = normal(2, rows, steps, states)
    inputs = [u, normal(rows, steps, width) - 2, decay, b, c, normal(width), z, 0.3 * normal(width)]
    return [value.requires_grad_() for value in inputs]


def with_gradients(function, inputs):
    output = function(*inputs)
    # The same numbers in every type.
    direction = torch.randn(output.shape, generator=torch.Generator().manual_seed(1)).bfloat16().to(output.dtype)
    return [output, *torch.autograd.grad(output, inputs, direction)]


def assert_close(found, expected, tolerance):
    """To within the tolerance, over the largest magnitude."""
    for name, ours, theirs in zip(("output", *NAMES), found, expected, strict=False):
        assert ours.shape == theirs.shape
        if theirs.numel():
            error = (ours - theirs).abs().max() / theirs.abs().max().clamp(min=1e-3)
            assert error < tolerance, f"{name}: {error:.1e}"
