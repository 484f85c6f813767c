"""What is of several networks of one shape, on a first dimension: ``(networks, ...)``."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.func import functional_call, vmap


def called(module: nn.Module, state: dict[str, Tensor], *given: Any) -> Tensor:
    """Return what a module returns for each of several networks, ``(networks, ...)``.

    Args:
        module: any of them, whose own weights are not read.
        state: parameters and buffers by name, ``(networks, ...)`` each.
        given: what it is called with, tensors ``(networks, ...)``, sequences of such, or None.
    """

    def alone(state: dict[str, Tensor], *given: Any) -> Tensor:
        returned: Tensor = functional_call(module, state, given)
        return returned

    returned: Tensor = vmap(alone, in_dims=(0, *(None if value is None else 0 for value in given)))(state, *given)
    return returned


def only(values: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return, of values ``(1, ...)``, those of the one network."""
    return tuple(value[0] for value in values)


def stacked(values: Sequence[np.ndarray]) -> np.ndarray:
    """Return ``(networks, ...)``, of one network without a copy."""
    return values[0][None] if len(values) == 1 else np.stack(values)


def filled(values: np.ndarray, length: int, value: Any) -> np.ndarray:
    """Return values and, after them, so many of one value that they are ``length``; themselves where they are."""
    if len(values) == length:
        return values
    return np.concatenate([values, np.full(length - len(values), value, values.dtype)])
