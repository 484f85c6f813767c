"""Writes the metrics of a run: rows of ``metrics.jsonl`` and TensorBoard curves."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from accelerate.utils import gather_object
from torch.utils.tensorboard import SummaryWriter

from nonverbal.batch import Batch, Loss, Metrics
from nonverbal.curves import Panel
from nonverbal.data.index import SAMPLE_RATE
from nonverbal.training.metrics import Means
from nonverbal.training.run_folder import RunFolder

SHOWN = ("{audio_per_second:.0f} s audio/s",)
"""Format strings for what the terminal shows from a row, besides the objective's metrics."""

PANELS = (Panel("lr", "learning rate"),)
"""What is plotted from a row, besides the objective's metrics."""


class Log(AbstractContextManager["Log"]):
    """Collects the metrics of steps; the first process then writes them as one row for all processes."""

    def __init__(self, run: RunFolder, step: int, finish: Callable[[Metrics], Metrics], is_first: bool = True) -> None:
        self.run, self.finish = run, finish
        self.curves = None
        if is_first:
            # Later events were written by steps that the continued run repeats.
            self.curves = SummaryWriter(str(run.folder / "tensorboard"), purge_step=step + 1)
        self._start()

    def __exit__(self, *_: Any) -> None:
        if self.curves is not None:
            self.curves.close()

    def _start(self) -> None:
        self.means = Means(self.finish)
        self.norms: list[float] = []
        self.lr = 0.0
        self.seconds = self.waited = self.audio = 0.0

    def add(self, losses: Sequence[Loss], lr: float, grad_norm: float) -> None:
        """Add the losses of one step."""
        for loss in losses:
            self.means.add(loss)
        self.lr = lr
        self.norms.append(grad_norm)

    def time(self, seconds: float, waited: float, batches: list[Batch]) -> None:
        """Add the seconds of a step, how many of them it waited for data, and the distinct audio in its batches."""
        self.seconds += seconds
        self.waited += waited
        self.audio += sum(batch.real_samples for batch in batches) / SAMPLE_RATE

    def write(self, step: int, skipped: int) -> dict[str, float]:
        """Write the means over the steps since the last call, and return them."""
        row = self.means.read()
        if self.norms:
            row |= {"lr": self.lr, "grad_norm": sum(self.norms) / len(self.norms)}
        audio, seconds, waited = zip(*gather_object([(self.audio, self.seconds, self.waited)]), strict=True)
        # Processes wait for each other in every step, so the slowest determines the time.
        row |= {
            "audio_per_second": sum(audio) / max(seconds),
            "waiting": max(waited) / max(seconds),
            "skipped": float(skipped),
        }
        self._start()
        self._write("train", step, row)
        return row

    def validation(self, step: int, values: dict[str, float]) -> dict[str, float]:
        """Write the means of a validation pass: over all corpora and, as ``corpora.NAME.metric``, for each corpus."""
        self._write("validation", step, values)
        return values

    def _write(self, kind: str, step: int, values: dict[str, float]) -> None:
        if self.curves is None:
            return
        self.run.add_metrics({"kind": kind, "step": step, **values})
        for name, value in values.items():
            self.curves.add_scalar(f"{kind}/{name.replace('.', '/')}", value, step)
