import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.functional import max_pool1d, relu

from nonverbal.evaluation.heads.convolution import ConvolutionalBlock, convolved_and_halved


def plain(values: Tensor, convolution: nn.Conv1d) -> Tensor:
    return relu(max_pool1d(convolution(values[:, None]), 2))


def made(clips: int, dim: int) -> tuple[Tensor, nn.Conv1d]:
    random = torch.Generator().manual_seed(dim)
    convolution = nn.Conv1d(1, 5, 3, padding="same", dtype=torch.float64)
    for value in convolution.parameters():
        value.data = torch.randn(value.shape, generator=random, dtype=torch.float64)
    return torch.randn(clips, dim, generator=random, dtype=torch.float64), convolution


@pytest.mark.parametrize("dim", [2, 3, 8, 13, 400])
def test_value_and_gradients_are_those_of_pytorchs_operations(dim: int) -> None:
    values, convolution = made(4, dim)
    ours, theirs = convolved_and_halved(values, convolution), plain(values, convolution)
    assert ours.shape == (4, 5, dim // 2)
    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)
    weights = list(convolution.parameters())
    given = torch.randn(ours.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for own, expected in zip(
        torch.autograd.grad(ours, weights, given), torch.autograd.grad(theirs, weights, given), strict=True
    ):
        torch.testing.assert_close(own, expected, atol=1e-11, rtol=0)


def test_several_networks_at_once_are_as_each_alone() -> None:
    block = ConvolutionalBlock(3)
    random = torch.Generator().manual_seed(1)
    state = {name: torch.randn(2, *value.shape, generator=random) for name, value in block.named_parameters()}
    values = torch.randn(2, 6, 11, generator=random)

    def loss(state: dict[str, Tensor], values: Tensor) -> Tensor:
        found: Tensor = functional_call(block, state, (values,)).square().sum()
        return found

    for value in state.values():
        value.requires_grad_()
    together = torch.autograd.grad(vmap(loss)(state, values).sum(), list(state.values()))
    for number in range(2):
        own = {name: value[number].detach().requires_grad_() for name, value in state.items()}
        alone = torch.autograd.grad(loss(own, values[number]), list(own.values()))
        for one, other in zip(together, alone, strict=True):
            torch.testing.assert_close(one[number], other, atol=1e-3, rtol=1e-4)
