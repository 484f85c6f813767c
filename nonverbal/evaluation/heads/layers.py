"""Layers that several neural heads use, and what these heads read of pooled embeddings."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from nonverbal.evaluation.heads.base import Pooled
from nonverbal.evaluation.heads.neural import NeuralHead


class Standardised(nn.Module):
    """Subtracts a mean and divides by a standard deviation, which are not trained."""

    centre: Tensor
    scale: Tensor

    def __init__(self, centre: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("centre", centre)
        self.register_buffer("scale", scale)

    def forward(self, values: Tensor) -> Tensor:
        """Return values in the shape of ``values``, whose last dimensions are those of the mean."""
        return (values - self.centre) / self.scale


def standardised_by(values: Tensor) -> Standardised:
    """Return a module that standardises by mean and population standard deviation over the first axis of ``values``."""
    exact = values.double()
    return standardised_as(exact.mean(dim=0), exact.std(dim=0, correction=0))


def standardised_as(centre: Tensor, scale: Tensor) -> Standardised:
    """Return a module that subtracts ``centre`` and divides by ``scale``; it only centres constant values."""
    constant = scale <= 1e-6 * centre.abs()
    return Standardised(centre.float(), scale.masked_fill(constant | (scale == 0), 1.0).float())


def dropped(values: Tensor, kept: Sequence[Tensor] | None, layer: int) -> Tensor:
    """Multiply the values of a layer by the factors of dropout, if any."""
    return values if kept is None else values * kept[layer]


class MeanHead(NeuralHead[Pooled]):
    """A neural head that reads the mean over frames of the last layer."""

    def read(self, features: Pooled, one_frame: bool) -> Tensor:
        """Return means ``(clips, dim)`` from features ``(clips, layers, 2 x dim)``; with one frame, all values."""
        dim = features.shape[2] if one_frame else features.shape[2] // 2
        return torch.from_numpy(np.ascontiguousarray(features[:, -1, :dim]))

    def gather(self, features: Sequence[Tensor], rows: Sequence[np.ndarray]) -> tuple[Tensor]:
        """Return ``(networks, rows, dim)``."""
        taken = [own[torch.from_numpy(chosen)] for own, chosen in zip(features, rows, strict=True)]
        return (taken[0][None] if len(taken) == 1 else torch.stack(taken),)
