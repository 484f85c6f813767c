"""What the trainer knows of an objective, whatever its family."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from nonverbal.batch import Batch, Loss, Metrics, TargetSampler
from nonverbal.curves import Panel
from nonverbal.errors import UserError
from nonverbal.models.checkpoints.base import Account
from nonverbal.models.parts import Part


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


@dataclass(frozen=True)
class Best:
    """The metric of a validation pass by which the best checkpoint is chosen."""

    metric: str = "loss"
    highest: bool = False
    """Whether the highest value is the best; otherwise the lowest is."""

    def improves(self, value: float, before: float | None) -> bool:
        """Whether ``value`` is better than the best ``before`` it; None where it is the first."""
        if not math.isfinite(value):
            return False
        return before is None or (value > before if self.highest else value < before)


class Objective(nn.Module):
    """Turns a batch into a loss, and says how its metrics are read.

    Each micro-batch gives every trainable parameter a gradient, if only one of zero: where processes add up their
    gradients, each waits for those of all parameters. A forward pass asks no device for a value, as ``item``,
    ``nonzero`` and boolean indexing do, for which a GPU would have to finish all that is queued.
    """

    target_sampler: TargetSampler
    """What draws the targets of a micro-batch."""
    symptoms: Sequence[Symptom] = ()
    """What its metrics show where it fails to learn, the most specific first."""
    warm_steps: int = 0
    """Steps at the beginning in which the head learns alone."""
    account: Account | None = None
    """What was taken from the checkpoint that it starts from; None where it starts anew."""
    shown: Sequence[str] = ("loss {loss:.3f}",)
    """What a person sees of a row of metrics at the terminal, in order: format strings over the metrics. One of which
    a metric was not measured is left out."""
    panels: Sequence[Panel] = (Panel("loss", "loss per target", from_zero=False),)
    """What is drawn of a run, in order."""
    best: Best = Best()
    """By what the best checkpoint is chosen, and patience counts."""

    def forward(self, batch: Batch) -> Loss:
        """Return the loss of a batch, as a sum over its targets."""
        raise NotImplementedError

    def finish(self, means: Metrics) -> Metrics:
        """Return a row of metrics from the means over its batches, weighted as in ``Loss.metrics``.

        For what is not such a mean, as unweighted average recall, which follows from the recall of each class. Called
        for each row of training, and in validation over all corpora and for each.
        """
        return means

    def part(self, name: str) -> Part:
        """Return the part of a parameter of this name, for learning rates of its own.

        Raises:
            UserError: the objective does not know parts.
        """
        raise UserError(
            "trainer.optimizer.layer_decay and freeze_conv_steps need a model with parts, but "
            f"{type(self).__name__} has none: leave them out"
        )

    def export(self, folder: Path, weights: Mapping[str, Tensor]) -> None:
        """Write the encoder in Hugging Face format (weights, configuration, feature extractor) to ``folder``.

        ``weights`` are the module's state dict, which may at that time be spread over processes.
        """
        raise NotImplementedError
