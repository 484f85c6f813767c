"""Reads micro-batches ahead in processes of torch's ``DataLoader``, and reports a process that dies or hangs."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from nonverbal.batch import Batch
from nonverbal.data.workers import check_temporary_folder
from nonverbal.errors import UserError
from nonverbal.signals import ENDING, end_with_parent, ignore

SHARED_MEMORY_FOLDER = Path("/dev/shm")
"""Folder through which torch's workers pass on tensors, on Linux."""

LEAST_AHEAD = 2
"""Smallest number of micro-batches that a worker reads ahead: one that it is reading, one that is ready."""

SMALLER = "batches.batch_seconds (batches.batch_clips, where clips are counted)"
"""The settings that make micro-batches smaller. A run has one of the two."""

_reading: weakref.WeakKeyDictionary[Any, list[BaseProcess]] = weakref.WeakKeyDictionary()
"""torch's iterators in use, with the workers of each."""

_left: list[Any] = []
"""torch's iterators that were in use when an error occurred. When the last reference is deleted, torch waits for its
pin thread, which may wait for ever for the rest of a message from a dead worker. At exit, torch does not wait."""


def micro_batches_ahead(of_a_step: int, workers: int) -> int:
    """Return how many micro-batches each worker reads ahead: together those of two steps, and at least two each.

    A step takes all its micro-batches at once. With fewer, it would wait until the last ones have been read. They
    occupy ``/dev/shm`` until they are used.

    Args:
        of_a_step: micro-batches of this process in a step.
        workers: at least 1.
    """
    return max(-(-2 * of_a_step // workers), LEAST_AHEAD)


def check_shared_memory(needed: int) -> None:
    """Refuse to start if ``needed`` bytes do not fit in ``/dev/shm``, because a worker would be killed when it is full.

    All processes that the launcher has started on this machine share it. All must have called this before any of them
    starts workers, whose micro-batches would otherwise count twice: as needed, and as not free.

    Args:
        needed: bytes that this process's workers may use.

    Raises:
        UserError: there is too little space.
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
        dataset: returns the batch of a request, or raises ``UserError``.
        requests: an iterable with a length.
        workers: number of processes; 0 to read in this one.
        timeout: seconds to wait for a batch.
        ahead: micro-batches that each worker reads ahead.
    """
    if workers:
        check_temporary_folder()
    earlier = multiprocessing.active_children()
    batches = iter(_loader(_Told(dataset), requests, workers, ahead))
    _reading[batches] = [child for child in multiprocessing.active_children() if child not in earlier]
    deadline = _Deadline(_reading[batches], timeout)
    try:
        while True:
            with deadline.for_a_batch():
                item = next(batches, None)
            if item is None:
                return
            if isinstance(item, UserError):
                # The error references this frame, and thus would keep torch's iterator and its workers alive.
                del batches
                raise item
            yield item
    except (RuntimeError, EOFError, ConnectionError) as error:
        if deadline.passed:
            raise RuntimeError(f"DataLoader worker did not hand over a batch for {timeout:g} seconds") from error
        if isinstance(error, RuntimeError):
            raise
        # A worker has died while it was writing to its pipe, for which torch has no message.
        raise RuntimeError("DataLoader worker exited unexpectedly in the middle of a batch") from error
    except GeneratorExit:
        # torch sends its workers SIGTERM, which they ignore: at exit, Python would wait for ever for one that hangs.
        del batches
        for worker in deadline.workers:
            worker.kill()
        raise
    finally:
        deadline.over.set()


class _Deadline:
    """Kills workers that keep this process waiting for a batch, which ends the wait.

    torch has a timeout for a worker's message, but not for the exchange that follows, in which the worker hands over
    the shared memory of the batch: a worker that is stopped (SIGSTOP) between the two never does. Also, torch's timeout
    keeps running while this process is itself stopped, with its workers.
    """

    def __init__(self, workers: list[BaseProcess], seconds: float) -> None:
        self.workers, self.seconds = workers, seconds
        self.passed = False
        self.over = threading.Event()
        """Set when no further batch is waited for."""
        self._turn = 0
        """Odd while a batch is waited for, and another number each time. Only the thread that waits changes it."""
        if workers:
            threading.Thread(target=self._watch, daemon=True).start()

    @contextlib.contextmanager
    def for_a_batch(self) -> Iterator[None]:
        """Enclose the wait for a batch."""
        self._turn += 1
        try:
            yield
        finally:
            self._turn += 1

    def _watch(self) -> None:
        turn, waited = 0, 0
        # Second by second, so that time in which this process is stopped does not count.
        while not self.over.wait(1):
            before, turn = turn, self._turn
            waited = waited + 1 if turn == before and turn % 2 else 0
            if waited >= self.seconds:
                self.passed = True
                for worker in self.workers:
                    worker.kill()
                return


@contextlib.contextmanager
def workers_watched() -> Iterator[None]:
    """Report in one line that a worker has died or hangs, and kill all workers if the block fails.

    Raises:
        UserError: torch's signal handler has noticed a dead worker, anywhere in the block, or a batch did not arrive.
    """
    before = sys.unraisablehook
    sys.unraisablehook = partial(_without_second_report, before)
    try:
        yield
    except BaseException as error:
        # At exit, Python would wait for ever for a worker that hangs. torch need not report workers killed here.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _left.extend(_reading)
        workers = [worker for children in _reading.values() for worker in children]
        full = "Bus error" in str(error) or any(worker.exitcode == -signal.SIGBUS for worker in workers)
        for worker in multiprocessing.active_children():
            worker.kill()
        # These are torch's messages about a worker that is dead or late, and about the thread that pins memory.
        if isinstance(error, RuntimeError) and str(error).startswith(("DataLoader", "Pin memory thread")):
            raise UserError(_told(str(error).strip(" ."), full)) from error
        raise
    finally:
        sys.unraisablehook = before


def _without_second_report(before: Callable[[Any], Any], found: "sys.UnraisableHookArgs") -> None:
    """Do not print torch's error for a dead worker where Python cannot raise it, such as in a hook that a fork calls.

    The next batch raises it again.
    """
    if not str(found.exc_value).startswith("DataLoader worker"):
        before(found)


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
    """Returns a ``UserError`` as an item. If it were raised in a worker, torch would add the worker's traceback."""

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
    # The main process handles the signals: it finishes its step, saves, and then ends the workers.
    ignore(*ENDING)
    # As long as a worker outlives its process, it holds the lock of the run folder.
    end_with_parent(signal.SIGKILL)
    sys.excepthook = _without_lost_contact
    torch.set_num_threads(1)


def _without_lost_contact(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """Print an error of a worker's thread, as Python would, unless it is that the main process has gone.

    A thread of multiprocessing hands batches over. If the main process is interrupted meanwhile, the traceback of that
    thread would be printed among the messages to the user.
    """
    if not isinstance(error, ConnectionError | EOFError):
        sys.__excepthook__(kind, error, trace)
