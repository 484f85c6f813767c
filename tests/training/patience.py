"""How long tests wait: until something has happened, and never for a time, which a busy machine would not keep."""

import subprocess
import time
from collections.abc import Callable
from typing import Any

HANGS = 600.0
"""Seconds after which what a test started is taken to hang; how it ends never depends on them."""


def wait_until(happened: Callable[[], Any], process: subprocess.Popen[Any] | None = None) -> None:
    """Wait until something has happened, which a process does that must not end before it."""
    deadline = time.monotonic() + HANGS
    while not happened():
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)
