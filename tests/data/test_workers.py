"""Workers that read audio: how they end, and what is said when one is ended."""

import os
import signal
import time
from multiprocessing import get_context

import pytest

from nonverbal.data.workers import in_order, start_worker
from nonverbal.errors import UserError
from nonverbal.signals import ignore


def work(sender):
    start_worker()
    sender.send("working")
    time.sleep(60)


@pytest.mark.processes
def test_a_worker_ends_on_sigterm_even_if_the_first_process_ignores_it():
    # As after a run that was trained in it.
    ignore(signal.SIGTERM)
    receiver, sender = get_context("spawn").Pipe(duplex=False)
    process = get_context("spawn").Process(target=work, args=(sender,))
    process.start()
    # So that a worker that ends early is not waited for.
    sender.close()
    assert receiver.recv() == "working"
    process.terminate()
    process.join(30)
    code = process.exitcode
    process.kill()
    assert code == -signal.SIGTERM


def end_at_3(number):
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return -number


@pytest.mark.processes
def test_results_come_in_order_and_a_worker_that_was_killed_is_no_endless_wait():
    assert list(in_order(end_at_3, [0, 1, 2], 2)) == [0, -1, -2]
    with pytest.raises(UserError, match="a process that reads audio was ended from outside, perhaps for lack of memor"):
        list(in_order(end_at_3, [0, 1, 2, 3, 4], 2))
