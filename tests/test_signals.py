import signal
from types import SimpleNamespace

import pytest

from nonverbal.signals import PassedOn


class Coming(list):
    """Children, with a signal before or after one is added."""

    def __init__(self, before, after):
        self.before, self.after = before, after

    def append(self, child):
        if self.before:
            signal.raise_signal(self.before)
        super().append(child)
        if self.after:
            signal.raise_signal(self.after)


@pytest.mark.parametrize(
    ("before", "after", "sent"),
    [(0, 0, []), (signal.SIGINT, 0, [signal.SIGINT]), (0, signal.SIGINT, [signal.SIGINT])],
)
def test_a_signal_while_a_child_is_added_reaches_it_once(before, after, sent):
    got = []
    with PassedOn() as signals:
        signals.children = Coming(before, after)
        signals.to(SimpleNamespace(send_signal=got.append))
    assert got == sent
