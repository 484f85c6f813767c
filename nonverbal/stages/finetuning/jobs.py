"""Trains folds in parallel: each in a process of its own, which runs the same command for that fold only."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from types import FrameType

import torch

from nonverbal.system import ENDING, end_with_parent
from nonverbal.training.signals import Interrupted


class Jobs:
    """Runs at most ``at_once`` commands at a time, and passes signals on to them, so that they save a checkpoint."""

    def __init__(self, at_once: int) -> None:
        self.at_once = at_once
        self.running: dict[str, tuple[int, subprocess.Popen[bytes]]] = {}
        """By fold: its place (0 to ``at_once`` - 1) and its process."""
        self.came = 0
        """Number of the signal that was received; 0 before one is."""

    def run(self, names: Sequence[str]) -> list[str]:
        """Run the folds with these names, and return the names of those that failed.

        Raises:
            Interrupted: a signal came; the running folds have saved a checkpoint.
        """
        before = {number: signal.signal(number, self._pass_on) for number in ENDING}
        waiting, failed = list(names), []
        try:
            while waiting or self.running:
                while waiting and len(self.running) < self.at_once and not self.came:
                    self._start(waiting.pop(0))
                failed += self._ended()
                if self.came and not self.running:
                    break
                time.sleep(0.05)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if self.came:
            text = f"{signal.Signals(self.came).name}: saved; run the same command again to continue"
            raise Interrupted(self.came, text)
        return failed

    def _start(self, name: str) -> None:
        taken = {place for place, _ in self.running.values()}
        place = min(set(range(self.at_once)) - taken)
        child = subprocess.Popen(
            [sys.executable, *sys.argv, "--only", name, "--jobs", "1"],
            env={**os.environ, **_share(place, self.at_once)},
            # Only this process receives a Ctrl-C, and it passes it on once.
            start_new_session=True,
            preexec_fn=partial(end_with_parent, signal.SIGTERM),
        )
        self.running[name] = place, child
        if self.came:
            # The signal came while the process was being started, so it did not receive it.
            child.send_signal(self.came)

    def _ended(self) -> list[str]:
        """Remove the folds whose process has ended, and return the names of those that failed."""
        ended = {name: child for name, (_, child) in self.running.items() if child.poll() is not None}
        for name in ended:
            del self.running[name]
        return [name for name, child in ended.items() if child.returncode]

    def _pass_on(self, number: int, _: FrameType | None) -> None:
        self.came = number
        for name in self.running:
            self.running[name][1].send_signal(number)


def _share(place: int, at_once: int) -> dict[str, str]:
    """Return environment variables that assign a process its GPU, or its share of the cores."""
    if gpus := torch.cuda.device_count():
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(gpus)))).split(",")
        return {"CUDA_VISIBLE_DEVICES": visible[place % gpus]}
    threads = os.environ.get("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // at_once, 1)))
    return {"OMP_NUM_THREADS": threads}
