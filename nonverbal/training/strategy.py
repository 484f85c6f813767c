"""What the training loop requires of a parallel strategy (DDP or ZeRO), and what the strategies share.

With every strategy, the gradient of a step is the sum over its micro-batches on all processes, a parameter without a
gradient counts as one with a gradient of zero, and weights and moments are returned in float32 by parameter name.
Therefore a run can be continued with another strategy.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from nonverbal.batch import Batch, Loss
from nonverbal.errors import UserError
from nonverbal.objectives.base import Objective

MOMENTS = ("exp_avg", "exp_avg_sq")
"""AdamW's moments, by torch's names: running means of the gradient and of its square."""


class Strategy(Protocol):
    """What the training loop needs. All processes call each method together."""

    model: nn.Module
    """Called with a batch, it returns the loss."""

    def micro_batch(self, last: bool) -> AbstractContextManager[None]:
        """Enclose the forward and backward pass of a micro-batch; ``last`` says that it is this process's last one."""

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of ``loss``, which the caller has divided by the step's number of targets."""

    def update(self, rate: float, step: int) -> Tensor:
        """Apply and clear the gradient of ``step`` at learning rate ``rate``.

        Returns the norm of the gradient before clipping, a scalar on the device on which it was computed. A gradient
        that is not finite is cleared without being applied.
        """

    def weights(self, wanted: bool = True) -> dict[str, Tensor]:
        """Return all weights, gathered from all processes, in float32, on the CPU; nothing unless ``wanted``."""

    def moments(self, wanted: bool = True) -> dict[str, Tensor]:
        """Return the optimizer's moments as ``MOMENT.NAME`` -> tensor, in the same way."""


class Autocast(nn.Module):
    """Calls an objective with matrix products in bfloat16.

    Autocast must be switched on inside the model, because DeepSpeed switches it off around the model.
    """

    def __init__(self, objective: Objective, device: str, enabled: bool) -> None:
        super().__init__()
        self.objective, self.device, self.enabled = objective, device, enabled

    def forward(self, batch: Batch) -> Loss:
        """Return the objective's loss."""
        with torch.autocast(self.device, torch.bfloat16, enabled=self.enabled):
            loss: Loss = self.objective(batch)
            return loss


@dataclass(frozen=True)
class Start:
    """The state from which a strategy starts."""

    model: Autocast
    optimizer: torch.optim.Optimizer
    moments: Mapping[str, Tensor]
    """The optimizer's moments, as ``Strategy.moments`` returns them; empty before the first update."""
    updates: int
    """Number of updates that the optimizer has made."""


def check_buffers(module: nn.Module) -> None:
    """Refuse a model with state that training changes without a gradient, such as the running statistics of BatchNorm.

    Each process would compute this state from its own micro-batches, so the model would depend on their number.

    Raises:
        UserError: names the state.
    """
    kept = sorted(module.state_dict().keys() - dict(module.named_parameters(remove_duplicate=False)).keys())
    if kept:
        raise UserError(
            f"training would change {len(kept)} values of the model without a gradient, and differently on another "
            f"number of processes: {', '.join(kept[:4])}; pretrain a model without them (for example with LayerNorm)"
        )


def trained(module: nn.Module) -> dict[str, nn.Parameter]:
    """Return the trainable parameters by name."""
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}


def on_cpu(tensor: Tensor) -> Tensor:
    """Return a contiguous copy or view on the CPU, which can be written to a file."""
    return tensor.detach().cpu().contiguous()
