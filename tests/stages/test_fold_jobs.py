"""Folds side by side, each a process of its own."""

import signal
import sys

import pytest

from nonverbal.signals import Interrupted
from nonverbal.stages.finetuning import jobs
from nonverbal.stages.finetuning.jobs import Jobs


class Started:
    """A process that ends when it is sent a signal."""

    def __init__(self):
        self.sent, self.returncode = [], None

    def poll(self):
        self.returncode = 128 + self.sent[0] if self.sent else None
        return self.returncode

    def send_signal(self, number):
        self.sent.append(number)


def test_a_signal_that_comes_while_a_process_is_started_reaches_it(monkeypatch):
    started = []

    def start(*_, **__):
        started.append(Started())
        if len(started) == 2:
            signal.raise_signal(signal.SIGTERM)
        return started[-1]

    monkeypatch.setattr(jobs.subprocess, "Popen", start)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    with pytest.raises(Interrupted):
        Jobs(2).run(["seed-0/fold-0", "seed-0/fold-1", "seed-0/fold-2"])
    assert [own.sent for own in started] == [[signal.SIGTERM], [signal.SIGTERM]]
