"""Consoles to print tables on."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def console_of(width: int) -> "Console":
    """Return a console; files and pipes, which have no width of their own, get ``width`` characters per line."""
    # Not above: many commands that load this print no table.
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=width)
