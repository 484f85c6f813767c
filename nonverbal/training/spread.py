"""Chooses the parallel strategy of a run."""

from collections.abc import Mapping

import torch
from torch import Tensor

from nonverbal.objectives.base import Objective
from nonverbal.training.data_parallel import DataParallel
from nonverbal.training.settings import TrainerSettings
from nonverbal.training.strategy import Autocast, Start, Strategy
from nonverbal.training.zero import Zero


def spread(
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    settings: TrainerSettings,
    device: torch.device,
    moments: Mapping[str, Tensor],
    updates: int,
) -> Strategy:
    """Move an objective to ``device``, and prepare it for training on all processes as the settings say.

    Args:
        objective: with its initial weights.
        optimizer: of its parameters.
        settings: of the run, with a precision other than ``auto``.
        device: of this process.
        moments: as in ``Start``.
        updates: as in ``Start``.
    """
    model = Autocast(objective, device.type, settings.precision == "bf16").to(device).train()
    start = Start(model, optimizer, moments, updates)
    if settings.zero:
        return Zero(start, settings.optimizer.clip_norm, settings.zero, settings.offload)
    return DataParallel(start, settings.optimizer.clip_norm)
