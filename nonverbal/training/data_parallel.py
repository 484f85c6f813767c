"""Each process holds the whole model; torch's DistributedDataParallel (DDP) sums the gradients of several processes."""

import contextlib
from contextlib import AbstractContextManager
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from nonverbal.training.optimizer import set_rate
from nonverbal.training.strategy import MOMENTS, Start, on_cpu, trained


class DataParallel:
    """The ``Strategy`` for one process, and for several that each hold the whole model."""

    def __init__(self, start: Start, clip_norm: float | None) -> None:
        # Gradients are views of DDP's buckets, so that they need not be copied there and back.
        views = DistributedDataParallelKwargs(gradient_as_bucket_view=True)
        self.accelerator = Accelerator(cpu=not torch.cuda.is_available(), kwargs_handlers=[views])
        self.module, self.clip_norm = start.model.objective, clip_norm
        self.parameters = trained(self.module)
        self.adamw: Any = start.optimizer
        self.model, self.optimizer = self.accelerator.prepare(start.model, start.optimizer)
        for name, parameter in self.parameters.items():
            if f"{MOMENTS[0]}.{name}" in start.moments:
                self.optimizer.state[parameter] = {
                    # On a CPU, moments that were loaded lie in a memory map of their file.
                    **{moment: start.moments[f"{moment}.{name}"].to(parameter.device, copy=True) for moment in MOMENTS},
                    # A fused AdamW keeps its count of updates on the device, one per parameter.
                    "step": torch.tensor(float(start.updates), device=parameter.device),
                }

    def micro_batch(self, last: bool) -> AbstractContextManager[None]:
        if last:
            return contextlib.nullcontext()
        unsynchronised: AbstractContextManager[None] = self.accelerator.no_sync(self.model)
        return unsynchronised

    def backward(self, loss: Tensor) -> None:
        # DDP averages over processes, but the gradient of a step is a sum.
        self.accelerator.backward(loss * self.accelerator.num_processes)

    def update(self, rate: float, step: int) -> Tensor:
        parameters = list(self.parameters.values())
        without = [name for name, parameter in self.parameters.items() if parameter.grad is None]
        assert not without, f"the objective has given no gradient to {', '.join(without)}"
        norm = get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None], foreach=True)
        if self.clip_norm is not None:
            clip_grads_with_norm_(parameters, self.clip_norm, norm, foreach=True)
        set_rate(self.optimizer, rate, step)
        # A fused AdamW changes nothing if found_inf is 1, as GradScaler uses it. Thus the host need not wait for the
        # norm.
        self.adamw.found_inf = norm.isfinite().logical_not_().float()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return norm

    def weights(self, wanted: bool = True) -> dict[str, Tensor]:
        return {name: on_cpu(tensor) for name, tensor in self.module.state_dict().items()} if wanted else {}

    def moments(self, wanted: bool = True) -> dict[str, Tensor]:
        return {
            f"{moment}.{name}": on_cpu(self.optimizer.state[parameter][moment])
            for name, parameter in self.parameters.items()
            if wanted and parameter in self.optimizer.state
            for moment in MOMENTS
        }
