"""What tests of functions with backward passes by hand share."""

import torch


def drawn(*shape):
    return torch.randn(*shape, dtype=torch.double, requires_grad=True)


def assert_same(ours, theirs, inputs):
    """The same values, and the same gradients for a random gradient of the output."""
    assert torch.allclose(ours, theirs, atol=1e-9)
    direction = torch.randn_like(ours)
    gradients = (torch.autograd.grad(y, inputs, direction) for y in (ours, theirs))
    assert all(torch.allclose(a, b, atol=1e-9) for a, b in zip(*gradients, strict=True))
