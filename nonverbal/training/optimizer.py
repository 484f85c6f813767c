"""AdamW, and its learning rate as a function of the step."""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import nn

from nonverbal.errors import UserError
from nonverbal.models.parts import Part
from nonverbal.objectives.base import Objective

LEAST_RATE = 1e-9
"""Lowest allowed peak learning rate. AdamW changes a weight by about the learning rate in a step. Weights are around
0.02, where float32 numbers are 1.9e-9 apart, so at a lower rate most weights would stay the same."""


@dataclass(frozen=True)
class OptimizerSettings:
    """AdamW with warm-up and decay. The defaults are those of wav2vec 2.0 base (fairseq)."""

    lr: float = 5e-4
    """Peak learning rate."""
    lr_clips: int | None = None
    """Number of clips per step for which `lr` is meant. A run with another number (`batches.batch_rows` times
    `batches.batches_per_step`) scales `lr` in proportion (Goyal et al., 2017). Unset: `lr` is not scaled."""
    warmup_steps: int = 32_000
    """Steps of linear warm-up from 0 to `lr`; wav2vec 2.0 base and voc2vec use 8% of 400 000."""
    schedule: Literal["linear", "cosine"] = "linear"
    """Shape of the decay from `lr` to 0 after the warm-up."""
    betas: tuple[float, float] = (0.9, 0.98)
    """Decay rates of the running means of the gradient and of its square."""
    eps: float = 1e-6
    """Added to the square root of the running mean of the squared gradient."""
    weight_decay: float = 0.01
    """Decoupled weight decay."""
    decay: Literal["all", "matrices"] = "all"
    """Parameters with weight decay: all, as in fairseq; or those with two or more dimensions, so no biases or norms."""
    clip_norm: float | None = None
    """Largest norm of the whole gradient, to which it is clipped. Unset, as in wav2vec 2.0: no clipping."""
    layer_decay: float = 1.0
    """Factor on the learning rate for each block below the top (for example 0.9), so that low layers of a checkpoint
    change less. The convolutions, or the patch embedding of an Audio Mamba, count as one block below the lowest;
    parameters outside the encoder keep the full rate."""
    freeze_conv_steps: int = 0
    """Number of steps at the beginning in which the convolutions, or the patch embedding of an Audio Mamba, are not
    trained."""

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        if not LEAST_RATE <= self.lr < math.inf:
            raise UserError(
                f"trainer.optimizer.lr must be at least {LEAST_RATE:g}, but is {self.lr:g}: at a lower rate, float32 "
                "weights do not change"
            )
        if not (self.eps > 0 and self.weight_decay >= 0 and all(0 <= beta < 1 for beta in self.betas)):
            raise UserError(
                "trainer.optimizer needs eps above 0, weight_decay of at least 0, and betas of at least 0 and below 1, "
                f"but has {self.eps}, {self.weight_decay} and {self.betas}"
            )
        if self.warmup_steps < 0:
            raise UserError(f"trainer.optimizer.warmup_steps must be at least 0, but is {self.warmup_steps}")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise UserError(f"trainer.optimizer.clip_norm must be above 0, but is {self.clip_norm}")
        if self.lr_clips is not None and self.lr_clips < 1:
            raise UserError(f"trainer.optimizer.lr_clips must be at least 1, but is {self.lr_clips}")
        if not 0 < self.layer_decay <= 1:
            raise UserError(f"trainer.optimizer.layer_decay must be above 0 and at most 1, but is {self.layer_decay}")
        if self.freeze_conv_steps < 0:
            raise UserError(f"trainer.optimizer.freeze_conv_steps must be at least 0, but is {self.freeze_conv_steps}")


def learning_rate(step: int, steps: int, settings: OptimizerSettings) -> float:
    """Return the learning rate of step ``step`` (from 0) of ``steps``: linear warm-up, then linear or cosine decay."""
    if step < settings.warmup_steps:
        return settings.lr * (step + 1) / settings.warmup_steps
    done = (step - settings.warmup_steps) / max(steps - settings.warmup_steps, 1)
    decay = 1 - done if settings.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done))
    return settings.lr * decay


def build_optimizer(objective: Objective, steps: int, settings: OptimizerSettings) -> torch.optim.AdamW:
    """Return AdamW over all trainable parameters of ``objective``.

    Raises:
        UserError: the warm-up is not shorter than the run, or the objective has no parts with rates of their own.
    """
    if settings.warmup_steps >= steps:
        raise UserError(
            f"warmup_steps must be less than the {steps} steps of the run, but is {settings.warmup_steps}; "
            f"8% of the run would be {max(steps * 8 // 100, 1)}"
        )
    return torch.optim.AdamW(
        _groups(objective, steps, settings),
        lr=settings.lr,
        betas=settings.betas,
        eps=settings.eps,
        weight_decay=settings.weight_decay,
        fused=True,
    )


def rate_factor(part: Part, step: int, warm_steps: int, settings: OptimizerSettings) -> float:
    """Return the factor on the learning rate of a part at a step."""
    if part.kind == "head":
        return 1.0
    still = max(warm_steps, settings.freeze_conv_steps if part.kind == "conv" else 0)
    return 0.0 if step < still else settings.layer_decay**part.depth


def set_rate(optimizer: torch.optim.Optimizer, rate: float, step: int) -> None:
    """Set the learning rate of every parameter group for a step."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"](step) if "factor" in group else rate


def _groups(objective: Objective, steps: int, settings: OptimizerSettings) -> list[Any]:
    """Return the parameters grouped by weight decay and, if parts have rates of their own, by part."""
    named = {name: parameter for name, parameter in objective.named_parameters() if parameter.requires_grad}
    warm = objective.warm_steps
    by_part = settings.layer_decay < 1 or settings.freeze_conv_steps or warm
    if warm >= steps:
        raise UserError(
            f"only the head is trained for the first {warm} steps (wav2vec 2.0: warm_quantiser_steps), but the run has "
            f"{steps}, so the encoder would not be trained at all; lower that number, or raise trainer.steps"
        )
    groups: dict[tuple[Part | None, bool], list[nn.Parameter]] = {}
    for name, parameter in named.items():
        decays = settings.decay == "all" or parameter.ndim > 1
        part = objective.part(name) if by_part else None
        groups.setdefault((part, decays), []).append(parameter)
    return [
        {"params": parameters, "weight_decay": settings.weight_decay if decays else 0.0}
        | ({"factor": partial(rate_factor, part, warm_steps=warm, settings=settings)} if part else {})
        for (part, decays), parameters in groups.items()
    ]
