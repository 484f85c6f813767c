"""Measures the processes of a launch: the speed of their all-reduce, and the differences of their clocks."""

import os
import re
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as distributed

from nonverbal.training.processes import Processes

GPU_SIZES = {1 << 10: 20, 1 << 20: 20, 32 << 20: 10, 380_000_000: 3}
"""Bytes of an all-reduce (the last is the gradient of wav2vec 2.0 base), and how often each is timed."""

CPU_SIZES = {1 << 10: 20, 1 << 20: 5, 16 << 20: 3}

PINGS = 10


def measure(processes: Processes, network: Path | None) -> dict[str, Any]:
    """Time all-reduces and compare clocks. Every process must call this.

    Args:
        processes: at least two.
        network: file to which NCCL writes its log (``NCCL_DEBUG_FILE``), or None.
    """
    sizes = GPU_SIZES if processes.device.type == "cuda" else CPU_SIZES
    rows = [all_reduce(processes, size, times) for size, times in sizes.items()]
    offset, error = clock_offset(processes)
    log = network.read_text(errors="replace") if network is not None and network.exists() else ""
    return {"all_reduce": rows, "clock_offset": offset, "clock_error": error, "network": network_of(log)}


def all_reduce(processes: Processes, size: int, times: int) -> dict[str, Any]:
    """Sum ``size`` bytes of float32 over all processes, check the sum, and measure the time.

    Element i of process r is ``(i mod 97 + 1)(r + 1)``, so the sum is ``(i mod 97 + 1) n (n + 1) / 2``. float32
    represents these integers exactly for up to 580 processes.
    """
    pattern = torch.arange(size // 4, device=processes.device) % 97 + 1
    values = (pattern * (processes.rank + 1)).float()
    distributed.all_reduce(values)
    right = bool(torch.equal(values, (pattern * (processes.world * (processes.world + 1) // 2)).float()))
    del pattern
    values.zero_()
    processes.wait()
    start = _now(processes)
    for _ in range(times):
        distributed.all_reduce(values)
    return {"bytes": size, "seconds": (_now(processes) - start) / times, "right": right}


def clock_offset(processes: Processes) -> tuple[float, float]:
    """Return how many seconds this process's clock is ahead of the first's, and the largest possible error.

    The first process answers with its time, which lies between question and answer (Cristian, 1989: Probabilistic clock
    synchronization). Of several answers, the fastest is the most accurate.
    """
    answers = []
    for other in range(1, processes.world):
        for _ in range(PINGS):
            number = torch.zeros(1, dtype=torch.float64)
            if processes.is_first:
                distributed.recv(number, other)
                distributed.send(number.fill_(time.time()), other)
            elif processes.rank == other:
                asked = time.time()
                distributed.send(number, 0)
                distributed.recv(number, 0)
                trip = time.time() - asked
                answers.append((trip / 2, asked + trip / 2 - float(number)))
    error, offset = min(answers, default=(0.0, 0.0))
    return offset, error


def summary(measured: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one row for each size: the time of the slowest process, and the resulting bandwidths in bytes/s.

    ``algorithm`` is bytes divided by time. ``bus`` is this times 2 (n - 1) / n, which is comparable with the speed of
    the links for any number n of processes (nccl-tests, doc/PERFORMANCE.md).
    """
    count = len(measured)
    rows = []
    for same in zip(*(one["all_reduce"] for one in measured), strict=True):
        seconds = max(row["seconds"] for row in same)
        algorithm = same[0]["bytes"] / seconds
        bus = algorithm * 2 * (count - 1) / count
        wrong = [rank for rank, row in enumerate(same) if not row["right"]]
        rows.append(
            {"bytes": same[0]["bytes"], "seconds": seconds, "algorithm": algorithm, "bus": bus, "wrong_on": wrong}
        )
    return rows


def note_network() -> Path | None:
    """Let NCCL write its log to a file, and return the file; None if the user has set NCCL_DEBUG."""
    if not torch.cuda.is_available() or "NCCL_DEBUG" in os.environ:
        return None
    path = Path(tempfile.mkdtemp(prefix="nonverbal-nccl-")) / "log"
    os.environ |= {"NCCL_DEBUG": "INFO", "NCCL_DEBUG_SUBSYS": "INIT,NET", "NCCL_DEBUG_FILE": str(path)}
    return path


def network_of(log: str) -> str | None:
    """Return the network and interfaces that NCCL uses between nodes, from its log; None if the log does not name them.

    The lines are ``Using network IB`` and, for each kind, ``NET/IB : Using [0]mlx5_0:1/IB [RO]; OOB ib0:10.1.0.1<0>``
    and ``NET/Socket : Using [0]eth0:10.0.0.1<0>`` (NCCL 2.27: src/transport/net_ib.cc, net_socket.cc, plugin/net.cc).
    """
    used = re.search(r"Using network (\S+)", log) or re.search(r"Assigned NET plugin (\S+) to comm", log)
    if used is None:
        return None
    over = re.search(rf"NET/{re.escape(used[1])} : Using ?(.+)", log)
    return used[1] + (f": {over[1].strip()}" if over else "")


def _now(processes: Processes) -> float:
    if processes.device.type == "cuda":
        torch.cuda.synchronize(processes.device)
    return time.monotonic()
