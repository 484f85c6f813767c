"""How a model is spread over processes: whole in each, or divided among them by DeepSpeed's ZeRO.

Either way a step's gradient is the sum over its micro-batches on all processes, parameters without a gradient count as
zero, and weights and moments come out in float32 by parameter name: a run goes on under another strategy.
"""

import contextlib
import itertools
import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.distributed
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from nonverbal.batch import Batch, Loss
from nonverbal.errors import UserError
from nonverbal.objectives.base import Objective
from nonverbal.training.optimizer import set_rate
from nonverbal.training.settings import TrainerSettings

MOMENTS = ("exp_avg", "exp_avg_sq")
"""AdamW's, as torch calls them: running means of the gradient and of its square."""


BUCKET_VALUES = 50_000_000
"""Values that DeepSpeed reduces or gathers at once: 200 MB in float32. Its own 5e8 would take 2 GB, more than ZeRO
saves on a model of the usual size."""

BUCKETS = {
    1: ("reduce_bucket_size", "allgather_bucket_size"),
    2: ("reduce_bucket_size", "allgather_bucket_size"),
    3: ("reduce_bucket_size", "stage3_prefetch_bucket_size"),
}
"""Settings of DeepSpeed that are such numbers, by stage."""


class Strategy(Protocol):
    """What the training loop asks of it. All processes call each method, together."""

    model: nn.Module
    """What is called with a batch."""

    def micro_batch(self, last: bool) -> AbstractContextManager[None]:
        """Enclose the forward and backward pass of a micro-batch; ``last`` is this process's last of the step."""

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of ``loss``, which is divided by the step's number of targets and by nothing else."""

    def update(self, rate: float, step: int) -> Tensor:
        """Apply and clear the gradient of ``step`` at learning rate ``rate``.

        Returns its norm before clipping, a scalar where it was computed. A gradient that is not finite is cleared only.
        """

    def weights(self, wanted: bool = True) -> dict[str, Tensor]:
        """Return all weights, whole, in float32, on the CPU; nothing where not ``wanted``, on that process."""

    def moments(self, wanted: bool = True) -> dict[str, Tensor]:
        """Return the optimizer's moments as ``MOMENT.NAME`` -> tensor, in the same way."""


@dataclass(frozen=True)
class Start:
    """What is spread."""

    model: "Autocast"
    optimizer: torch.optim.Optimizer
    moments: Mapping[str, Tensor]
    """The optimizer's, as ``Strategy.moments`` returns them; empty before the first update."""
    updates: int
    """That the optimizer has made."""


class Whole:
    """The whole model in each process; DistributedDataParallel adds up the gradients of several."""

    def __init__(self, start: Start, clip_norm: float | None) -> None:
        # Gradients lie where they are added up, instead of being copied there and back.
        views = DistributedDataParallelKwargs(gradient_as_bucket_view=True)
        self.accelerator = Accelerator(cpu=not torch.cuda.is_available(), kwargs_handlers=[views])
        self.module, self.clip_norm = start.model.objective, clip_norm
        self.parameters = trained(self.module)
        self.adamw: Any = start.optimizer
        self.model, self.optimizer = self.accelerator.prepare(start.model, start.optimizer)
        for name, parameter in self.parameters.items():
            if f"{MOMENTS[0]}.{name}" in start.moments:
                self.optimizer.state[parameter] = {
                    **{moment: start.moments[f"{moment}.{name}"].to(parameter.device, copy=True) for moment in MOMENTS},
                    # A fused AdamW keeps its count of updates on the device, one a parameter.
                    "step": torch.tensor(float(start.updates), device=parameter.device),
                }

    def micro_batch(self, last: bool) -> AbstractContextManager[None]:
        if last:
            return contextlib.nullcontext()
        unsynchronised: AbstractContextManager[None] = self.accelerator.no_sync(self.model)
        return unsynchronised

    def backward(self, loss: Tensor) -> None:
        # DDP averages over processes, and a step's gradient is a sum.
        self.accelerator.backward(loss * self.accelerator.num_processes)

    def update(self, rate: float, step: int) -> Tensor:
        parameters = list(self.parameters.values())
        without = [name for name, parameter in self.parameters.items() if parameter.grad is None]
        assert not without, f"the objective has given no gradient to {', '.join(without)}"
        norm = get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None], foreach=True)
        if self.clip_norm is not None:
            clip_grads_with_norm_(parameters, self.clip_norm, norm, foreach=True)
        set_rate(self.optimizer, rate, step)
        # What GradScaler tells a fused AdamW: with 1 it leaves everything as it is. The host need not know the norm.
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


