"""Sums that become means when they are read, so that batches of any size and number add up."""

import torch
from accelerate.utils import gather_object
from torch import Tensor

from nonverbal.objectives.base import Loss


class Means:
    """Weighted means of named metrics over the losses added. Sums stay on the device until they are read."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}

    def add(self, loss: Loss, prefix: str = "") -> None:
        """Add the metrics of a micro-batch, their names preceded by ``prefix``."""
        for name, (total, weight) in loss.metrics.items():
            pair = torch.stack([total.detach().double(), weight.detach().double()])
            key = prefix + name
            self.sums[key] = self.sums[key] + pair if key in self.sums else pair

    def read(self) -> dict[str, float]:
        """Return the means over all processes; these may have added different names."""
        totals: dict[str, tuple[float, float]] = {}
        for sums in gather_object([{name: pair.tolist() for name, pair in self.sums.items()}]):
            for name, (total, weight) in sums.items():
                before = totals.get(name, (0.0, 0.0))
                totals[name] = (before[0] + total, before[1] + weight)
        return {name: total / weight for name, (total, weight) in sorted(totals.items())}
