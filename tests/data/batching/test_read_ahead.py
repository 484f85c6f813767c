"""Workers that read ahead: how far, in how much shared memory, and what is said when one is gone."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from patience import HANGS, wait_until
from torch.utils.data import get_worker_info

from nonverbal.batch import Targets, TargetSampler
from nonverbal.data.batching import read_ahead as module
from nonverbal.data.batching.batches import ShardData, ShardDataset
from nonverbal.data.batching.epochs import BatchSettings, clip_table
from nonverbal.data.batching.micro_batches import MicroBatch
from nonverbal.data.batching.read_ahead import (
    _without_lost_contact,
    check_shared_memory,
    micro_batches_ahead,
    workers_watched,
)
from nonverbal.data.batching.requests import Request, TrainingRequests
from nonverbal.data.batching.unit_targets import UnitSampler
from nonverbal.data.batching.units import Units, frame_count
from nonverbal.data.index import open_shards
from nonverbal.data.log_mel import ExcerptSampler, LogMel
from nonverbal.errors import UserError
from nonverbal.models.ssam import Architecture
from nonverbal.objectives.reconstruction import SsamSettings, build_ssam_objective


class CountFrames(TargetSampler):
    """Draws one number a row."""

    def __call__(self, rows, random):
        return Targets(len(rows.lengths), {"drawn": torch.from_numpy(random.random(len(rows.lengths)))})


count_frames = CountFrames()


@pytest.fixture
def shards(make_shards):
    return make_shards([("a", 3.0, "train")] * 7 + [("b", 3.0, "validation")])


def test_two_steps_worth_is_read_ahead_and_at_least_two_a_worker():
    cases = [((1, 1), 2), ((8, 1), 16), ((8, 2), 8), ((8, 3), 6), ((1, 12), 2), ((64, 4), 32)]
    assert [micro_batches_ahead(*case) for case, _ in cases] == [ahead for _, ahead in cases]


@pytest.mark.parametrize(
    ("workers", "rank", "world", "asked"),
    # Two steps, and of the third the one that took the place of the first; with two workers the same of a step's two.
    [(1, 0, 1, 8 + 8 + 1), (2, 1, 4, 2 + 2 + 1)],
)
def test_as_many_as_that_are_asked_of_workers_before_one_is_taken(shards, monkeypatch, workers, rank, world, asked):
    yielded = []

    def noted(requests):
        for request in requests_before(requests):
            yielded.append(request)
            yield request

    requests_before = TrainingRequests.__iter__
    monkeypatch.setattr(TrainingRequests, "__iter__", noted)
    settings = BatchSettings(batch_seconds=10, batches_per_step=8)
    batches = ShardData([shards], settings, count_frames, 0, workers).training(range(1000), 0, 0, rank, world)
    assert not yielded
    next(batches)
    assert len(yielded) == asked


def free_bytes(monkeypatch, count):
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_bavail=count // 4096, f_frsize=4096))


def test_shared_memory_that_is_too_small_is_refused_before_the_run_begins(shards, monkeypatch):
    # 16 and 2 ahead and 16 held, of at most 10 s and 16 bytes a row: 5 rows of 2 s, or 1 of 10.
    needed = 34 * (10 * 32_000 + 5 * 16)
    settings = BatchSettings(batch_seconds=10, batches_per_step=8)
    data = ShardData([shards], settings, count_frames, 0, workers=1)
    free_bytes(monkeypatch, needed - 40_960)
    told = "/dev/shm has 11 MB free, but .* read ahead may take 11 MB there; .*--shm-size.* trainer.workers or batches"
    with pytest.raises(UserError, match=told):
        data.training(range(9), 0, 0, 0, 1)
    ShardData([shards], settings, count_frames, 0, workers=0).training(range(9), 0, 0, 0, 1)
    free_bytes(monkeypatch, needed + 40_960)
    data.training(range(9), 0, 0, 0, 1)


@pytest.mark.parametrize(("on_gpu", "held"), [(False, 3), (True, 0)])
def test_a_process_with_one_micro_batch_of_a_step_holds_three_in_validation_unless_they_are_pinned(
    shards, monkeypatch, on_gpu, held
):
    """The step's one, the one that was validated on, and the one that is taken."""
    said = []
    monkeypatch.setattr("nonverbal.data.batching.planned.check_shared_memory", said.append)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: on_gpu)
    data = ShardData([shards], BatchSettings(batch_seconds=10, batches_per_step=8), count_frames, 0, workers=3)
    data.training(range(9), 0, 0, 2, 8)
    assert said == [(3 * (2 + 2) + held) * (10 * 32_000 + 5 * 16)]


def bytes_of(batch):
    return sum(tensor.nbytes for tensor in (batch.waveforms, batch.lengths, *batch.targets.tensors.values()))


