"""Sums that become means when they are read, so that batches of any size and number add up."""

import torch
from accelerate.utils import gather_object
from torch import Tensor

from nonverbal.batch import Loss


class Means:
    """Weighted means of named metrics over the losses added. Sums stay on the device until they are read."""

    def __init__(self) -> None:
        self.sums: dict[tuple[str, ...], Tensor] = {}
        """Names to ``(2, names)`` float64: their sums and weights."""

    def add(self, loss: Loss, prefix: str = "") -> None:
        """Add the metrics of a micro-batch, their names preceded by ``prefix``."""
        names = tuple(prefix + name for name in loss.metrics)
        totals, weights = zip(*loss.metrics.values(), strict=True)
        # All at once: one by one, their many small operations would keep a GPU waiting for the host.
        sums = torch.stack([value.detach() for value in (*totals, *weights)]).double().view(2, -1)
        self.sums[names] = self.sums[names] + sums if names in self.sums else sums

    def read(self) -> dict[str, float]:
        """Return the means over all processes; these may have added different names."""
        totals: dict[str, tuple[float, float]] = {}
        for names, sums, weights in gather_object([(names, *pair.tolist()) for names, pair in self.sums.items()]):
            for name, total, weight in zip(names, sums, weights, strict=True):
                before = totals.get(name, (0.0, 0.0))
                totals[name] = (before[0] + total, before[1] + weight)
        return {name: total / weight for name, (total, weight) in sorted(totals.items())}
