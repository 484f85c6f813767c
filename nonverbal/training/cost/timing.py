"""Trains for a minute to measure a run: seconds per update, waiting, memory, size of a checkpoint."""

import os
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import torch

from nonverbal.data.index import SAMPLE_RATE
from nonverbal.errors import UserError
from nonverbal.objectives.base import Objective
from nonverbal.signals import AtOnce
from nonverbal.training.precision import Chosen
from nonverbal.training.run_folder import RunFolder
from nonverbal.training.settings import TrainerSettings
from nonverbal.training.strategy import trained
from nonverbal.training.trainer import Step, Trainer, TrainingData

WARMING = 3
"""Number of first updates that do not count if at least as many follow, because they fill caches and allocators."""

LEAST = 3
"""Smallest number of updates, however long they take: one to warm up, two that count."""

ENDLESS = 10**9
"""Number of steps of a run that only the clock ends."""


@dataclass(frozen=True)
class Measured:
    """Measurements of training on this device in one process."""

    device: str
    on_gpu: bool
    precision: Chosen
    seconds: list[float]
    """Seconds of each update that counts."""
    waiting: float
    """Share of these seconds that was spent waiting for data."""
    largest_batch: float
    """Seconds of audio in the largest micro-batch, including padding, which determines the peak memory."""
    memory: dict[str, int]
    """Bytes: the peak of the training process, and the total of the device."""
    parameters: int
    checkpoint_bytes: int
    encoder_bytes: int
    scan: str | None = None
    """The implementation of selective scans; None for a model without scans."""


def measure(
    objective: Objective,
    data: TrainingData,
    settings: TrainerSettings,
    seed: int,
    seconds: float,
    scan_on: Callable[[torch.device], str | None] = lambda _: None,
) -> Measured:
    """Train for ``seconds`` after the first update, and at least ``LEAST`` updates, in a temporary folder.

    Args:
        objective: the model with its loss.
        data: its batches.
        settings: of the run.
        seed: of the run.
        seconds: how long to train.
        scan_on: chooses the implementation of selective scans on a device, and returns its name; None for a model
            without scans.

    Raises:
        UserError: a launcher has started several processes, or the chosen scan cannot run here.
        Interrupted: a signal came.
    """
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise UserError("nonverbal plan measures one process, but a launcher has started several; do without it")
    with AtOnce(), tempfile.TemporaryDirectory(prefix="nonverbal-plan-") as folder:
        trainer = Trainer(objective, data, _endless(settings), RunFolder(Path(folder)), seed, quiet=True)
        scan = scan_on(trainer.processes.device)
        clock = Clock(on_gpu=trainer.processes.device.type == "cuda")
        with closing(trainer.steps()) as steps:
            for step in steps:
                clock.add(step)
                if clock.enough(seconds):
                    break
        return _measured(trainer, clock, Path(folder), scan)


def _endless(settings: TrainerSettings) -> TrainerSettings:
    """Return settings without validation, checkpoints and an end; the learning rate does not change the cost."""
    return replace(
        settings,
        steps=ENDLESS,
        validate_every=ENDLESS,
        checkpoint_every=ENDLESS,
        log_every=ENDLESS,
        patience=None,
        processes=None,
    )


class Clock:
    """Measures the time of each update, from the end of the previous one."""

    def __init__(self, on_gpu: bool) -> None:
        self.on_gpu = on_gpu
        self.ended: list[float] = []
        """Times at which updates were completed; on a GPU, queued."""
        self.marks: list[torch.cuda.Event] = []
        """On a GPU: an event at the end of each update in the queue, because the host is ahead of the GPU."""
        self.waited: list[float] = []
        self.largest = 0

    def add(self, step: Step) -> None:
        """Add an update that has just ended."""
        self.ended.append(time.perf_counter())
        if self.on_gpu:
            # The host must not wait for the GPU, which in a run computes while data are being read.
            self.marks.append(torch.cuda.Event(enable_timing=True))  # type: ignore[no-untyped-call]
            self.marks[-1].record()  # type: ignore[no-untyped-call]
        self.waited.append(step.waited)
        self.largest = max(self.largest, step.largest)

    def enough(self, seconds: float) -> bool:
        """Return whether there were ``LEAST`` updates, and ``seconds`` have passed since the first, the warm-up."""
        return len(self.ended) >= LEAST and self.ended[-1] - self.ended[0] >= seconds

    def counted(self) -> tuple[list[float], float]:
        """Return the seconds of each update except the first ones, and the share of them that was spent waiting."""
        seconds = [end - start for start, end in pairwise(self.ended)]
        if self.marks:
            self.marks[-1].synchronize()
            # CUDA returns milliseconds.
            seconds = [start.elapsed_time(end) / 1e3 for start, end in pairwise(self.marks)]  # type: ignore[no-untyped-call]
        first = WARMING if len(self.ended) >= 2 * WARMING else 1
        # The start of the very first update is not known.
        seconds = seconds[first - 1 :]
        return seconds, sum(self.waited[first:]) / sum(seconds)


def _measured(trainer: Trainer, clock: Clock, folder: Path, scan: str | None) -> Measured:
    device = trainer.processes.device
    seconds, waiting = clock.counted()
    # This comes before the weights are copied.
    memory = peak_memory(device)
    weights = trainer.strategy.weights()
    trainer.objective.export(folder / "encoder", weights)
    return Measured(
        device=device_name(device),
        on_gpu=device.type == "cuda",
        precision=trainer.precision,
        seconds=seconds,
        waiting=waiting,
        largest_batch=clock.largest / SAMPLE_RATE,
        memory=memory,
        parameters=sum(parameter.numel() for parameter in trained(trainer.objective).values()),
        checkpoint_bytes=sum(tensor.nbytes for tensor in [*weights.values(), *trainer.strategy.moments().values()]),
        encoder_bytes=sum(path.stat().st_size for path in (folder / "encoder").iterdir()),
        scan=scan,
    )


def device_name(device: torch.device) -> str:
    """Return the name of a device for people."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'s' if threads > 1 else ''}"


def peak_memory(device: torch.device) -> dict[str, int]:
    """Return the peak memory of this process and the total, in bytes: of the GPU, or of the main memory on a CPU."""
    if device.type == "cuda":
        return {
            "peak_allocated": torch.cuda.max_memory_allocated(device),
            "peak_reserved": torch.cuda.max_memory_reserved(device),
            "available": torch.cuda.mem_get_info(device)[1],
        }
    # getrusage may return the peak of the process that started this one.
    peak = _kilobytes("/proc/self/status", "VmHWM")
    return {"peak_resident": 1024 * peak, "available": 1024 * _kilobytes("/proc/meminfo", "MemTotal")}


def _kilobytes(path: str, name: str) -> int:
    rows = dict(line.split(":", 1) for line in Path(path).read_text(encoding="utf-8").splitlines())
    return int(rows[name].split()[0])
