"""Distributes work over processes, any of which may crash: a decoder may fail on a file, or memory may run out."""

import contextlib
import os
import signal
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.connection import Connection
from typing import Any, Generic, TypeVar

from nonverbal.errors import UserError
from nonverbal.signals import ignore, interrupt_deferred, name_of

Item = TypeVar("Item")
Result = TypeVar("Result")

CRASHES = {-number for number in (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)}
"""Exit codes of processes that crashed by themselves, and were not ended by another process."""

ENDED = (
    "a process that reads audio was ended from outside, perhaps for lack of memory; run the same command again with "
    "fewer --processes"
)

# The processes are fresh interpreters, because a fork of this one would copy the locks of its threads. They do not
# import torch, so they start fast.
CONTEXT = get_context("forkserver")


LONGEST_TEMPORARY = 107 - len("/pymp-12345678/listener-12345678")
"""Longest path, in bytes, of the folder for temporary files: Linux allows 107 bytes for the path of a socket, and
Python puts those of its processes two levels below that folder."""


def check_temporary_folder() -> None:
    """Refuse a folder for temporary files in which processes cannot open sockets to each other.

    Data workers would fail to hand over the first batch, and the process that waits for it would wait in vain.

    Raises:
        UserError: the path of the folder is too long.
    """
    folder = tempfile.gettempdir()
    if (length := len(os.fsencode(folder))) > LONGEST_TEMPORARY:
        raise UserError(
            f"the folder for temporary files, {folder}, has a path of {length} bytes, but processes that read audio "
            f"need one of at most {LONGEST_TEMPORARY} bytes for their sockets; set TMPDIR to a folder with a shorter "
            "path, such as /tmp"
        )


@dataclass(frozen=True)
class Done(Generic[Item, Result]):
    """The outcome of an item."""

    item: Item
    result: Result | None
    crash: str | None = None
    """Name of the signal with which the process of this item crashed; then there is no result."""


def over_processes(
    work: Callable[[Item], Result], items: Iterable[Item], processes: int
) -> Iterator[Done[Item, Result]]:
    """Call ``work`` with each item on several processes, and yield the outcomes in any order.

    If a process crashes, each item that it may have been working on runs again in a process of its own, which shows
    whether this item was the cause.

    Raises:
        UserError: a process was ended from outside, or the path of the folder for temporary files is too long.
    """
    waiting = deque(items)
    while waiting:
        running: dict[Future[Result], Item] = {}
        with contextlib.suppress(BrokenProcessPool), _pool(min(processes, len(waiting))) as pool:
            while waiting or running:
                while waiting and len(running) < 2 * processes:
                    # If the pool turns out to be broken, the item is still waiting.
                    with interrupt_deferred():
                        running[pool.submit(work, waiting[0])] = waiting[0]
                    waiting.popleft()
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    result = future.result()
                    yield Done(running.pop(future), result)
        yield from [_alone(work, item) for item in running.values()]


def in_order(work: Callable[[Item], Result], items: Sequence[Item], processes: int) -> Iterator[Result]:
    """Call ``work`` with each item on several processes, and yield the results in the order of the items.

    Raises:
        UserError: a process was ended, or the path of the folder for temporary files is too long.
    """
    if processes <= 1:
        yield from map(work, items)
        return
    try:
        with _pool(processes) as pool:
            yield from pool.map(work, items)
    except BrokenProcessPool as error:
        raise UserError(ENDED) from error


@contextlib.contextmanager
def _pool(processes: int) -> Iterator[ProcessPoolExecutor]:
    """Start workers, and end them after the block: after an interruption at once."""
    check_temporary_folder()
    earlier = active_children()
    pool = ProcessPoolExecutor(processes, CONTEXT, initializer=start_worker)
    try:
        yield pool
    except MemoryError as error:
        raise UserError(ENDED) from error
    except (KeyboardInterrupt, GeneratorExit):
        for child in active_children():
            if child not in earlier:
                child.kill()
        raise
    finally:
        # A second Ctrl-C here would leave idle workers, and the exit would wait for them.
        with interrupt_deferred():
            pool.shutdown(wait=True, cancel_futures=True)


def _alone(work: Callable[[Item], Result], item: Item) -> Done[Item, Result]:
    """Call ``work`` in a process of its own."""
    receiver, sender = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_answer, args=(sender, work, item))
    with interrupt_deferred():
        process.start()
    sender.close()
    try:
        result, error = receiver.recv()
    except (KeyboardInterrupt, GeneratorExit):
        # It ignores Ctrl-C, and when this process exits, Python would wait for it.
        process.kill()
        raise
    except EOFError:
        process.join()
        if process.exitcode not in CRASHES:
            raise UserError(ENDED) from None
        return Done(item, None, name_of(-process.exitcode))
    process.join()
    if error is not None:
        raise error
    return Done(item, result)


def _answer(sender: Connection, work: Callable[[Any], Any], item: Any) -> None:
    start_worker()
    try:
        sender.send((work(item), None))
    # The main process raises it.
    except Exception as error:
        sender.send((None, error))


def start_worker() -> None:
    """Make a worker ignore Ctrl-C, which the first process handles, and end on SIGTERM and after that process."""
    # All processes of the group receive Ctrl-C; the first one ends the others.
    ignore(signal.SIGINT)
    # With it, pools end their workers, and then wait for them. A first process that ignores it hands that down.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this worker after the first process, since it would wait for work for ever if that was killed."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
