"""Four kinds of commands at once over one folder of shards and one cache, and what is done to them meanwhile."""

import random
import shutil
import time

import pytest
from together import (
    NOTHING_YET,
    PRETRAIN,
    REPORT,
    WORKING,
    differences,
    drawn_moment,
    make_cast,
    reports_meanwhile,
    unreadable,
)

pytestmark = pytest.mark.chaos

SEED = 11
KILLS = 3
"""Of each of five commands, whose processes are drawn; one that ends before its moment is started again."""

FILLS = 3


def test_all_at_once(cast, quiet, count):
    started = time.monotonic()
    for name in WORKING:
        cast.start(name)
    failed = reports_meanwhile(cast)
    took = time.monotonic() - started
    cast.finish()
    apart = differences(quiet, cast)
    count("five commands at once, reports meanwhile", not apart and not failed, took)
    assert not apart
    assert not failed


def test_killed_and_started_again(cast, quiet, count):
    draw = random.Random(SEED)
    victims = [*WORKING, REPORT] * KILLS
    draw.shuffle(victims)
    for name in (*WORKING, REPORT):
        cast.start(name)
    killed = []
    for name in victims:
        pids = []
        while not pids:
            done = name not in cast.running()
            if done:
                cast.start(name)
            drawn_moment(cast, draw, name, done)
            pids = sorted(cast.started[name].processes())
        cast.kill(draw.choice(pids))
        started = time.monotonic()
        cast.started[name].ended()
        killed.append((name, time.monotonic() - started))
        said = cast.started[name].log.read_text()
        assert "Traceback" not in said, said
        assert " bug " not in said, said
        cast.start(name)
    cast.wait([REPORT])
    cast.finish()
    apart = differences(quiet, cast)
    for name, took in killed:
        count(f"SIGKILL of a process of {name}, four others at work", not apart, took)
    assert not apart


def test_their_disk_filled(make_disk, tmp_path, heard, encoders, quiet, count):
    draw, disk = random.Random(SEED), make_disk("24m")
    cast = make_cast(heard, tmp_path / "cast", encoders)
    shutil.rmtree(cast.work)
    cast.work = disk / "work"
    cast.work.mkdir()
    told = []
    try:
        for turn in range(FILLS):
            for name in (*WORKING, REPORT):
                cast.start(name)
            drawn_moment(cast, draw, draw.choice(WORKING) if turn else PRETRAIN)
            started = time.monotonic()
            fill(cast, disk / "ballast")
            took = time.monotonic() - started
            told += [(said, took) for said in cast.failed((*WORKING, REPORT)) if NOTHING_YET not in said]
            assert not unreadable(cast)
            (disk / "ballast").unlink()
        started = time.monotonic()
        cast.finish()
        took_again = time.monotonic() - started
        apart = differences(quiet, cast)
    finally:
        cast.kill_all()
    for said, took in told:
        count("full disk under five commands: one line, with the remedy", names_the_remedy(said), took)
    count("full disk under five commands: all run again", not apart, took_again)
    assert all(names_the_remedy(said) for said, _ in told), told
    assert told
    assert not apart


def names_the_remedy(said):
    # Also of a fine-tuning, whose other folds would find no space either.
    lines = said.splitlines()
    return all("no space is left for" in line and "make room" in line for line in lines) and len(lines) == 1


def fill(cast, ballast):
    """Fill the disk, and keep it full until all commands have ended."""
    with open(ballast, "wb", buffering=0) as file:
        while cast.running():
            for size in (1 << 20, 1 << 12, 1):
                try:
                    while file.write(bytes(size)) == size:
                        pass
                except OSError:
                    continue
            time.sleep(0.01)
    cast.wait(list(cast.started))
