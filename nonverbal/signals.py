"""Handles signals: which ones end a command, what a block or a process does when one arrives."""

import contextlib
import ctypes
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from types import FrameType
from typing import Any, Self

FROM_SCHEDULERS = (signal.SIGTERM, signal.SIGUSR1)
"""Signals that schedulers send to end a run."""

ENDING = (signal.SIGINT, *FROM_SCHEDULERS)
"""Signals that end a run."""

PR_SET_PDEATHSIG = 1


class Interrupted(KeyboardInterrupt):
    """A signal ended the command, after it had saved what it should."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.signal = number


class Signals(AbstractContextManager["Signals"]):
    """Notes SIGINT, SIGTERM and SIGUSR1, so that a run can finish its step. A second SIGINT ends it at once."""

    def __init__(self) -> None:
        self.came = 0
        """Number of the last signal; 0 before there is one."""

    def __enter__(self) -> Self:
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
    """Ends the block at once on SIGINT, SIGTERM and SIGUSR1, if there is nothing to save."""

    def handle(self, number: int, _: FrameType | None) -> None:
        """End the block. A second signal must not interrupt the clean-up."""
        if not self.came:
            self.came = number
            raise Interrupted(number, f"{name_of(number)}: stopped; nothing was written")


class PassedOn(Signals):
    """Passes SIGINT, SIGTERM and SIGUSR1 on to child processes, which save and end; this process waits for them."""

    def __init__(self) -> None:
        super().__init__()
        self.children: list[subprocess.Popen[bytes]] = []
        self.reached = 0
        """Number of children to which the last signal was sent."""

    def to(self, child: "subprocess.Popen[bytes]") -> None:
        """Pass signals on to a child, and also the last one if it arrived while the child was being started."""
        before = len(self.children)
        self.children.append(child)
        # From here on, `handle` sends it signals. The same SIGINT twice would end it before it has saved.
        came = self.came
        if came and self.reached <= before:
            child.send_signal(came)

    def handle(self, number: int, _: FrameType | None) -> None:
        """Pass a signal on. Children that have ended do not get it."""
        self.came, self.reached = number, len(self.children)
        for child in self.children:
            child.send_signal(number)


@contextlib.contextmanager
def interrupt_deferred() -> Iterator[None]:
    """Let Ctrl-C take effect only after the block, for example after a process has been started completely."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[tuple[int, FrameType | None]] = []
    before = signal.signal(signal.SIGINT, lambda *what: came.append(what))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came and callable(before):
        before(*came[0])


def ignore(*numbers: int) -> None:
    """Ignore signals from now on."""
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)


def name_of(number: int) -> str:
    """Return the name of a signal, such as SIGTERM."""
    return signal.Signals(number).name


def exit_code(number: int) -> int:
    """Return the exit code of a process that a signal has ended, as shells count it."""
    return 128 + number


def end_with_parent(number: int) -> None:
    """Have the kernel send signal ``number`` to this process when its parent has ended. Only Linux can do so."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)
