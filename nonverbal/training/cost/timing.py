"""Trains for a minute to see what a run costs: seconds an update, waiting, memory, size of a checkpoint."""

import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from nonverbal.batch import Batch
from nonverbal.data.index import SAMPLE_RATE
from nonverbal.errors import UserError
from nonverbal.objectives.base import Objective
from nonverbal.system import ENDING
from nonverbal.training.precision import Chosen
from nonverbal.training.progress import Reporter
from nonverbal.training.run_folder import RunFolder
from nonverbal.training.signals import Interrupted
from nonverbal.training.strategy import trained
from nonverbal.training.trainer import Trainer, TrainerSettings, TrainingData

WARMING = 3
"""First updates that do not count, where at least as many follow: caches and allocators fill in them."""

LEAST = 3
"""Updates that are taken however long they last: one to warm up, two that count."""

ENDLESS = 10**9
"""Steps of a run that only the clock ends."""


@dataclass(frozen=True)
class Measured:
    """What training on this device, in one process, has shown."""

    device: str
    on_gpu: bool
    precision: Chosen
    seconds: list[float]
    """Of each update that counts."""
    waiting: float
    """Share of these seconds in which it waited for data."""
    largest_batch: float
    """Seconds of audio in the largest micro-batch seen, padding included: peak memory follows it."""
    memory: dict[str, int]
    """Bytes: the peak of the training process, and what the device has."""
    parameters: int
    checkpoint_bytes: int
    encoder_bytes: int
    scan: str | None = None
    """What computes selective scans; None where there are none."""


def measure(
    objective: Objective,
    data: TrainingData,
    settings: TrainerSettings,
    seed: int,
    seconds: float,
    scan_on: Callable[[torch.device], str | None] = lambda _: None,
) -> Measured:
    """Train for ``seconds``, and at least ``LEAST`` updates, in a run folder that is deleted.

    Args:
        objective: what is trained.
        data: on what.
        settings: of the run.
        seed: of the run.
        seconds: how long.
        scan_on: chooses what computes selective scans on a device, and names it; None where there are none.

    Raises:
        UserError: a launcher has started several processes, or the scan that is asked for cannot run here.
        Interrupted: a signal came.
    """
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise UserError("one process is measured, but a launcher has started several; start nonverbal plan without it")
    signals = _SignalsEnd()
    # The trainer begins to listen for signals just before it asks for data; it would finish its step and save.
    clocked = Clocked(data, seconds, began=signals.listen)
    with signals, tempfile.TemporaryDirectory(prefix="nonverbal-plan-") as folder:
        trainer = Trainer(objective, clocked, _endless(settings), RunFolder(Path(folder)), seed)
        trainer.report = Reporter(ENDLESS, shown=False)
        scan = scan_on(trainer.processes.device)
        try:
            trainer.train()
        except TimeOver:
            return _measured(trainer, clocked, Path(folder), scan)
    raise AssertionError("only the clock ends this run")


def _endless(settings: TrainerSettings) -> TrainerSettings:
    """Nothing is validated or saved, and no warm-up is too long; the learning rate costs the same whatever it is."""
    return replace(
        settings,
        steps=ENDLESS,
        validate_every=ENDLESS,
        checkpoint_every=ENDLESS,
        log_every=ENDLESS,
        processes=None,
    )


class TimeOver(Exception):
    """Ends a run between two updates."""


