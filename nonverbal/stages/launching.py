"""The record of a command's start, which programs that write scores keep beside them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nonverbal.config import dump
from nonverbal.files import locked
from nonverbal.launches import add_launch, launch_of
from nonverbal.training.hardware import hardware


def keep_launch(out: Path, command: Sequence[str], settings: Any) -> str:
    """Add a start of ``nonverbal COMMAND`` to ``environment.json``, and return the name by which scores refer to it.

    Args:
        out: folder of the scores.
        command: name of the command, and its arguments.
        settings: resolved settings, because a recipe may be changed later.

    Raises:
        UserError: the file exists but is damaged.
    """
    launch = launch_of(["nonverbal", *command], settings=dump(settings), **hardware())
    # Two commands that write to the same folder may start at the same time.
    with locked(out, wait=True):
        return add_launch(out, launch)
