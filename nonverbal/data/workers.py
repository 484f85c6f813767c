"""Work over processes, of which one may go down: with a file that crashes its decoder, or because memory ran out."""

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
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
"""Exit codes of processes that ended by what they did, not by what was done to them."""

ENDED = (
    "a process that decodes audio was ended from outside, perhaps for lack of memory; run the same command again with "
    "fewer --processes"
)

# Fresh interpreters: a copy of this one would copy its threads' locks. They import no torch, so they start fast.
CONTEXT = get_context("forkserver")


@dataclass(frozen=True)
class Done(Generic[Item, Result]):
    """What became of an item."""

    item: Item
    result: Result | None
    crash: str | None = None
    """Name of the signal by which the item took its process down; it has no result then."""


def over_processes(
    work: Callable[[Item], Result], items: Iterable[Item], processes: int
) -> Iterator[Done[Item, Result]]:
    """Call ``work`` with each item, over processes, and yield what came of it, in any order.

    When a process goes down, each item that may have been its last gets a process of its own, which tells.

    Raises:
        UserError: a process was ended from outside.
    """
    waiting = deque(items)
    while waiting:
        running: dict[Future[Result], Item] = {}
        pool = ProcessPoolExecutor(min(processes, len(waiting)), CONTEXT, initializer=start_worker)
        try:
            while waiting or running:
                while waiting and len(running) < 2 * processes:
                    # Where the pool is found broken, the item is still waiting.
                    with interrupt_deferred():
                        running[pool.submit(work, waiting[0])] = waiting[0]
                    waiting.popleft()
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    result = future.result()
                    yield Done(running.pop(future), result)
        except BrokenProcessPool:
            pass
        except MemoryError as error:
            raise UserError(ENDED) from error
        except (KeyboardInterrupt, GeneratorExit):
            for child in active_children():
                child.kill()
            raise
        finally:
            # A second Ctrl-C would leave workers behind that wait for work, and exit would wait for them.
            with interrupt_deferred():
                pool.shutdown(wait=True, cancel_futures=True)
        yield from [_alone(work, item) for item in running.values()]


def _alone(work: Callable[[Item], Result], item: Item) -> Done[Item, Result]:
    """Call ``work`` in a process of its own."""
    receiver, sender = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_answer, args=(sender, work, item))
    with interrupt_deferred():
        process.start()
    sender.close()
    try:
        result, error = receiver.recv()
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
    """Make a worker leave Ctrl-C to the first process, and end with it."""
    # Ctrl-C goes to the whole group; the first process ends the others.
    ignore(signal.SIGINT)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose first process was killed would wait for work for ever."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
