"""Starts the processes of a run on this machine, where no other launcher has.

torchrun would do, but for how runs end here: Ctrl-C reaches its processes twice, the second time in the middle of a
save, it does not pass SIGUSR1 on, and every failure ends in a traceback of its own.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from types import FrameType

import torch

from nonverbal.errors import UserError
from nonverbal.system import ENDING, end_with_parent
from nonverbal.training.processes import TRAINING, Wording, lost

LAUNCHED = ("WORLD_SIZE", "RANK", "ACCELERATE_MIXED_PRECISION")
"""Variables that tell that a launcher has started this process. accelerate sets the last even where it starts one."""

GRACE = 15.0
"""Seconds that processes have to notice that another has failed, and to say so, before they are killed."""


def launch(processes: int | None, timeout_minutes: float, wording: Wording = TRAINING) -> None:
    """Run this very command in ``processes`` processes and end with their exit code; return where there is no need to.

    Args:
        processes: how many; None or 1: no need.
        timeout_minutes: longest that they wait for one another.
        wording: of the command.

    Raises:
        UserError: fewer GPUs than processes.
    """
    if processes in (None, 1) or any(name in os.environ for name in LAUNCHED):
        return
    assert processes is not None
    gpus = torch.cuda.device_count()
    if 0 < gpus < processes:
        raise UserError(f"{wording.processes} asks for {processes}, one a GPU, but this machine has {gpus}")
    sys.exit(_Children(processes, timeout_minutes, wording).wait())


class _Children:
    """The processes, each a session of its own: a Ctrl-C comes to the parent alone, which passes it on once."""

    def __init__(self, count: int, timeout_minutes: float, wording: Wording) -> None:
        self.timeout_minutes, self.wording = timeout_minutes, wording
        shared = {
            "WORLD_SIZE": str(count),
            "LOCAL_WORLD_SIZE": str(count),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(_free_port()),
            # As torchrun does: processes that each take all cores are in each other's way.
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // count, 1))),
        }
        self.passed_on: set[int] = set()
        self.running: dict[int, subprocess.Popen[bytes]] = {}
        for rank in range(count):
            own = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            self.running[rank] = subprocess.Popen(
                [sys.executable, *sys.argv],
                env={**os.environ, **shared, **own},
                start_new_session=True,
                # Where this process is gone, the others save and end.
                preexec_fn=partial(end_with_parent, signal.SIGTERM),
            )
        for number in ENDING:
            signal.signal(number, self._pass_on)

    def wait(self) -> int:
        """Return the exit code of the first process that failed, or 0; the others end soon after it."""
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
        name = signal.Signals(-returned).name
        if -returned in self.passed_on:
            print(f"nonverbal: {name} outside of training", file=sys.stderr)
            return 128 - returned
        print(f"nonverbal: process {rank} was ended by {name}{self._meaning(-returned)}", file=sys.stderr)
        return 128 - returned

    def _meaning(self, number: int) -> str:
        if number == signal.SIGABRT and torch.cuda.is_available():
            return (
                ": usually NCCL's watchdog, after a CUDA error (see above) or a timeout: "
                f"{lost(self.timeout_minutes, self.wording)}"
            )
        if number == signal.SIGABRT:
            return f"; its own lines above say why; {self.wording.again}"
        return f"; the others end too. If memory ran out, {self.wording.memory}; {self.wording.again}"

    def _pass_on(self, number: int, _: FrameType | None) -> None:
        self.passed_on.add(number)
        for child in self.running.values():
            child.send_signal(number)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
