"""Starts the processes of a run on this machine, unless another launcher has.

torchrun would suffice if runs ended differently: with torchrun, Ctrl-C reaches the processes twice, the second time
during a save, SIGUSR1 is not passed on, and each failure prints a traceback of torchrun.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from functools import partial

import torch

from nonverbal.errors import UserError
from nonverbal.signals import ENDING, PassedOn, end_with_parent, exit_code, name_of
from nonverbal.training.processes import TRAINING, Wording, lost

LAUNCHED = ("WORLD_SIZE", "RANK", "ACCELERATE_MIXED_PRECISION")
"""Variables that a launcher sets. accelerate sets the last one even if it starts a single process."""

GRACE = 15.0
"""Seconds within which processes must notice that another has failed, and end, before they are killed."""


def launch(processes: int | None, timeout_minutes: float, wording: Wording = TRAINING) -> None:
    """Run this same command in several processes, and exit with their exit code; return if one process is enough.

    Args:
        processes: number of processes; None or 1: this one is enough.
        timeout_minutes: how long a process waits for another at most.
        wording: of the command.

    Raises:
        UserError: there are fewer GPUs than processes.
    """
    if processes in (None, 1) or any(name in os.environ for name in LAUNCHED):
        return
    assert processes is not None
    gpus = torch.cuda.device_count()
    if 0 < gpus < processes:
        raise UserError(f"{wording.processes} asks for {processes}, one per GPU, but this machine has {gpus}")
    with PassedOn() as signals:
        code = _Children(processes, timeout_minutes, wording, signals).wait()
    sys.exit(code)


class _Children:
    """The processes, each in a session of its own, so that only the parent receives a Ctrl-C, and passes it on once."""

    def __init__(self, count: int, timeout_minutes: float, wording: Wording, signals: PassedOn) -> None:
        self.timeout_minutes, self.wording, self.signals = timeout_minutes, wording, signals
        shared = {
            "WORLD_SIZE": str(count),
            "LOCAL_WORLD_SIZE": str(count),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(_free_port()),
            # torchrun does the same: processes that each use all cores slow each other down.
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // count, 1))),
        }
        self.running: dict[int, subprocess.Popen[bytes]] = {}
        for rank in range(count):
            own = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            self.running[rank] = subprocess.Popen(
                [sys.executable, *sys.argv],
                env={**os.environ, **shared, **own},
                start_new_session=True,
                # If this process is killed, the others save and end.
                preexec_fn=partial(end_with_parent, signal.SIGTERM),
            )
            signals.to(self.running[rank])

    def wait(self) -> int:
        """Return the exit code of the first process that failed, or 0. The others end soon after it."""
        failed, deadline = 0, float("inf")
        while self.running:
            for rank, child in list(self.running.items()):
                if child.poll() is None:
                    continue
                del self.running[rank]
                if child.returncode and not failed:
                    failed, deadline = self._code(rank, child.returncode), time.monotonic() + GRACE
            if time.monotonic() > deadline:
                for child in self.running.values():
                    child.kill()
            time.sleep(0.05)
        return failed

    def _code(self, rank: int, returned: int) -> int:
        if returned > 0:
            return returned
        name = name_of(-returned)
        if self.signals.came and -returned in ENDING:
            print(f"nonverbal: {name} before or after the training", file=sys.stderr)
        else:
            print(f"nonverbal: process {rank} was ended by {name}{self._meaning(-returned)}", file=sys.stderr)
        return exit_code(-returned)

    def _meaning(self, number: int) -> str:
        if number == signal.SIGABRT and torch.cuda.is_available():
            return (
                ": usually NCCL's watchdog, after a CUDA error (see above) or a timeout: "
                f"{lost(self.timeout_minutes, self.wording)}"
            )
        if number == signal.SIGABRT:
            return f"; its own lines above say why; {self.wording.again}"
        return f"; the others end too. If memory ran out, {self.wording.memory}; {self.wording.again}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
