"""AdamW and its learning rate, which is a function of the step."""

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
"""Lowest peak learning rate. AdamW changes a weight by about the learning rate in a step. Weights of a network are
around 0.02, where float32 has steps of 1.9e-9, so at a lower rate most of them would stay as they are."""


@dataclass(frozen=True)
class OptimizerSettings:
    """AdamW with warm-up and decay. Defaults are wav2vec 2.0 base's (fairseq), but for the length of the run."""

    lr: float = 5e-4
    """Peak learning rate."""
    lr_clips: int | None = None
    """Clips a step that `lr` is meant for: a run with another number, `batches.batch_rows` times
    `batches.batches_per_step`, takes it in proportion (Goyal et al., 2017). Unset: `lr` as it is."""
    warmup_steps: int = 32_000
    """Steps of linear warm-up from 0 to `lr`; 8% of 400 000 in wav2vec 2.0 base and voc2vec."""
    schedule: Literal["linear", "cosine"] = "linear"
    """Decay from `lr` to 0 over the steps after the warm-up."""
    betas: tuple[float, float] = (0.9, 0.98)
    """Decay of the running mean of the gradient and of its square."""
    eps: float = 1e-6
    """Added to the root of the squared gradient's mean."""
    weight_decay: float = 0.01
    """Decoupled weight decay."""
    decay: Literal["all", "matrices"] = "all"
    """What decays: every parameter, as in fairseq; or those of two dimensions and more, so neither biases nor norms."""
    clip_norm: float | None = None
    """Largest norm of the whole gradient; none in wav2vec 2.0."""
    layer_decay: float = 1.0
    """Factor on the learning rate for each block below the top (0.9, say): low layers of a checkpoint change less. The
    convolutions, or what maps an Audio Mamba's patches, count as below the lowest block; what pretraining alone needs
    keeps the whole rate."""
    freeze_conv_steps: int = 0
    """Steps at the beginning in which the convolutions, or what maps an Audio Mamba's patches, do not learn."""

    def __post_init__(self) -> None:
        """Refuse factors that no run can have."""
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
    """Return the learning rate of step ``step`` (from 0) of ``steps``: linear warm-up, then linear or cosine to 0."""
    if step < settings.warmup_steps:
        return settings.lr * (step + 1) / settings.warmup_steps
    done = (step - settings.warmup_steps) / max(steps - settings.warmup_steps, 1)
    decay = 1 - done if settings.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done))
    return settings.lr * decay


def build_optimizer(objective: Objective, steps: int, settings: OptimizerSettings) -> torch.optim.AdamW:
    """Return AdamW over all trainable parameters of ``objective``.

    Raises:
        UserError: a warm-up that does not end before the run does, or rates by part where there are no parts.
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
    """Return the factor on the learning rate of a part at a step: a function of the step, like the rate itself."""
    if part.kind == "head":
        return 1.0
    still = max(warm_steps, settings.freeze_conv_steps if part.kind == "conv" else 0)
    return 0.0 if step < still else settings.layer_decay**part.depth


def set_rate(optimizer: torch.optim.Optimizer, rate: float, step: int) -> None:
    """Set the learning rate of every parameter group for a step."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"](step) if "factor" in group else rate


def _groups(objective: Objective, steps: int, settings: OptimizerSettings) -> list[Any]:
    """Return the parameters in groups: by part where parts learn at rates of their own, by whether they decay."""
    named = {name: parameter for name, parameter in objective.named_parameters() if parameter.requires_grad}
    warm = objective.warm_steps
    by_part = settings.layer_decay < 1 or settings.freeze_conv_steps or warm
    if warm >= steps:
        raise UserError(
            f"the head is to learn alone for {warm} steps (of wav2vec 2.0, warm_quantiser_steps), but the run has "
            f"{steps}, so the encoder would never learn; lower that number, or raise trainer.steps"
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
