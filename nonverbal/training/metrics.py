"""Sums that become means when they are read, so that batches of any size and number add up."""

from collections.abc import Callable

import torch
from accelerate.utils import gather_object
from torch import Tensor

from nonverbal.batch import Loss, Metrics


class Means:
    """Weighted means of named metrics over the losses added. Sums stay on the device until they are read."""

    def __init__(self, finish: Callable[[Metrics], Metrics]) -> None:
        """Collect nothing yet.

        Args:
            finish: what makes a row of the means (``Objective.finish``).
        """
        self.finish = finish
        self.sums: dict[tuple[str, tuple[str, ...]], Tensor] = {}
        """Prefix and names to ``(2, names)`` float64: their sums and weights."""

    def add(self, loss: Loss, prefix: str = "") -> None:
        """Add the metrics of a micro-batch to those that belong together under ``prefix``."""
        key = prefix, tuple(loss.metrics)
        totals, weights = zip(*loss.metrics.values(), strict=True)
        # All at once: one by one, their many small operations would keep a GPU waiting for the host.
        sums = torch.stack([value.detach() for value in (*totals, *weights)]).double().view(2, -1)
        self.sums[key] = self.sums[key] + sums if key in self.sums else sums

    def read(self) -> Metrics:
        """Return the row of all processes, each name preceded by its prefix; they may have added different names.

        A mean over nothing, all of whose weights are 0, is left out.
        """
        groups: dict[str, dict[str, tuple[float, float]]] = {}
        mine = [(*key, *pair.tolist()) for key, pair in self.sums.items()]
        for prefix, names, sums, weights in gather_object(mine):
            totals = groups.setdefault(prefix, {})
            for name, total, weight in zip(names, sums, weights, strict=True):
                before = totals.get(name, (0.0, 0.0))
                totals[name] = (before[0] + total, before[1] + weight)
        row: Metrics = {}
        for prefix, totals in groups.items():
            means = {name: total / weight for name, (total, weight) in totals.items() if weight}
            row |= {prefix + name: value for name, value in self.finish(means).items()}
        return dict(sorted(row.items()))
