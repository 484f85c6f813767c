"""One command as a process: its output goes to the terminal and a file, and signals are passed on to it."""

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
"""The start of a command line."""


def run_command(arguments: Sequence[str], log: Path, program: Sequence[str] = NONVERBAL) -> tuple[int, int]:
    """Run ``nonverbal ARGUMENTS`` until it ends.

    Signals that would end this process are passed on instead, so that a run can save a checkpoint. If this process is
    killed nevertheless, the command receives SIGTERM (Linux).

    Args:
        arguments: the command and its arguments.
        log: file to which the output is appended; it also goes to this process's standard output.
        program: the program that they are passed to.

    Returns:
        The exit status, which is minus the signal if one killed the command; and the last signal passed on, or 0.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    signals = PassedOn()
    # The handlers come first, so that a signal during the start of the process is passed on afterwards.
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
    """Start a process in its own process group, so that it receives a Ctrl-C only once, from this process."""
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        process_group=0,
        preexec_fn=partial(end_with_parent, signal.SIGTERM),
    )


def _copy(source: IO[bytes], file: IO[bytes]) -> None:
    """Copy output as it arrives to the file and, as long as someone reads it, to standard output."""
    heard = True
    while chunk := source.read1(CHUNK):  # type: ignore[attr-defined]
        file.write(chunk)
        if heard:
            try:
                sys.stdout.buffer.write(chunk)
                sys.stdout.flush()
            except BrokenPipeError:
                # A run of several days outlives the pager that shows it; its log is complete.
                heard = False


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