class Clocked:
    """Training data that notes when updates begin and how long they wait, and ends the run when its time is over."""

    def __init__(self, data: TrainingData, seconds: float, began: Callable[[], object] = lambda: None) -> None:
        self.data, self.limit, self.began = data, seconds, began
        self.batches_per_step = data.batches_per_step
        self.begun: list[float] = []
        self.marks: list[torch.cuda.Event] = []
        """On a GPU: where each update begins among what is queued, which the host is ahead of."""
        self.waited: list[float] = []
        self.largest = 0

    def training(self, steps: range, epoch: int, batch: int, rank: int, world: int) -> Iterator[Batch]:
        """Return the stream of micro-batches."""
        return self._clocked(self.data.training(steps, epoch, batch, rank, world))

    def validation(self, rank: int, world: int) -> Iterable[Batch]:
        """Return nothing: only updates are measured."""
        return ()

    def _clocked(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Yield micro-batches; the first of an update is asked for when the update before it is done (GPU: queued)."""
        self.began()
        while True:
            self._begin()
            for _ in range(self.batches_per_step):
                started = time.perf_counter()
                batch = next(batches)
                self.waited[-1] += time.perf_counter() - started
                self.largest = max(self.largest, batch.waveforms.numel())
                yield batch

    def _begin(self) -> None:
        self.begun.append(time.perf_counter())
        if torch.cuda.is_available():
            # Waiting for the GPU would keep it from computing while data are fetched, as it does in a run.
            self.marks.append(torch.cuda.Event(enable_timing=True))  # type: ignore[no-untyped-call]
            self.marks[-1].record()  # type: ignore[no-untyped-call]
        if len(self.begun) > LEAST and self.begun[-1] - self.begun[0] >= self.limit:
            raise TimeOver
        self.waited.append(0.0)

    def counted(self) -> tuple[list[float], float]:
        """Return the seconds of each update but the first ones, and the share of them that was waiting."""
        seconds = [end - start for start, end in pairwise(self.begun)]
        if self.marks:
            self.marks[-1].synchronize()
            # CUDA tells milliseconds.
            seconds = [start.elapsed_time(end) / 1e3 for start, end in pairwise(self.marks)]  # type: ignore[no-untyped-call]
        first = WARMING if len(seconds) >= 2 * WARMING else 1
        return seconds[first:], sum(self.waited[first:]) / sum(seconds[first:])


class _SignalsEnd:
    """Signals end the block at once: nothing is there to be saved."""

    def __init__(self) -> None:
        self.ended = False

    def __enter__(self) -> None:
        self.before = self.listen()

    def __exit__(self, *_: Any) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def listen(self) -> dict[signal.Signals, Any]:
        """Take over the signals. Returns what handled them before."""
        return {number: signal.signal(number, self._end) for number in ENDING}

    def _end(self, number: int, _: FrameType | None) -> None:
        # A second signal must not end the clearing up.
        if not self.ended:
            self.ended = True
            raise Interrupted(number, f"{signal.Signals(number).name}: stopped; nothing was written")


def _measured(trainer: Trainer, clocked: Clocked, folder: Path, scan: str | None) -> Measured:
    device = trainer.processes.device
    seconds, waiting = clocked.counted()
    # Before the weights are copied.
    memory = peak_memory(device)
    weights = trainer.strategy.weights()
    trainer.objective.export(folder / "encoder", weights)
    return Measured(
        device=device_name(device),
        on_gpu=device.type == "cuda",
        precision=trainer.precision,
        seconds=seconds,
        waiting=waiting,
        largest_batch=clocked.largest / SAMPLE_RATE,
        memory=memory,
        parameters=sum(parameter.numel() for parameter in trained(trainer.module).values()),
        checkpoint_bytes=sum(tensor.nbytes for tensor in [*weights.values(), *trainer.strategy.moments().values()]),
        encoder_bytes=sum(path.stat().st_size for path in (folder / "encoder").iterdir()),
        scan=scan,
    )


def device_name(device: torch.device) -> str:
    """Return what a person calls the device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'s' if threads > 1 else ''}"


def peak_memory(device: torch.device) -> dict[str, int]:
    """Return the peak of this process and what there is, in bytes: the GPU's memory, or on a CPU the main memory."""
    if device.type == "cuda":
        return {
            "peak_allocated": torch.cuda.max_memory_allocated(device),
            "peak_reserved": torch.cuda.max_memory_reserved(device),
            "available": torch.cuda.mem_get_info(device)[1],
        }
    # Not getrusage: its peak may be that of the process which started this one.
    peak = _kilobytes("/proc/self/status", "VmHWM")
    return {"peak_resident": 1024 * peak, "available": 1024 * _kilobytes("/proc/meminfo", "MemTotal")}


def _kilobytes(path: str, name: str) -> int:
    rows = dict(line.split(":", 1) for line in Path(path).read_text(encoding="utf-8").splitlines())
    return int(rows[name].split()[0])