def test_the_size_of_a_batch_is_that_of_all_its_tensors(shards):
    table = clip_table([shards], "train")
    units = [Units(np.zeros(8 * frame_count(48_000), np.uint16), np.arange(1, 9) * frame_count(48_000))]
    tables = [LogMel(np.ones((8, 2), np.float32), shards.table["samples"], "")]
    ssam = build_ssam_objective(
        SsamSettings(architecture=Architecture(hidden_size=16, layers=1, state_size=2)), 0
    ).target_sampler
    lengths = np.array([48_000, 32_000])
    request = Request(MicroBatch([np.array([0]), np.array([1])], lengths), 0, 0)
    samplers = (count_frames, UnitSampler(count_frames, units), ssam, ExcerptSampler(ssam, tables))
    sizes = []
    for sampler in samplers:
        dataset = ShardDataset([shards], table, sampler, 0)
        sizes.append(dataset.size(lengths))
        assert sizes[-1] == bytes_of(dataset[request])
    assert sizes[0] == 2 * (2 * 48_000 + 8 + 8)
    assert sizes[1] - sizes[0] == 2 * 8 * frame_count(48_000)


def test_all_processes_of_a_machine_share_its_memory(monkeypatch):
    free_bytes(monkeypatch, 64 << 20)
    check_shared_memory(30 << 20)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    with pytest.raises(UserError, match="has 67 MB free, .* may take 252 MB there"):
        check_shared_memory(30 << 20)


@pytest.fixture
def restored_sigchld():
    before = signal.getsignal(signal.SIGCHLD)
    yield
    # torch knows of the killed workers as long as their iterator is there.
    module._left.clear()
    signal.signal(signal.SIGCHLD, before)


@pytest.mark.parametrize("workers", [0, 1])
def test_what_a_worker_finds_wrong_is_told_in_one_line(shards, workers):
    path = shards.folder / "train-000000.tar"
    path.write_bytes(bytes(path.stat().st_size))
    data = ShardData([open_shards(shards.folder)], BatchSettings(batch_seconds=10), count_frames, 0, workers)
    with pytest.raises(UserError, match=r"^.*train-000000.tar: the audio at byte \d+ cannot be decoded [^\n]*$"):
        next(iter(data.training(range(9), 0, 0, 0, 1)))


class Hang(CountFrames):
    """Never answers in a worker, as a disk may not."""

    def __call__(self, rows, random):
        if get_worker_info():
            time.sleep(1000)
        return super().__call__(rows, random)


def read_under_watch(data, disturb=None):
    """Read one batch, disturb torch's iterator, and read on."""
    # Iterators of earlier tests may not have been collected yet.
    earlier = list(module._reading)
    with workers_watched():
        batches = iter(data.training(range(1000), 0, 0, 0, 1))
        next(batches)
        (reading,) = (one for one in module._reading if one not in earlier)
        if disturb is not None:
            disturb(reading)
        for _ in batches:
            pass


def kill(reading):
    os.kill(reading._workers[0].pid, signal.SIGKILL)


def stop(reading):
    """Stop a worker that has announced a batch."""
    assert reading._worker_result_queue._reader.poll(60)
    os.kill(reading._workers[0].pid, signal.SIGSTOP)


@pytest.mark.parametrize(
    ("sampler", "timeout", "told"),
    # Which of the two torch says depends on whether it hears of the death by signal or by looking.
    [
        (count_frames, 60, "(is killed by signal: Killed|exited unexpectedly)"),
        (Hang(), 2, "did not hand over a batch for 2 seconds"),
    ],
)
def test_a_worker_that_dies_or_hangs_is_told_in_one_line(shards, restored_sigchld, sampler, timeout, told):
    data = ShardData([shards], BatchSettings(batch_seconds=10), sampler, 0, workers=1, timeout=timeout)
    with pytest.raises(UserError, match=f"reads audio ahead has died or hangs .*{told}.*continue"):
        read_under_watch(data, kill if sampler is count_frames else None)


def test_a_worker_that_is_stopped_with_a_batch_announced_is_told_too(shards, restored_sigchld):
    # torch waits without a timeout for the shared memory of a batch that a worker has announced.
    data = ShardData([shards], BatchSettings(batch_seconds=10), count_frames, 0, workers=1, timeout=1)
    with pytest.raises(UserError, match="died or hangs .DataLoader worker did not hand over a batch for 1 seconds.;"):
        read_under_watch(data, stop)


def test_only_seconds_in_which_this_process_runs_count_as_waiting():
    # A look each second, also where the process was stopped for an hour in the middle of it. Here the first batch comes
    # after two looks, and the second never.
    looks, killed, waits = [], [], []
    deadline = module._Deadline([], 2.5)
    deadline.workers = [SimpleNamespace(kill=lambda: killed.append(len(looks)))]

    def second(seconds):
        looks.append(seconds)
        if len(looks) == 3:
            waits[0].close()
            begin()

    def begin():
        waits.append(contextlib.ExitStack())
        waits[-1].enter_context(deadline.for_a_batch())

    begin()
    deadline.over = SimpleNamespace(wait=second)
    deadline._watch()
    # Three whole seconds from the look at which the second wait is first seen.
    assert (set(looks), killed, deadline.passed) == ({1}, [6], True)


