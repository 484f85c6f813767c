"""RENO's convolutional block, and its first step as one operation.

Most of the time of a fusion is spent in this block. PyTorch's convolution, max-pool and ReLU over one channel of some
thousand values pass over 32 times as many values five times forward and six times backward.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_max_pool1d, conv1d, pad, relu

FILTERS = (32, 64)
KERNEL = 3


class ConvolutionalBlock(nn.Module):
    """Two convolutions over the values of an encoder, with ReLU and max-pool after each."""

    def __init__(self, length: int) -> None:
        """Make the layers; the second max-pool leaves ``length`` positions."""
        super().__init__()
        self.length = length
        self.first = nn.Conv1d(1, FILTERS[0], KERNEL, padding="same")
        self.second = nn.Conv1d(*FILTERS, KERNEL, padding="same")

    def forward(self, values: Tensor) -> Tensor:
        """Return ``(clips, 64, length)`` from values ``(clips, dim)``, at least 2 per clip, which get no gradient."""
        halved = convolved_and_halved(values, self.first)
        # Applying ReLU before or after the maximum gives the same result.
        return relu(adaptive_max_pool1d(self.second(halved), self.length))


def convolved_and_halved(values: Tensor, convolution: nn.Conv1d) -> Tensor:
    """Return ``relu(max_pool1d(convolution(values[:, None]), 2))``, ``(clips, filters, dim // 2)``.

    Args:
        values: ``(clips, dim)``; they get no gradient.
        convolution: has one input channel and a kernel of 3, and keeps the number of values.
    """
    assert convolution.bias is not None
    halved: Tensor = _ConvolvedAndHalved.apply(values, convolution.weight, convolution.bias)[0]  # type: ignore[no-untyped-call]
    return halved


class _ConvolvedAndHalved(torch.autograd.Function):
    """Values 2i and 2i + 1 of the convolution are computed separately, so that the larger is taken without a copy."""

    generate_vmap_rule = True

    @staticmethod
    def forward(values: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Return the larger values, and where the second of two was the larger, both ``(clips, filters, dim // 2)``."""
        padded, half = pad(values[:, None], (1, 1)), values.shape[1] // 2
        first = conv1d(padded[..., :-1], weight, stride=2)[..., :half]
        second = conv1d(padded[..., 1:], weight, stride=2)[..., :half]
        return relu(torch.maximum(first, second) + bias[:, None]), second > first

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
        """Save what the gradient needs."""
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(inputs[0], *output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[None, Tensor, Tensor]:
        """Return the gradients of weight and bias.

        Value 2i reads the window of i from its first value, value 2i + 1 from its second.
        """
        values, left, second = ctx.saved_tensors
        gradient = gradient * (left > 0)
        windows = pad(values, (1, 1)).unfold(1, KERNEL + 1, 2)[:, : left.shape[2]]  # (clips, dim // 2, 4)
        own = torch.cat([windows[..., :-1], torch.ones_like(windows[..., :1])], dim=2)
        of_both = (gradient @ own).sum(dim=0)  # (filters, 4)
        of_second = ((gradient * second) @ (windows[..., 1:] - windows[..., :-1])).sum(dim=0)
        return None, (of_both[:, :KERNEL] + of_second)[:, None], of_both[:, KERNEL]
