"""Counts what was done to runs, and what became of them, and prints it as a table at the end."""

import pytest

COUNTS = pytest.StashKey()


def pytest_configure(config):
    config.stash[COUNTS] = {}


@pytest.fixture
def count(request):
    """Return ``count(fault, as_promised, seconds)``, which is called once a fault."""

    def add(fault, as_promised, seconds):
        request.config.stash[COUNTS].setdefault(fault, []).append((bool(as_promised), seconds))

    return add


def pytest_terminal_summary(terminalreporter, config):
    counts = config.stash[COUNTS]
    if not counts:
        return
    terminalreporter.write_line("\n| fault | times | as promised | seconds until all had ended, at most |")
    terminalreporter.write_line("|---|---|---|---|")
    for fault, cases in counts.items():
        seconds = max(seconds for _, seconds in cases)
        terminalreporter.write_line(f"| {fault} | {len(cases)} | {sum(good for good, _ in cases)} | {seconds:.1f} |")