def test_no_wait_is_too_long_between_batches_or_after_the_last():
    killed = []
    deadline = module._Deadline([], 1)
    deadline.workers = [SimpleNamespace(kill=lambda: killed.append(1))]
    with deadline.for_a_batch():
        pass
    turns = iter([False, False, False, True])
    deadline.over = SimpleNamespace(wait=lambda _: next(turns))
    deadline._watch()
    assert (killed, deadline.passed) == ([], False)


class Slow:
    """A data set whose items take longer than the deadline."""

    def __getitem__(self, request):
        time.sleep(2.5)
        return request


def test_what_is_read_in_this_process_ends_no_other_child_of_it():
    other = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    other.start()
    assert list(module.read_ahead(Slow(), [7], workers=0, timeout=1)) == [7]
    assert other.is_alive()
    other.kill()


@pytest.mark.parametrize("whole", [True, False])
def test_no_thread_watches_after_the_last_batch(shards, whole):
    before = set(threading.enumerate())
    data = ShardData([shards], BatchSettings(batch_seconds=10), count_frames, 0, workers=1)
    batches = data.training(range(2), 0, 0, 0, 1)
    next(batches)
    assert any(thread.name.endswith("(_watch)") for thread in set(threading.enumerate()) - before)
    if whole:
        list(batches)
    else:
        batches.close()
    wait_until(lambda: not any(thread.name.endswith("(_watch)") for thread in set(threading.enumerate()) - before))


class Overflow(CountFrames):
    """Ends its worker as a full /dev/shm does."""

    def __call__(self, rows, random):
        if get_worker_info():
            os.kill(os.getpid(), signal.SIGBUS)
        return super().__call__(rows, random)


def test_a_worker_that_found_no_room_in_shared_memory_is_told_as_that(shards, restored_sigchld):
    data = ShardData([shards], BatchSettings(batch_seconds=10), Overflow(), 0, workers=1, timeout=60)
    with pytest.raises(
        UserError, match=r"found no room in /dev/shm \(SIGBUS\): start the container .*--shm-size.*continue"
    ):
        read_under_watch(data)


PINNING = """
import sys, threading, time
from nonverbal.data.batching import read_ahead
from nonverbal.errors import UserError

class Reading:
    # torch's iterator with a pin thread: whoever drops it while the program runs waits for the thread, for ever.
    def __iter__(self):
        return self
    def __next__(self):
        raise RuntimeError("Pin memory thread exited unexpectedly")
    def __del__(self):
        if not sys.is_finalizing():
            threading.Event().wait()

class Loader:
    def __iter__(self):
        return Reading()

read_ahead._loader = lambda *_: Loader()
try:
    with read_ahead.workers_watched():
        for batch in read_ahead.read_ahead(None, [], 1, 60):
            pass
except UserError as error:
    print(error)
sys.exit(3)
"""


@pytest.mark.processes
def test_a_pin_thread_that_is_gone_is_told_as_a_worker_and_never_waited_for():
    done = subprocess.run([sys.executable, "-c", PINNING], capture_output=True, text=True, timeout=HANGS)
    assert "audio ahead has died or hangs (Pin memory thread exited unexpectedly); if memory" in done.stdout, (
        done.stderr
    )
    assert done.returncode == 3


def test_what_is_no_death_of_a_worker_stays_what_it_is(restored_sigchld):
    with pytest.raises(RuntimeError, match="CUDA error"), workers_watched():
        raise RuntimeError("CUDA error: out of memory")


@pytest.mark.parametrize(
    ("error", "printed"), [(ConnectionResetError(), ""), (EOFError(), ""), (ValueError("x"), "ValueError: x\n")]
)
def test_a_worker_does_not_print_that_its_process_has_gone(error, printed, capsys):
    _without_lost_contact(type(error), error, None)
    assert capsys.readouterr().err == printed


class Fails:
    """Raises while it is deleted, where Python can only report it."""

    def __init__(self, message):
        self.message = message

    def __del__(self):
        raise RuntimeError(self.message)


@pytest.mark.parametrize(
    ("message", "reports"), [("DataLoader worker (pid 3) is killed by signal: Killed. ", 0), ("x", 1)]
)
def test_a_dead_worker_is_not_reported_where_it_cannot_be_raised(message, reports, monkeypatch):
    found = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: found.append(str(args.exc_value)))
    with workers_watched():
        one = Fails(message)
        del one
    assert found == [message] * reports
