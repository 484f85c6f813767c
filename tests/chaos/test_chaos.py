"""What is done to real runs, tiny ones, and what must become of them."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from marked_runs import LIMIT, MarkedRun, done, same_run
from tiny_runs import CLIPS, ROOT, environment, pretrain

pytestmark = pytest.mark.chaos

SEED = 7
# So tiny a model learns nothing in so few steps, which the watchdog would notice.
LONG = ("trainer.steps=60", "trainer.keep_checkpoints=3", "trainer.watchdog.on_collapse=warn")
TWO = (*LONG, "trainer.steps=30", "trainer.processes=2")
ENDLESS = ("trainer.steps=100000", "trainer.watchdog.on_collapse=warn")
WAYS = {
    "0 data workers": ("trainer.workers=0",),
    "1 data worker": ("trainer.workers=1",),
    "2 processes": ("trainer.processes=2",),
}


@pytest.fixture(scope="module")
def shards(module_shards):
    return module_shards(CLIPS).folder


@pytest.fixture
def own(tmp_path, shards):
    """A copy of the shards that a test may damage."""
    return shutil.copytree(shards, tmp_path / "own")


def whole_run(shards, folder, *settings):
    result = pretrain(shards, folder, *settings)
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture(scope="module")
def short(shards, tmp_path_factory):
    return whole_run(shards, tmp_path_factory.mktemp("short") / "run")


def at_phase(run, phase, draw):
    """Wait until ``run`` is in a phase, at a random moment of it."""
    before = done(run.out)
    if phase == "start-up":
        time.sleep(draw.uniform(0.1, 5))
        return
    happened = {
        "a step": lambda: done(run.out) > before,
        "validation": lambda: done(run.out) > before and last_row(run.out)["step"] % 3 == 0,
        "a checkpoint": lambda: any((run.out / "checkpoints").glob(".step-*.new")),
        "the export": (run.out / ".encoder.new").exists,
    }[phase]
    run.wait_for(happened)
    time.sleep(draw.uniform(0, 0.2) if phase == "a step" else draw.uniform(0, 0.01))


def last_row(run):
    try:
        return json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    except ValueError:
        return {"step": 1}


def test_killed_ten_times_a_run_is_the_run_in_one_go(tmp_path, shards, count):
    draw = random.Random(SEED)
    one, out = whole_run(shards, tmp_path / "one", *LONG), tmp_path / "killed"
    phases = ["start-up", "a step", "validation", "a checkpoint", "the export"] * 2
    draw.shuffle(phases)
    seconds = []
    for phase in phases:
        run = MarkedRun(shards, out, *LONG)
        at_phase(run, phase, draw)
        run.process.kill()
        seconds.append(run.ended())
    whole_run(shards, out, *LONG)
    same = same_run(one, out)
    for phase, took in zip(phases, seconds, strict=True):
        count(f"SIGKILL in {phase}", same, took)
    assert same


def test_with_two_processes_any_may_be_killed_ten_times(tmp_path, shards, count):
    draw = random.Random(SEED)
    one, out = whole_run(shards, tmp_path / "one", *TWO), tmp_path / "killed"
    victims = ["launcher", "rank 0", "rank 1"] * 2 + ["launcher", "rank 1", "data worker", "data worker"]
    draw.shuffle(victims)
    seconds = []
    for number, victim in enumerate(victims):
        run = MarkedRun(shards, out, *TWO)
        at_phase(run, "start-up" if number % 4 == 3 and victim != "data worker" else "a step", draw)
        run.wait_for(lambda run=run, victim=victim: victim in run.victims())
        os.kill(run.victims()[victim], signal.SIGKILL)
        seconds.append(run.ended())
        assert "Traceback" not in run.log.read_text()
        assert " bug " not in run.log.read_text(), run.log.read_text()
    whole_run(shards, out, *TWO)
    same = same_run(one, out)
    for victim, took in zip(victims, seconds, strict=True):
        count(f"SIGKILL of {victim}, two processes", same, took)
    assert same


@pytest.mark.parametrize("victim", ["rank 0", "rank 1"])
def test_a_process_that_stops_without_dying(tmp_path, shards, count, victim):
    run = MarkedRun(shards, tmp_path / "run", "trainer.processes=2", "trainer.timeout_minutes=0.2", *ENDLESS)
    run.wait_for(lambda: done(run.out) > 2)
    os.kill(run.victims()[victim], signal.SIGSTOP)
    seconds = run.ended()
    said = run.said()
    assert run.process.returncode == 2
    assert any("has not answered for 0.2 minutes (trainer.timeout_minutes)" in line for line in said), said
    count(f"SIGSTOP of {victim}, timeout_minutes 0.2", True, seconds)


def test_a_process_that_aborts_as_nccl_has_it(tmp_path, shards, count):
    one, out = whole_run(shards, tmp_path / "one", *TWO), tmp_path / "aborted"
    run = MarkedRun(shards, out, *TWO)
    run.wait_for(lambda: done(run.out) > 2 and "rank 1" in run.victims())
    os.kill(run.victims()["rank 1"], signal.SIGABRT)
    seconds = run.ended()
    said = run.said()
    assert run.process.returncode == 128 + signal.SIGABRT
    # Without a GPU it cannot have been NCCL's watchdog.
    meaning = "lost contact with another" if torch.cuda.is_available() else "its own lines above say why"
    assert any("process 1 was ended by SIGABRT" in line and meaning in line for line in said), said
    assert "Traceback" not in run.log.read_text()
    whole_run(shards, out, *TWO)
    same = same_run(one, out)
    count("SIGABRT of rank 1, two processes", same, seconds)
    assert same


@pytest.fixture
def small_disk(make_disk):
    return make_disk("700k")


def test_a_full_disk_during_a_checkpoint(small_disk, shards, short, count):
    started = time.monotonic()
    result = pretrain(shards, small_disk / "run")
    seconds = time.monotonic() - started
    assert result.returncode == 2
    assert result.stderr == (
        f"nonverbal: no space is left for {small_disk / 'run'}; make room, and run the same command again: "
        "it continues\n"
    )
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    result = pretrain(shards, small_disk / "run")
    assert f"continuing from {small_disk / 'run/checkpoints/step-3'}" in result.stdout
    same = same_run(short, small_disk / "run")
    count("full disk during a checkpoint", same, seconds)
    assert same


def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


def flip(path):
    """Flip one bit in the middle of the file, which in a shard is audio."""
    with open(path, "r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 4]))


def remove(path):
    path.unlink()


def refused(code, lines, *names):
    """Whether a run ended with exit code 2, a line that names the cause, and nothing else but lost contacts.

    Each of two processes may have met the cause.
    """
    causes = [line for line in lines if "lost contact with another process" not in line]
    return code == 2 and 1 <= len(causes) <= 2 and all(name in cause for cause in causes for name in names)


DAMAGE = {
    "truncated": (truncate, "train-000001.tar", "copy it again"),
    "missing": (remove, "train-000001.tar", "copy it again"),
    "flipped bit in": (flip, "train-000001.tar", "nonverbal prepare --verify"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_shard_before_the_start(tmp_path, own, count, damage, way):
    harm, name, remedy = DAMAGE[damage]
    harm(own / name)
    run = MarkedRun(own, tmp_path / "run", *WAYS[way])
    started = time.monotonic()
    run.ended(limit=180)  # start-up included, which on a busy machine is slow
    good = refused(run.process.returncode, run.said(), str(own / name), remedy)
    count(f"{damage} shard before the start, {way}", good, time.monotonic() - started)
    assert good, run.log.read_text()
    assert "Traceback" not in run.log.read_text()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("damage", ["truncated", "flipped bit in"])
def test_a_damaged_shard_in_the_middle(tmp_path, own, count, damage, way):
    harm, name, _ = DAMAGE[damage]
    run = MarkedRun(own, tmp_path / "run", *WAYS[way], *ENDLESS)
    run.wait_for(lambda: done(run.out) > 2)
    harm(own / name)
    seconds = run.ended()
    good = refused(run.process.returncode, run.said(), str(own / name), "nonverbal prepare --verify")
    count(f"{damage} shard in the middle, {way}", good, seconds)
    assert good, run.log.read_text()
    assert "Traceback" not in run.log.read_text()


def test_a_shard_that_goes_missing_is_missed_when_it_is_next_opened(tmp_path, own, count):
    run = MarkedRun(own, tmp_path / "run", *ENDLESS)
    run.wait_for(lambda: done(run.out) > 2)
    remove(own / "train-000001.tar")
    remove(own / "validation-000000.tar")
    seconds = run.ended()
    good = refused(run.process.returncode, run.said(), str(own / "validation-000000.tar"), "No such file", "--verify")
    count("missing validation shard in the middle, 1 data worker", good, seconds)
    assert good, run.log.read_text()


def test_verify_names_a_shard_with_a_flipped_bit(own, count):
    flip(own / "train-000001.tar")
    started = time.monotonic()
    command = [sys.executable, str(ROOT / "pretrain/prepare.py"), "--verify", str(own)]
    result = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=LIMIT)
    good = refused(result.returncode, result.stderr.splitlines(), str(own / "train-000001.tar"), "copy them again")
    count("flipped bit in shard, prepare --verify", good, time.monotonic() - started)
    assert good, result.stderr


@pytest.mark.parametrize(
    ("name", "told"), [("index.json", "holds a run on other data"), ("table.npy", "does not belong")]
)
def test_changed_shards_are_refused_when_a_run_goes_on(tmp_path, own, short, count, name, told):
    out = shutil.copytree(short, tmp_path / "run")
    if name == "index.json":
        (own / name).write_text(json.dumps(json.loads((own / name).read_text()) | {"seed": 1}))
    else:
        flip(own / name)
    started = time.monotonic()
    result = pretrain(own, out)
    good = refused(result.returncode, result.stderr.splitlines(), told)
    count(f"changed {name} before the start", good, time.monotonic() - started)
    assert good, result.stderr


CHECKPOINT = {"truncated": (truncate, "model.safetensors"), "flipped bit in": (flip, "optimizer.safetensors")}
CHECKPOINT["missing"] = (remove, "state.json")


@pytest.mark.parametrize("damage", CHECKPOINT)
def test_an_unreadable_last_checkpoint(tmp_path, shards, short, count, damage):
    harm, name = CHECKPOINT[damage]
    out = shutil.copytree(short, tmp_path / "run")
    harm(out / "checkpoints/step-6" / name)
    started = time.monotonic()
    result = pretrain(shards, out)
    told = " ".join(result.stdout.split())
    good = "taking the checkpoint before it" in told and f"continuing from {out / 'checkpoints/step-3'}" in told
    good = good and "step-6" in told and same_run(short, out)
    count(f"{damage} last checkpoint", good, time.monotonic() - started)
    assert good, (result.stdout, result.stderr)


def test_no_readable_checkpoint_at_all(tmp_path, shards, short, count):
    out = shutil.copytree(short, tmp_path / "run")
    for path in (out / "checkpoints").glob("*/model.safetensors"):
        truncate(path)
    started = time.monotonic()
    result = pretrain(shards, out)
    good = refused(result.returncode, result.stderr.splitlines(), "none of the checkpoints in", "another --out")
    count("all checkpoints unreadable", good, time.monotonic() - started)
    assert good, result.stderr


class Silence:
    """In the place of the random numbers that the clips are made of."""

    def uniform(self, low, high, size):
        return np.zeros(size)


@pytest.fixture
def silent(make_shards, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(np.random, "default_rng", lambda _: Silence())
        return make_shards(CLIPS, "silent").folder


COLLAPSE = {
    "learning rate 1": ("the codebook has collapsed (perplexity 2", ("trainer.optimizer.lr=1",)),
    "learning rate 10": ("10 steps in a row had a loss or gradient that is not finite", ("trainer.optimizer.lr=10",)),
    "temperature 1e-45": (
        "10 steps in a row had a loss or gradient that is not finite",
        ("wav2vec2.objective.temperature=1e-45",),
    ),
    "two codes, diversity weight 0": (
        "the codebook has collapsed (perplexity 2",
        (
            "wav2vec2.architecture.codes=2",
            "wav2vec2.objective.diversity_weight=0",
            # At a third of it some seeds and some processors' rounding end in other ways.
            "trainer.optimizer.lr=0.3",
        ),
    ),
}
COLLAPSING = (
    "trainer.steps=150",
    "trainer.log_every=2",
    "trainer.validate_every=1000",
    "trainer.checkpoint_every=1000",
)


@pytest.mark.parametrize("how", COLLAPSE)
def test_a_run_made_to_collapse_stops(tmp_path, shards, count, how):
    told, settings = COLLAPSE[how]
    started = time.monotonic()
    result = pretrain(shards, tmp_path / "run", *COLLAPSING, *settings)
    good = refused(result.returncode, result.stderr.splitlines(), told, "usual causes")
    count(f"collapse by {how}", good, time.monotonic() - started)
    assert good, (result.stdout[-500:], result.stderr)


def test_a_run_on_silence_is_at_chance_for_ever(tmp_path, silent, count):
    # Rows of 20 steps: in shorter ones chance itself varies by more than the watchdog's tenth.
    settings = ("trainer.steps=300", "trainer.log_every=20", "trainer.watchdog.patience=5")
    started = time.monotonic()
    result = pretrain(silent, tmp_path / "run", *COLLAPSING, *settings)
    good = refused(result.returncode, result.stderr.splitlines(), "accuracy is still at chance", "usual causes")
    count("collapse by silence", good, time.monotonic() - started)
    assert good, (result.stdout[-500:], result.stderr)


def test_a_run_made_to_collapse_goes_on_where_it_is_told_to(tmp_path, shards, count):
    settings = ("trainer.optimizer.lr=1", "trainer.steps=40", "trainer.watchdog.on_collapse=warn")
    started = time.monotonic()
    result = pretrain(shards, tmp_path / "run", *COLLAPSING, *settings)
    told = " ".join(result.stdout.split())
    good = result.returncode == 0 and "step 24: the codebook has collapsed" in told and "step 40/40" in told
    count("collapse by learning rate 1, on_collapse warn", good, time.monotonic() - started)
    assert good, (result.stdout, result.stderr)
