"""Weighted means of metrics over batches of any size and number."""

from collections.abc import Callable

import torch
from accelerate.utils import gather_object
from torch import Tensor

from nonverbal.batch import Loss, Metrics


class Means:
    """Weighted means of named metrics over the added losses. Sums stay on the device until they are read."""

    def __init__(self, finish: Callable[[Metrics], Metrics]) -> None:
        """Start without losses.

        Args:
            finish: turns the means into a row (``Objective.finish``).
        """
        self.finish = finish
        self.sums: dict[tuple[str, tuple[str, ...]], Tensor] = {}
        """Prefix and names to ``(2, names)`` float64: their sums and weights."""

    def add(self, loss: Loss, prefix: str = "") -> None:
        """Add the metrics of a micro-batch to the means under ``prefix``."""
        key = prefix, tuple(loss.metrics)
        totals, weights = zip(*loss.metrics.values(), strict=True)
        # One stack instead of many small operations, which would keep a GPU waiting for the host.
        sums = torch.stack([value.detach() for value in (*totals, *weights)]).double().view(2, -1)
        self.sums[key] = self.sums[key] + sums if key in self.sums else sums

    def read(self) -> Metrics:
        """Return the row of all processes, with the prefix before each name. Processes may have added different names.

        A mean whose weights are all 0 is left out.
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