class Divided:
    """DeepSpeed's ZeRO (Rajbhandari et al., 2020): 1 divides the optimizer, 2 gradients too, 3 weights too.

    Weights, gradients and optimizer stay in float32. DeepSpeed's own loss scaling, batch counting and checkpoints are
    not used.
    """

    def __init__(self, start: Start, clip_norm: float | None, stage: int, offload: bool) -> None:
        deepspeed = _deepspeed()
        self.stage = stage
        self.module, self.parameters = start.model.objective, trained(start.model.objective)
        # Stage 3 divides what is not trained too, and has no whole copy of it. It never changes.
        self.frozen = _frozen(self.module) if stage == 3 else {}
        with _quiet():
            self.engine, *_ = deepspeed.initialize(
                model=start.model,
                optimizer=start.optimizer,
                config=_deepspeed_config(stage, offload, clip_norm),
                dist_init_required=False,
            )
        self.model = self.engine
        self._restore(start.moments, start.updates)

    def micro_batch(self, last: bool) -> AbstractContextManager[None]:
        self.engine.set_gradient_accumulation_boundary(last)
        return contextlib.nullcontext()

    def backward(self, loss: Tensor) -> None:
        # DeepSpeed averages over processes, and a step's gradient is a sum.
        self.engine.backward(loss * torch.distributed.get_world_size())

    def update(self, rate: float, step: int) -> Tensor:
        set_rate(self._optimizer, rate, step)
        # Waits for the device: DeepSpeed looks itself whether the norm is finite.
        self.engine.step()
        norm = float(self.engine.get_global_grad_norm())
        # DeepSpeed says -1 where a part of the norm is not finite.
        return torch.tensor(norm if self.engine.was_step_applied() else math.inf)

    def weights(self, wanted: bool = True) -> dict[str, Tensor]:
        from deepspeed.utils import safe_get_full_fp32_param

        whole = ((name, safe_get_full_fp32_param(parameter)) for name, parameter in self.parameters.items())
        return _kept(wanted, itertools.chain(self.module.state_dict().items(), self.frozen.items(), whole))

    def moments(self, wanted: bool = True) -> dict[str, Tensor]:
        from deepspeed.utils import safe_get_full_optimizer_state

        whole = (
            (f"{moment}.{name}", safe_get_full_optimizer_state(parameter, moment))
            for name, parameter in self.parameters.items()
            for moment in MOMENTS
        )
        return _kept(wanted, whole)

    @property
    def _optimizer(self) -> torch.optim.Optimizer:
        """The optimizer over this process's part."""
        optimizer: torch.optim.Optimizer = self.engine.optimizer.optimizer
        return optimizer

    def _restore(self, moments: Mapping[str, Tensor], updates: int) -> None:
        from deepspeed.utils import safe_set_full_optimizer_state

        zero = self.engine.optimizer
        # DeepSpeed has no moments before the first update.
        divided = zero.fp32_partitioned_groups_flat if self.stage == 3 else zero.single_partition_of_fp32_groups
        for part in divided:
            self._optimizer.state[part] = {moment: torch.zeros_like(part) for moment in MOMENTS} | {
                "step": torch.tensor(float(updates), device=part.device)
            }
        if self.stage < 3:
            zero._lazy_init_hp_params_optimizer_state()
        for name, parameter in self.parameters.items():
            for moment in MOMENTS:
                if f"{moment}.{name}" in moments:
                    safe_set_full_optimizer_state(parameter, moments[f"{moment}.{name}"], moment)


def _frozen(module: nn.Module) -> dict[str, Tensor]:
    """Return a copy of the parameters that are not trained, in main memory."""
    return {
        name: value.detach().to("cpu", copy=True)
        for name, value in module.named_parameters()
        if not value.requires_grad
    }


