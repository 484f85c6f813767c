"""What the trainer knows of an objective, whatever its family."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import Tensor

from nonverbal.batch import Batch, Loss, Metrics, TargetSampler


@dataclass(frozen=True)
class Symptom:
    """A way in which runs fail."""

    name: str
    """What it is called."""
    holds: Callable[[Metrics], bool]
    """Whether a row of metrics shows it; the metrics it needs may be missing."""
    reading: tuple[str, ...]
    """The metrics that show it."""
    causes: str
    """What usually causes it, and what to change."""
    slow: bool = False
    """Healthy runs show it too for a while: it counts only after a fifth of the run."""


class Objective(Protocol):
    """A ``torch.nn.Module`` that turns a batch into a loss.

    Each micro-batch gives every trainable parameter a gradient, if only one of zero: where processes add up their
    gradients, each waits for those of all parameters. A forward pass asks no device for a value, as ``item``,
    ``nonzero`` and boolean indexing do, for which a GPU would have to finish all that is queued.
    """

    target_sampler: TargetSampler
    symptoms: Sequence[Symptom]
    """What its metrics show where it fails to learn, the most specific first."""

    def __call__(self, batch: Batch) -> Loss: ...

    def export(self, folder: Path, weights: Mapping[str, Tensor]) -> None:
        """Write the encoder in Hugging Face format (weights, configuration, feature extractor) to ``folder``.

        ``weights`` are the module's state dict, which may at that time be spread over processes.
        """
