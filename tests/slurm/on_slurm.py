"""What tests do to runs on Slurm, and see of them."""

import json
import os
import re
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def launches(run: Path) -> list[int]:
    """Return the number of processes of each launch of a run."""
    return [launch["processes"] for launch in json.loads((run / "environment.json").read_text())]


def step(run: Path) -> int:
    """Return the last step in the metrics, 0 where there are none."""
    lines = (run / "metrics.jsonl").read_text().splitlines() if (run / "metrics.jsonl").exists() else []
    return max((int(found[1]) for line in lines if (found := re.search(r'"step": (\d+)', line))), default=0)


def preempt(cluster: Any) -> None:
    """Take both nodes for a moment."""
    cluster.run("sbatch", "--partition=urgent", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=sleep 1")


def process(rank: int, *words: object) -> int:
    """Return the process of a rank of the run in whose command these words stand side by side."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
            environment = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if "".join(f"{word}\0" for word in words).encode() in command and f"RANK={rank}".encode() in environment:
            return int(folder.name)
    raise AssertionError(f"no rank {rank} of {words}")


def hold(cluster: Any, job: str, run: Path, after: int, ranks: Sequence[int], *words: object) -> None:
    """Wait until a run is past a step, and hold these ranks of it there, so that it cannot end before its signal."""
    end = time.monotonic() + 300
    while step(run) <= after:
        assert time.monotonic() < end, cluster.log(job)
        time.sleep(0.05)
    for number in [process(rank, *words) for rank in ranks]:
        os.kill(number, signal.SIGSTOP)