def spread(
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    settings: TrainerSettings,
    device: torch.device,
    moments: Mapping[str, Tensor],
    updates: int,
) -> Strategy:
    """Bring an objective to ``device`` and spread it over the processes, as the settings say.

    Args:
        objective: with the weights to begin with.
        optimizer: over its parameters.
        settings: of the run, with a precision that is chosen.
        device: of this process.
        moments: as in ``Start``.
        updates: as in ``Start``.
    """
    model = Autocast(objective, device.type, settings.precision == "bf16").to(device).train()
    start = Start(model, optimizer, moments, updates)
    if settings.zero:
        return Divided(start, settings.optimizer.clip_norm, settings.zero, settings.offload)
    return Whole(start, settings.optimizer.clip_norm)


class Autocast(nn.Module):
    """Calls an objective with matrix products in bfloat16, from inside: DeepSpeed switches autocast off around it."""

    def __init__(self, objective: Objective, device: str, enabled: bool) -> None:
        super().__init__()
        self.objective, self.device, self.enabled = objective, device, enabled

    def forward(self, batch: Batch) -> Loss:
        """Return the objective's loss."""
        with torch.autocast(self.device, torch.bfloat16, enabled=self.enabled):
            loss: Loss = self.objective(batch)
            return loss


def check_zero(stage: int, processes: int, batches_per_step: int) -> None:
    """Refuse what ZeRO cannot do.

    Raises:
        UserError: says what, why, and what to use instead.
    """
    if stage >= 2 and batches_per_step % processes:
        raise UserError(
            f"--trainer.zero {stage} adds up gradients at every micro-batch, so each process needs as many as the "
            f"others, but {processes} processes share {batches_per_step}; make batches.batches_per_step a "
            f"multiple of {processes}, or use --trainer.zero 1"
        )


def check_buffers(module: nn.Module) -> None:
    """Refuse a model that keeps what no gradient changes, such as the running statistics of a BatchNorm.

    Each process would gather it from its own micro-batches, so the model would depend on how many there are.

    Raises:
        UserError: names what it keeps.
    """
    kept = sorted(module.state_dict().keys() - dict(module.named_parameters(remove_duplicate=False)).keys())
    if kept:
        raise UserError(
            f"the model keeps {len(kept)} values that training would change without a gradient, otherwise on another "
            f"number of processes: {', '.join(kept[:4])}; pretrain a model without them (LayerNorm, say)"
        )


def trained(module: nn.Module) -> dict[str, nn.Parameter]:
    """Return the trainable parameters by name."""
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}


def on_cpu(tensor: Tensor) -> Tensor:
    """Return a copy or view on the CPU that can be written to a file."""
    return tensor.detach().cpu().contiguous()


def _kept(wanted: bool, tensors: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """Return the tensors on the CPU. Where they are not wanted, each is let go as soon as it is gathered."""
    kept = {}
    for name, tensor in tensors:
        if wanted:
            kept[name] = on_cpu(tensor)
    return kept


def _deepspeed() -> Any:
    try:
        import deepspeed
    except ImportError as error:
        raise UserError("--trainer.zero needs DeepSpeed: pip install 'nonverbal[deepspeed]'") from error
    if not torch.distributed.is_initialized():
        # One process, whose GPU may still want its optimizer in main memory.
        meeting = f"file://{tempfile.mkdtemp()}/meeting"
        os.environ.setdefault("LOCAL_RANK", "0")
        backend = "nccl" if torch.cuda.is_available() else "gloo"
        torch.distributed.init_process_group(backend, init_method=meeting, rank=0, world_size=1)
    deepspeed.init_distributed(torch.distributed.get_backend(), dist_init_required=False, verbose=False)
    return deepspeed


def _deepspeed_config(stage: int, offload: bool, clip_norm: float | None) -> dict[str, Any]:
    zero: dict[str, Any] = {"stage": stage, **dict.fromkeys(BUCKETS[stage], BUCKET_VALUES)}
    if offload:
        zero["offload_optimizer"] = {"device": "cpu"}
        if stage == 3:
            zero["offload_param"] = {"device": "cpu"}
    return {
        # Required, and used by nothing here: the plan makes the batches, and the loop says where a step ends.
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": clip_norm or 0.0,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        # torch's fused AdamW runs on a CPU as well, and need not be compiled first.
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 1 << 31,
    }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep DeepSpeed's account of its configuration from the run's output."""
    import logging

    logger = logging.getLogger("DeepSpeed")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
