"""DeepSpeed's ZeRO: each process keeps a part of the optimizer, of the gradients and of the weights."""

import contextlib
import itertools
import logging
import math
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn

from nonverbal.errors import UserError
from nonverbal.training.optimizer import set_rate
from nonverbal.training.strategy import MOMENTS, Start, on_cpu, trained

BUCKET_VALUES = 50_000_000
"""Values that DeepSpeed reduces or gathers at once: 200 MB in float32. DeepSpeed's default of 5e8 would take 2 GB, more
than ZeRO saves on a model of the usual size."""

BUCKETS = {
    1: ("reduce_bucket_size", "allgather_bucket_size"),
    2: ("reduce_bucket_size", "allgather_bucket_size"),
    3: ("reduce_bucket_size", "stage3_prefetch_bucket_size"),
}
"""DeepSpeed's settings for such numbers, by stage."""


class Zero:
    """The ``Strategy`` of ZeRO (Rajbhandari et al., 2020).

    Stage 1 partitions the optimizer over the processes, stage 2 also the gradients, stage 3 also the weights. All of
    these stay in float32. DeepSpeed's own loss scaling, batch counting and checkpoints are not used.
    """

    def __init__(self, start: Start, clip_norm: float | None, stage: int, offload: bool) -> None:
        deepspeed = _deepspeed()
        self.stage = stage
        self.module, self.parameters = start.model.objective, trained(start.model.objective)
        # Stage 3 also partitions parameters that are not trained, and cannot gather them. They never change.
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
        # DeepSpeed averages over processes, but the gradient of a step is a sum.
        self.engine.backward(loss * torch.distributed.get_world_size())

    def update(self, rate: float, step: int) -> Tensor:
        set_rate(self._optimizer, rate, step)
        # This waits for the device, because DeepSpeed itself checks that the norm is finite.
        self.engine.step()
        norm = float(self.engine.get_global_grad_norm())
        # DeepSpeed returns -1 if a part of the norm is not finite.
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
        """The optimizer of this process's partition."""
        optimizer: torch.optim.Optimizer = self.engine.optimizer.optimizer
        return optimizer

    def _restore(self, moments: Mapping[str, Tensor], updates: int) -> None:
        from deepspeed.utils import safe_set_full_optimizer_state

        zero = self.engine.optimizer
        # DeepSpeed creates the moments only in the first update.
        partitions = zero.fp32_partitioned_groups_flat if self.stage == 3 else zero.single_partition_of_fp32_groups
        for part in partitions:
            self._optimizer.state[part] = {moment: torch.zeros_like(part) for moment in MOMENTS} | {
                "step": torch.tensor(float(updates), device=part.device)
            }
        if self.stage < 3:
            zero._lazy_init_hp_params_optimizer_state()
        for name, parameter in self.parameters.items():
            for moment in MOMENTS:
                if f"{moment}.{name}" in moments:
                    safe_set_full_optimizer_state(parameter, moments[f"{moment}.{name}"], moment)


def check_zero(stage: int, processes: int, batches_per_step: int) -> None:
    """Refuse what ZeRO cannot do.

    Raises:
        UserError: the processes would have different numbers of micro-batches.
    """
    if stage >= 2 and batches_per_step % processes:
        raise UserError(
            f"--trainer.zero {stage} sums gradients after every micro-batch, so each process needs the same number of "
            f"micro-batches, but {processes} processes share {batches_per_step}; make batches.batches_per_step a "
            f"multiple of {processes}, or use --trainer.zero 1"
        )


def _frozen(module: nn.Module) -> dict[str, Tensor]:
    """Return copies of the parameters that are not trained, in main memory."""
    return {
        name: value.detach().to("cpu", copy=True)
        for name, value in module.named_parameters()
        if not value.requires_grad
    }


def _kept(wanted: bool, tensors: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """Return the tensors on the CPU. Unless they are wanted, each is released as soon as it has been gathered."""
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
        # A single process can use ZeRO to keep its optimizer in main memory.
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
        # DeepSpeed requires these two, but they have no effect: the plan makes the batches, and the training loop says
        # where a step ends.
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": clip_norm or 0.0,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        # torch's fused AdamW also runs on a CPU, and need not be compiled first.
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 1 << 31,
    }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep DeepSpeed's description of its configuration out of the run's output."""
    logger = logging.getLogger("DeepSpeed")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
