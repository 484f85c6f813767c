"""One command as a process: its output on the terminal and in a file, and signals passed on to it."""

import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import IO

from nonverbal.signals import PassedOn, end_with_parent

CHUNK = 1 << 16

NONVERBAL = (sys.executable, "-u", "-m", "nonverbal")
"""How a command is started."""


def run_command(arguments: Sequence[str], log: Path, program: Sequence[str] = NONVERBAL) -> tuple[int, int]:
    """Run ``nonverbal ARGUMENTS`` until it ends.

    Signals that would end this process are passed on instead, so that a run saves itself. Should this process be killed
    all the same, the command gets SIGTERM (Linux).

    Args:
        arguments: the command and what follows.
        log: what its output is appended to, beside this process's standard output.
        program: what is run with them.

    Returns:
        Its exit status, minus the signal where one killed it; and the last signal that was passed on, 0 without one.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    signals = PassedOn()
    # Their handlers come first: what comes while the process is started is passed on then.
    with open(log, "ab", buffering=0) as file, signals, _started([*program, *arguments]) as process:
        signals.to(process)
        file.write(f"== {_now()} {shown(arguments)}\n".encode())
        assert process.stdout is not None
        _copy(process.stdout, file)
        code = process.wait()
        file.write(f"== {_now()} exit status {code}\n".encode())
        return code, signals.came


def shown(arguments: Sequence[str]) -> str:
    """Return a command as a user would type it."""
    return shlex.join(["nonverbal", *arguments])


def _started(command: list[str]) -> "subprocess.Popen[bytes]":
    """Start a process in a group of its own: it gets a Ctrl-C once, from us."""
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        process_group=0,
        preexec_fn=partial(end_with_parent, signal.SIGTERM),
    )


def _copy(source: IO[bytes], file: IO[bytes]) -> None:
    """Copy what comes as it comes, to standard output too as long as someone reads that."""
    heard = True
    while chunk := source.read1(CHUNK):  # type: ignore[attr-defined]
        file.write(chunk)
        if heard:
            try:
                sys.stdout.buffer.write(chunk)
                sys.stdout.flush()
            except BrokenPipeError:
                # A run of days outlives the pager that it was shown in; its log has all.
                heard = False


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
