"""Counts what was done to runs, and what became of them, and prints it as a table at the end."""

import pytest
from together import REPORT, WORKING, make_cast, make_sounds, prepare, two_encoders

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


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("together")


@pytest.fixture(scope="session")
def heard(place):
    """Shards for the commands that run together."""
    return prepare(make_sounds(place / "sounds", 0), place / "shards")


@pytest.fixture(scope="session")
def encoders(place):
    return two_encoders(place)


@pytest.fixture(scope="session")
def quiet(place, heard, encoders):
    """What each command comes to alone, one after another."""
    cast = make_cast(heard, place / "quiet", encoders)
    for name in (*WORKING, REPORT):
        cast.finish([name])
    return cast


@pytest.fixture
def cast(tmp_path, heard, encoders):
    made = make_cast(heard, tmp_path / "cast", encoders)
    yield made
    made.kill_all()
