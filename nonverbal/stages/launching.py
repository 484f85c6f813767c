"""The command beside its scores: what a program that scores keeps of its start."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nonverbal.config import dump
from nonverbal.files import locked
from nonverbal.launches import add_launch, launch_of
from nonverbal.training.hardware import hardware


def keep_launch(out: Path, command: Sequence[str], settings: Any) -> str:
    """Add a start of ``nonverbal COMMAND`` to ``environment.json``, and return what scores name it by.

    Args:
        out: folder of the scores.
        command: name of the command, and its arguments.
        settings: as resolved: a recipe may be another one later.

    Raises:
        UserError: the file is there, and damaged.
    """
    launch = launch_of(["nonverbal", *command], settings=dump(settings), **hardware())
    # Two commands may begin at once that write to the same folder.
    with locked(out, wait=True):
        return add_launch(out, launch)
