"""What commands that run together share is changed under them: their clock, and their shards."""

import os
import random
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from together import (
    PRETRAIN,
    PROBE,
    PROBING,
    REPORT,
    TRAINING,
    TUNE,
    WORKING,
    differences,
    drawn_moment,
    make_cast,
    make_sounds,
    mixed,
    prepare,
    scores,
)

pytestmark = pytest.mark.chaos

SEED = 13
DAY = 86400


@pytest.fixture
def clock(tmp_path):
    """Return the variables with which a process has a clock of its own, and the file that sets it back by a day."""
    library, flag = tmp_path / "clock.so", tmp_path / "set-back"
    source = Path(__file__).with_name("clock.c")
    try:
        subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "-o", str(library), str(source), "-ldl"], check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no C compiler makes a clock")
    return {"LD_PRELOAD": str(library), "CLOCK_SET_BACK": str(flag)}


def test_their_clock_set_back(tmp_path, heard, encoders, quiet, clock, count):
    draw = random.Random(SEED)
    cast = make_cast(heard, tmp_path / "cast", encoders, **clock)
    try:
        for name in (*WORKING, REPORT):
            cast.start(name)
        drawn_moment(cast, draw, draw.choice(WORKING))
        Path(clock["CLOCK_SET_BACK"]).touch()
        started = time.monotonic()
        told = os.popen(f"LD_PRELOAD={clock['LD_PRELOAD']} CLOCK_SET_BACK={clock['CLOCK_SET_BACK']} date +%s").read()
        assert abs(time.time() - int(told) - DAY) < 60
        while cast.running():
            stamp_files(cast.work, draw)
            time.sleep(0.2)
        took = time.monotonic() - started
        failed = cast.failed(WORKING)
        cast.finish()
        apart = differences(quiet, cast)
        # All is done: given again, with files of any age, the commands change nothing.
        stamp_files(cast.work, draw)
        started = time.monotonic()
        cast.finish()
        took_again = time.monotonic() - started
        again = differences(quiet, cast)
    finally:
        cast.kill_all()
    count("clock set back by a day, files of any age, five commands", not apart and not failed, took)
    count("the same commands again, their files of any age", not again, took_again)
    assert not failed
    assert not apart
    assert not again


def stamp_files(folder, draw):
    """Give files drawn times, from a year ago to a year ahead."""
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                when = time.time() + draw.uniform(-365, 365) * DAY
                os.utime(Path(place, name), (when, when))
            except FileNotFoundError:
                continue


@pytest.fixture(scope="session")
def others(place):
    """Shards of other sounds with the same names, speakers and labels."""
    return prepare(make_sounds(place / "other-sounds", 1), place / "other-shards")


@pytest.fixture(scope="session")
def quiet_others(place, others, encoders):
    cast = make_cast(others, place / "quiet-others", encoders)
    cast.finish(PROBING)
    return cast


def by_folder(own, others):
    """Put a folder in the place of another, in two steps."""
    new = shutil.copytree(others, own.with_name("new"))
    own.rename(own.with_name("old"))
    new.rename(own)
    shutil.rmtree(own.with_name("old"))


def by_file(own, others, draw):
    """Put each file in the place of another, as rsync does."""
    names = sorted(path.name for path in others.iterdir() if not path.name.startswith("."))
    draw.shuffle(names)
    for name in names:
        os.replace(shutil.copy(others / name, own / f".{name}.new"), own / name)
    for path in own.glob("*.tar"):
        if not (others / path.name).exists():
            path.unlink()


def in_place(own, others, draw):
    """Write over each shard, and put the other files in the place of those that were there."""
    for path in others.glob("*.tar"):
        (own / path.name).write_bytes(path.read_bytes())
    by_file(own, others, draw)


WAYS = {"the folder": lambda own, others, _: by_folder(own, others), "file by file": by_file, "written over": in_place}

TRUE = (
    "holds other data by now",
    "has been changed or replaced since",
    "is not the manifest of the index.json",
    "holds a run on other data",
    "does not belong to",
    "copy it again",
    "cannot be read",
    "cannot be decoded",
)
"""What is true of shards that are, or have been, replaced."""


@pytest.mark.parametrize("way", WAYS)
def test_their_shards_replaced(tmp_path, heard, others, encoders, quiet, quiet_others, way, count):
    draw = random.Random(f"{SEED} {way}")
    own = shutil.copytree(heard, tmp_path / "shards")
    cast = make_cast(own, tmp_path / "cast", encoders)
    replace = WAYS[way]
    try:
        for name in WORKING:
            cast.start(name)
        for name in TRAINING:
            cast.started[name].wait_for(lambda name=name: cast.progress(name)[0])
        drawn_moment(cast, draw, draw.choice(WORKING))
        replace(own, others, draw)
        started = time.monotonic()
        cast.wait(WORKING)
        took = time.monotonic() - started
        said = cast.failed(WORKING)
        apart = mixed(cast, quiet, quiet_others)
        for name in TRAINING:
            cast.start(name)
        refused = set(cast.wait(TRAINING))
        said += cast.failed(TRAINING)
        cast.finish(PROBING)
        cast.finish([REPORT])
        apart += mixed(cast, quiet, quiet_others)
        told = all(row in scores(cast.out(PROBE)) for row in scores(quiet_others.out(PROBE)))
        replace(own, heard, draw)
        cast.finish(WORKING)
        apart += differences(quiet, cast, report=False)
    finally:
        cast.kill_all()
    true = all(len(line.splitlines()) <= 4 and any(text in line for text in TRUE) for line in said)
    good = not apart and true and refused == {PRETRAIN, TUNE} and told
    count(f"shards replaced by others under the same name: {way}, four commands", good, took)
    assert not apart
    assert true, said
    assert refused == {PRETRAIN, TUNE}
    assert told
