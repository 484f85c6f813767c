"""Workers that decode audio end when the process that started them ends them."""

import signal
import time
from multiprocessing import get_context

import pytest

from nonverbal.data.workers import start_worker
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
    assert receiver.recv() == "working"
    process.terminate()
    process.join(30)
    code = process.exitcode
    process.kill()
    assert code == -signal.SIGTERM
