"""Values of several networks of the same shape, stacked on a first dimension: ``(networks, ...)``."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.func import functional_call, vmap


def called(module: nn.Module, state: dict[str, Tensor], *given: Any) -> Tensor:
    """Return the output of a module for each of several networks, ``(networks, ...)``.

    Args:
        module: any of the networks; its own weights are not used.
        state: parameters and buffers by name, ``(networks, ...)`` each.
        given: its inputs: tensors ``(networks, ...)``, sequences of such, or None.
    """

    def alone(state: dict[str, Tensor], *given: Any) -> Tensor:
        returned: Tensor = functional_call(module, state, given)
        return returned

    returned: Tensor = vmap(alone, in_dims=(0, *(None if value is None else 0 for value in given)))(state, *given)
    return returned


def only(values: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return from values ``(1, ...)`` those of the single network."""
    return tuple(value[0] for value in values)


def stacked(values: Sequence[np.ndarray]) -> np.ndarray:
    """Return ``(networks, ...)``; for a single network without a copy."""
    return values[0][None] if len(values) == 1 else np.stack(values)


def filled(values: np.ndarray, length: int, value: Any) -> np.ndarray:
    """Return values followed by repeats of one value up to ``length``; unchanged if they are that long."""
    if len(values) == length:
        return values
    return np.concatenate([values, np.full(length - len(values), value, values.dtype)])
