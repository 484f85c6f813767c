"""What all training commands share: holding the run's folder, the report of its start, and its end."""

import contextlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

from nonverbal.data.batching.read_ahead import workers_watched
from nonverbal.files import room_for
from nonverbal.models.checkpoints.base import Account
from nonverbal.signals import FROM_SCHEDULERS, ignore
from nonverbal.training.processes import Processes
from nonverbal.training.progress import Reporter
from nonverbal.training.run_folder import RunFolder
from nonverbal.training.settings import FREE_SETTINGS
from nonverbal.training.trainer import Trainer


@contextlib.contextmanager
def run_held(
    trainer: Trainer, settings: Any, free: set[str], contents: Mapping[str, str], scan: str | None = None
) -> Iterator[None]:
    """Lock a run's folder for its processes, and start a new run in it or continue the one it holds.

    Args:
        trainer: trains the run.
        settings: the content of its ``recipe.yaml``, with the resolved precision.
        free: settings that may differ when a run is continued, besides those that may differ in any run.
        contents: names of the data read, with their SHA-256.
        scan: implementation of selective scans, for ``environment.json``; None for a model without any.

    Raises:
        UserError: the folder is in use, or holds a run with another recipe or other data.
    """
    run: RunFolder = trainer.run
    with room_for(run.folder), workers_watched(), ExitStack() as held:
        with trainer.processes.first_before_others() as is_first:
            if is_first:
                held.enter_context(run.locked())
                run.check_recipe(settings, free={*FREE_SETTINGS, *free, "data", "out", *run.open_choices()})
                run.check_data(dict(contents))
                run.write_environment(processes=trainer.world, precision=vars(trainer.precision), scan=scan)
        yield


def part(processes: Processes) -> None:
    """Leave the process group once nothing is left to save."""
    # The run has ended, but a signal now would make it count as failed.
    ignore(*FROM_SCHEDULERS)
    processes.leave()


def say_start(account: Account | None, report: Reporter) -> None:
    """Print what was loaded from the checkpoint that the run starts from, if there is one."""
    if account is None:
        return
    report.console.print(account.table())
    for note in account.notes:
        report.say(f"note: {note}")
    if account.warning is not None:
        report.say(account.warning, style="bold yellow")
