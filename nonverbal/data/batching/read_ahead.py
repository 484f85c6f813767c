"""Processes that read micro-batches ahead, by torch's ``DataLoader``; and what is said when one of them dies."""

import contextlib
import math
import multiprocessing
import os
import signal
import threading
import weakref
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from nonverbal.batch import Batch
from nonverbal.errors import UserError
from nonverbal.system import ENDING, end_with_parent

SHARED_MEMORY_FOLDER = Path("/dev/shm")
"""Through which torch's workers hand over tensors, on Linux."""

LEAST_AHEAD = 2
"""Micro-batches that each worker reads ahead at least: one that it reads, one that is ready."""

SMALLER = "batches.batch_seconds (batches.batch_clips, where clips are counted)"
"""The settings that make micro-batches smaller: one of the two, as the run is of one kind or the other."""

_reading: weakref.WeakKeyDictionary[Any, list[BaseProcess]] = weakref.WeakKeyDictionary()
"""torch's iterators that are in use, and this process's children when they began: their workers among them."""

_left: list[Any] = []
"""torch's iterators that were in use when something failed. torch clears up when the last reference goes, and then
waits for its pin thread, which may wait for ever for what a dead worker had begun to send. At exit it does nothing."""


def micro_batches_ahead(of_a_step: int, workers: int) -> int:
    """Return how many micro-batches each worker reads ahead: all together two steps' worth, and at least two each.

    A step takes all its micro-batches at once, so with fewer it waits for the last ones to be read.

    They lie in ``/dev/shm`` until they are taken.

    Args:
        of_a_step: micro-batches that this process takes in a step.
        workers: at least 1.
    """
    return max(-(-2 * of_a_step // workers), LEAST_AHEAD)


def check_shared_memory(needed: int) -> None:
    """Refuse to begin where ``needed`` bytes do not fit in ``/dev/shm``: a worker would die when it is full.

    Counts as many processes as the launcher says it has started on this machine, which all share it. So all must have
    come here before any of them starts workers, whose micro-batches would count twice: as needed, and as not free.

    Args:
        needed: bytes that this process's workers may take.

    Raises:
        UserError: they do not.
    """
    if not SHARED_MEMORY_FOLDER.is_dir():
        return
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    status = os.statvfs(SHARED_MEMORY_FOLDER)
    free = status.f_bavail * status.f_frsize
    if needed * here > free:
        raise UserError(
            f"{SHARED_MEMORY_FOLDER} has {free / 1e6:.0f} MB free, but the micro-batches that are read ahead may take "
            f"{needed * here / 1e6:.0f} MB there; start the container with a larger one (--shm-size), or lower "
            f"trainer.workers or {SMALLER}; with trainer.workers 0 nothing is read ahead"
        )


def read_ahead(
    dataset: Dataset[Batch], requests: Any, workers: int, timeout: float, ahead: int = LEAST_AHEAD
) -> Iterator[Batch]:
    """Yield ``dataset[request]`` for each request, in order.

    Args:
        dataset: a function of the request; what is wrong it raises as ``UserError``.
        requests: an iterable with a length.
        workers: processes; 0 to read in this one.
        timeout: seconds to wait for a batch.
        ahead: micro-batches that each worker reads ahead.
    """
    batches = iter(_loader(_Told(dataset), requests, workers, ahead))
    _reading[batches] = multiprocessing.active_children()
    deadline = _Deadline(_reading[batches], timeout)
    try:
        while True:
            with deadline.for_a_batch() if workers else contextlib.nullcontext():
                item = next(batches, None)
            if item is None:
                return
            if isinstance(item, UserError):
                # The error would hold this frame, which holds the error, and with them torch's iterator and workers.
                del batches
                raise item
            yield item
    except (RuntimeError, EOFError, ConnectionError) as error:
        if deadline.passed:
            raise RuntimeError(f"DataLoader worker did not hand over a batch for {timeout:g} seconds") from error
        if isinstance(error, RuntimeError):
            raise
        # What is left of a worker's pipe where it died while it wrote; torch has no word of its own for it.
        raise RuntimeError("DataLoader worker exited unexpectedly in the middle of a batch") from error


class _Deadline:
    """Kills workers that keep this process waiting for a batch, which ends the wait.

    torch has a timeout for a worker's message, but not for the exchange that follows, in which the worker hands over
    the shared memory of the batch: a worker that is stopped (SIGSTOP) between the two never does. Also, torch's timeout
    goes on while this process is stopped itself, with its workers.
    """

    def __init__(self, workers: list[BaseProcess], seconds: float) -> None:
        self.workers, self.seconds = workers, seconds
        self.passed = False

    @contextlib.contextmanager
    def for_a_batch(self) -> Iterator[None]:
        """Enclose the wait for a batch."""
        arrived = threading.Event()
        watch = threading.Thread(target=self._watch, args=(arrived,), daemon=True)
        watch.start()
        try:
            yield
        finally:
            arrived.set()
            watch.join()

    def _watch(self, arrived: threading.Event) -> None:
        # Second by second, so that time in which this process is stopped does not count.
        for _ in range(math.ceil(self.seconds)):
            if arrived.wait(1):
                return
        self.passed = True
        for worker in self.workers:
            worker.kill()


@contextlib.contextmanager
def workers_watched() -> Iterator[None]:
    """Say in one line that a worker has died or hangs, and leave none behind where the block fails.

    Raises:
        UserError: torch's signal handler has noticed it, at any place in the block, or the next batch did not come.
    """
    try:
        yield
    except BaseException as error:
        # A worker that hangs would be waited for at exit, for ever; their being killed need not be reported.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _left.extend(_reading)
        workers = [worker for children in _reading.values() for worker in children]
        full = "Bus error" in str(error) or any(worker.exitcode == -signal.SIGBUS for worker in workers)
        for worker in multiprocessing.active_children():
            worker.kill()
        # What torch says of a worker that is gone or late, and of the thread that pins what workers send.
        if isinstance(error, RuntimeError) and str(error).startswith(("DataLoader", "Pin memory thread")):
            raise UserError(_told(str(error).strip(" ."), full)) from error
        raise


def _told(what: str, full: bool) -> str:
    remedy = (
        f"if memory ran out, lower trainer.workers or {SMALLER}; if the shards' disk does not answer, copy them to "
        "another"
    )
    if full:
        remedy = (
            f"it found no room in {SHARED_MEMORY_FOLDER} (SIGBUS): start the container with a larger one (--shm-size), "
            f"or lower trainer.workers or {SMALLER}"
        )
    return (
        f"a process that reads audio ahead has died or hangs ({what}); {remedy}; run the same command again to "
        "continue from the last checkpoint"
    )


class _Told(Dataset[Batch | UserError]):
    """Hands over what is wrong as an item: raised in a worker, it would come with the worker's traceback."""

    def __init__(self, dataset: Dataset[Batch]) -> None:
        self.dataset = dataset

    def __getitem__(self, request: Any) -> Batch | UserError:
        try:
            return self.dataset[request]
        except UserError as error:
            return error


def _loader(dataset: _Told, requests: Any, workers: int, ahead: int) -> DataLoader[Batch | UserError]:
    return DataLoader(
        dataset,
        sampler=requests,
        batch_size=None,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        prefetch_factor=ahead if workers else None,
        worker_init_fn=_start_worker if workers else None,
    )


def _start_worker(_: int) -> None:
    # Signals of the run are the main process's affair: it finishes its step, saves, and then ends the workers.
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    # A worker that outlives its process by seconds holds the lock of the run folder as long.
    end_with_parent(signal.SIGKILL)
    torch.set_num_threads(1)
