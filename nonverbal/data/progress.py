"""Progress of work on many files, on standard error."""

import contextlib
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def progress(title: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Show a bar in a terminal; elsewhere, print a line at every tenth.

    Yields a function that is called with the amount done since its last call. A total of 0 means that it is unknown.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn(title),
        BarColumn(20),
        TextColumn("{task.completed}" + (f"/{total} " if total else " ") + unit),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=total or None)
        done = 0
        # An unknown total has no tenths, so there is a line for every 10 000.
        whole = total or 100_000

        def advance(amount: int) -> None:
            nonlocal done
            bar.advance(task, amount)
            if not console.is_terminal and 10 * done // whole != 10 * (done + amount) // whole:
                console.print(f"{title}: {done + amount}{f'/{total}' if total else ''} {unit}", highlight=False)
            done += amount

        yield advance
