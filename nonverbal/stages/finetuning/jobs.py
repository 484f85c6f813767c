"""Trains folds in parallel: each in a process of its own, which runs the same command for that fold only."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial

import torch

from nonverbal.signals import Interrupted, PassedOn, end_with_parent, name_of


class Jobs:
    """Runs at most ``at_once`` commands at a time, and passes signals on to them, so that they save a checkpoint."""

    def __init__(self, at_once: int) -> None:
        self.at_once = at_once
        self.running: dict[str, tuple[int, subprocess.Popen[bytes]]] = {}
        """By fold: its place (0 to ``at_once`` - 1) and its process."""
        self.signals = PassedOn()

    def run(self, names: Sequence[str]) -> list[str]:
        """Run the folds with these names, and return the names of those that failed.

        Raises:
            Interrupted: a signal came; the running folds have saved a checkpoint.
        """
        waiting, failed = list(names), []
        with self.signals as signals:
            while waiting or self.running:
                while waiting and len(self.running) < self.at_once and not signals.came:
                    self._start(waiting.pop(0))
                failed += self._ended()
                if signals.came and not self.running:
                    break
                time.sleep(0.05)
        if signals.came:
            text = f"{name_of(signals.came)}: saved; run the same command again to continue"
            raise Interrupted(signals.came, text)
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
        self.signals.to(child)

    def _ended(self) -> list[str]:
        """Remove the folds whose process has ended, and return the names of those that failed."""
        ended = {name: child for name, (_, child) in self.running.items() if child.poll() is not None}
        for name in ended:
            del self.running[name]
        return [name for name, child in ended.items() if child.returncode]


def _share(place: int, at_once: int) -> dict[str, str]:
    """Return environment variables that assign a process its GPU, or its share of the cores."""
    if gpus := torch.cuda.device_count():
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(gpus)))).split(",")
        return {"CUDA_VISIBLE_DEVICES": visible[place % gpus]}
    threads = os.environ.get("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // at_once, 1)))
    return {"OMP_NUM_THREADS": threads}
