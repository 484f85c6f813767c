"""AdamW and its learning rate, which is a function of the step."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from nonverbal.errors import UserError


@dataclass(frozen=True)
class OptimizerSettings:
    """AdamW with warm-up and decay. Defaults are wav2vec 2.0 base's (fairseq), but for the length of the run."""

    lr: float = 5e-4
    """Peak learning rate."""
    warmup_steps: int = 32_000
    """Steps of linear warm-up from 0 to `lr`; 8% of 400 000 in wav2vec 2.0 base and voc2vec."""
    schedule: Literal["linear", "cosine"] = "linear"
    """Decay from `lr` to 0 over the steps after the warm-up."""
    betas: tuple[float, float] = (0.9, 0.98)
    """Decay of the running mean of the gradient and of its square."""
    eps: float = 1e-6
    """Added to the root of the squared gradient's mean."""
    weight_decay: float = 0.01
    """Decoupled weight decay, on every parameter as in fairseq."""
    clip_norm: float | None = None
    """Largest norm of the whole gradient; none in wav2vec 2.0."""


def learning_rate(step: int, steps: int, settings: OptimizerSettings) -> float:
    """Return the learning rate of step ``step`` (from 0) of ``steps``: linear warm-up, then linear or cosine to 0."""
    if step < settings.warmup_steps:
        return settings.lr * (step + 1) / settings.warmup_steps
    done = (step - settings.warmup_steps) / max(steps - settings.warmup_steps, 1)
    decay = 1 - done if settings.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done))
    return settings.lr * decay


def build_optimizer(model: nn.Module, steps: int, settings: OptimizerSettings) -> torch.optim.AdamW:
    """Return AdamW over all trainable parameters of ``model``.

    Raises:
        UserError: a warm-up that does not end before the run does.
    """
    if settings.warmup_steps >= steps:
        raise UserError(
            f"warmup_steps must be less than the {steps} steps of the run, but is {settings.warmup_steps}; "
            f"8% of the run would be {max(steps * 8 // 100, 1)}"
        )
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(
        parameters,
        lr=settings.lr,
        betas=settings.betas,
        eps=settings.eps,
        weight_decay=settings.weight_decay,
        fused=True,
    )
