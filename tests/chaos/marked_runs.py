"""Commands in the background, whose processes can all be found, also where their parent is gone; tiny runs first."""

import os
import signal
import subprocess
import time
import uuid
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file
from tiny_runs import PROGRAM, command_of, environment, rows

from nonverbal.signals import end_with_parent

LIMIT = 40
"""Seconds in which all processes of a run must have ended after a fault; the launcher waits 15 of them."""

TIMING = {"audio_per_second", "waiting"}


class MarkedCommand:
    """A started command. Its output is in a file: a reader that stops would stop the command."""

    def __init__(self, command, log, **variables):
        self.mark = uuid.uuid4().hex
        self.log = log.with_name(f"{log.name}-{self.mark}.log")
        with open(self.log, "w") as file:
            self.process = subprocess.Popen(
                command,
                env={**environment(), **variables, "CHAOS": self.mark},
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=partial(end_with_parent, signal.SIGTERM),
            )

    def processes(self):
        """Return what is left of the command, as process id -> its environment."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                variables = (folder / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if f"CHAOS={self.mark}".encode() in variables:
                found[int(folder.name)] = variables
        return found

    def wait_for(self, happened, seconds=400):
        """Wait until ``happened()``; the command must not end before."""
        deadline = time.monotonic() + seconds
        while not happened():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.002)

    def ended(self, limit=LIMIT):
        """Wait until no process is left. Returns how many seconds that took."""
        started = time.monotonic()
        while self.process.poll() is None or self.processes():
            if time.monotonic() - started > limit:
                left = list(self.processes())
                self.kill_all()
                raise AssertionError(f"after {limit} s these are left: {left}; {self.log.read_text()}")
            time.sleep(0.05)
        return time.monotonic() - started

    def kill_all(self):
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def said(self):
        """Return the lines that name what went wrong."""
        return [line for line in self.log.read_text().splitlines() if line.startswith("nonverbal")]


class MarkedRun(MarkedCommand):
    """A started pretraining run."""

    def __init__(self, shards, out, *settings):
        self.out = out
        super().__init__(command_of(shards, out, *settings), out)

    def victims(self):
        """Return process ids by what they are: launcher, rank 0, rank 1, or a data worker of one of them."""
        found = self.processes()
        names = {}
        for pid, variables in found.items():
            rank = next((value[5:].decode() for value in variables if value.startswith(b"RANK=")), None)
            if pid == self.process.pid:
                names["launcher"] = pid
            elif rank is not None and parent_of(pid) in (self.process.pid, None):
                names[f"rank {rank}"] = pid
            elif rank is not None and PROGRAM.name.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                names["data worker"] = pid
        return names


def parent_of(pid):
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except OSError:
        return None


def done(run):
    """Number of rows of metrics, of training and validation."""
    return len((run / "metrics.jsonl").read_text().splitlines()) if (run / "metrics.jsonl").exists() else 0


def same_run(one, other):
    """Whether weights, moments, encoder and metrics, but for timing, are equal to the last bit."""
    last = (one / "latest").read_text().strip()
    files = [f"checkpoints/{last}/model.safetensors", f"checkpoints/{last}/optimizer.safetensors"]
    if not all(same_tensors(one / file, other / file) for file in [*files, "encoder/model.safetensors"]):
        return False
    without_timing = [
        [{key: value for key, value in row.items() if key not in TIMING} for row in rows(run)] for run in (one, other)
    ]
    return without_timing[0] == without_timing[1] and (one / "best").read_text() == (other / "best").read_text()


def same_tensors(one, other):
    """Whether two files hold the same tensors, to the last bit."""
    tensors, others = load_file(one), load_file(other)
    return tensors.keys() == others.keys() and all(torch.equal(tensors[name], others[name]) for name in tensors)
