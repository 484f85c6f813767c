"""Signals that end a run: when its step is done, everything saved."""

import signal
from contextlib import AbstractContextManager
from types import FrameType
from typing import Any

from nonverbal.system import ENDING, FROM_SCHEDULERS


class Interrupted(KeyboardInterrupt):
    """A signal ended what was done, with everything saved that was to be."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.signal = number


class Signals(AbstractContextManager["Signals"]):
    """Lets a run finish its step on SIGINT, SIGTERM and SIGUSR1; a second SIGINT ends it at once."""

    def __init__(self) -> None:
        self.came = 0
        """Number of the last signal; 0 before there is one."""

    def __enter__(self) -> "Signals":
        self.before = {number: signal.signal(number, self.handle) for number in ENDING}
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def handle(self, number: int, _: FrameType | None) -> None:
        """Note a signal."""
        if number == signal.SIGINT and self.came == signal.SIGINT:
            raise KeyboardInterrupt
        self.came = number


class AtOnce(Signals):
    """Ends the block at once on SIGINT, SIGTERM and SIGUSR1: for what has nothing to save."""

    def handle(self, number: int, _: FrameType | None) -> None:
        """End the block. A second signal must not end the clearing up."""
        if not self.came:
            self.came = number
            raise Interrupted(number, f"{signal.Signals(number).name}: stopped; nothing was written")


def ignore_schedulers() -> None:
    """Ignore what schedulers send to end a run. Only when it has ended: the signal would make it a failure."""
    for number in FROM_SCHEDULERS:
        signal.signal(number, signal.SIG_IGN)
