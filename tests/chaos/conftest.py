"""Counts what was done to runs, and what became of them, and prints it as a table at the end."""

import os
import subprocess

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


@pytest.fixture
def make_disk(tmp_path):
    """Return ``make_disk(size)``, which makes a real file system of so many bytes (``700k``)."""
    disk = tmp_path / "disk"

    def make(size):
        disk.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)], check=False)
        if mounted.returncode:
            pytest.skip("a small disk can only be mounted as root")
        return disk

    yield make
    if os.path.ismount(disk):
        # Lazily, because a process that was killed may still hold a file of it.
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


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
