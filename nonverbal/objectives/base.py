"""The interface of objectives that the trainer uses, the same for all families."""

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
    """A way in which training fails."""

    name: str
    """Description for messages."""
    holds: Callable[[Metrics], bool]
    """Whether a row of metrics shows it; metrics that it needs may be missing from the row."""
    reading: tuple[str, ...]
    """The metrics that show it."""
    causes: str
    """What usually causes it, and what to change."""
    slow: bool = False
    """Whether healthy runs show it at first too, so that it only counts after a fifth of the run."""


@dataclass(frozen=True)
class Best:
    """The validation metric by which the best checkpoint is chosen."""

    metric: str = "loss"
    highest: bool = False
    """Whether the highest value is the best; otherwise the lowest is."""

    def improves(self, value: float, before: float | None) -> bool:
        """Whether ``value`` is better than the best value ``before``, which is None for the first."""
        if not math.isfinite(value):
            return False
        return before is None or (value > before if self.highest else value < before)


class Objective(nn.Module):
    """Computes the loss of a batch, and defines how its metrics are interpreted.

    Each micro-batch must give every trainable parameter a gradient, even if it is zero, because DDP waits for the
    gradients of all parameters. A forward pass must not read values from the device, as ``item``, ``nonzero`` and
    boolean indexing do, because the CPU would then wait until the GPU has finished its queue.
    """

    target_sampler: TargetSampler
    """Draws the targets of a micro-batch."""
    symptoms: Sequence[Symptom] = ()
    """Signs in the metrics that training fails, the most specific first."""
    warm_steps: int = 0
    """Number of steps at the beginning in which only the head is trained."""
    account: Account | None = None
    """What was loaded from the checkpoint that it starts from; None if it starts with random weights."""
    shown: Sequence[str] = ("loss {loss:.3f}",)
    """Format strings of the metrics that are printed for a row, in order. One with a missing metric is left out."""
    panels: Sequence[Panel] = (Panel("loss", "loss per target", from_zero=False),)
    """The plots of a run, in order."""
    best: Best = Best()
    """The metric by which the best checkpoint is chosen, and which patience watches."""

    def forward(self, batch: Batch) -> Loss:
        """Return the loss of a batch, as a sum over its targets."""
        raise NotImplementedError

    def finish(self, means: Metrics) -> Metrics:
        """Return a row of metrics from the means over its batches, weighted as in ``Loss.metrics``.

        For metrics that are not such means, for example unweighted average recall, which is computed from the recall of
        each class. Called for each row of training, and in validation for each corpus and for all together.
        """
        return means

    def part(self, name: str) -> Part:
        """Return the part of the model that a parameter belongs to, on which its learning rate may depend.

        Raises:
            UserError: the objective's model is not divided into parts.
        """
        raise UserError(
            "trainer.optimizer.layer_decay and freeze_conv_steps need a model that is divided into parts, but "
            f"{type(self).__name__} is not; leave them out"
        )

    def export(self, folder: Path, weights: Mapping[str, Tensor]) -> None:
        """Write the encoder in Hugging Face format (weights, configuration, feature extractor) to ``folder``.

        ``weights`` is the module's full state dict; the module itself may be sharded over processes at that time.
        """
        raise NotImplementedError
