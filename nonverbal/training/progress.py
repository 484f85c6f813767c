"""Shows the progress of a run: as a bar in a terminal, otherwise as a line from time to time."""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from nonverbal.training.log import SHOWN


class Reporter:
    """Prints the progress of a run. It is quiet on all processes but the first."""

    def __init__(self, last: int, shown: Sequence[str] = (), quiet: bool = False) -> None:
        """Print nothing yet.

        Args:
            last: the run's last step.
            shown: format strings for what is shown from a row of metrics, in order (``Objective.shown``).
            quiet: whether to print nothing at all.
        """
        self.console = Console(quiet=quiet, soft_wrap=True)
        self.last, self.shown = last, shown
        self._bar: Progress | None = None
        self._metrics = Text()

    @contextlib.contextmanager
    def running(self, first: int) -> Iterator["Reporter"]:
        """In a terminal, show the bar until the block ends; ``first`` steps have been completed before."""
        self.first, self.started = first, time.monotonic()
        if not self.console.is_terminal:
            yield self
            return
        bar = Progress(
            BarColumn(20), TextColumn("{task.completed}/{task.total} steps"), TimeRemainingColumn(), TextColumn("left")
        )
        bar.add_task("", total=self.last, completed=first)
        # The metrics have a line of their own, because a terminal of 80 columns would truncate them beside the bar.
        with Live(Group(bar, self._metrics), console=self.console):
            self._bar = bar
            yield self
            self._bar = None

    def step(self, step: int) -> None:
        """Move the bar to ``step``."""
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=step)

    def metrics(self, row: dict[str, float], step: int) -> None:
        """Show the metrics of the steps since the last call."""
        # If all steps of a row were skipped, it lacks the objective's metrics.
        learned = describe(row, self.shown) or "no finite loss"
        text = f"{learned}  {describe(row, SHOWN)}"
        if self._bar is not None:
            self._metrics.plain = text
        else:
            done = max(step - self.first, 1)
            left = (time.monotonic() - self.started) / done * (self.last - step)
            self.console.print(f"step {step}/{self.last}  {text}  {_duration(left)} left", highlight=False)

    def say(self, text: str, style: str | None = None) -> None:
        """Print a line above the bar."""
        self.console.print(text, style=style, highlight=False, markup=False)


def describe(row: Mapping[str, float], shown: Sequence[str]) -> str:
    """Return one line from the format strings in ``shown``, without those whose metrics the row lacks."""
    parts = []
    for text in shown:
        with contextlib.suppress(KeyError):
            parts.append(text.format_map(row))
    return "  ".join(parts)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
