"""Stopped processes, another program at MASTER_PORT, a table that is truncated, a collapse that comes and goes."""

import os
import signal
import socket
import subprocess

import pytest
from marked_runs import MarkedRun, done
from test_chaos import ENDLESS, LONG, own, refused, same_run, shards, whole_run  # noqa: F401
from tiny_runs import command_of, environment

pytestmark = pytest.mark.chaos

SHORT = ("trainer.timeout_minutes=0.1", *ENDLESS)


def test_a_stopped_data_worker_of_a_single_process_is_noticed(tmp_path, shards, count):  # noqa: F811
    run = MarkedRun(shards, tmp_path / "run", *SHORT)
    run.wait_for(lambda: done(run.out) > 2)
    (worker,) = set(run.processes()) - {run.process.pid}
    os.kill(worker, signal.SIGSTOP)
    seconds = run.ended()
    good = refused(run.process.returncode, run.said(), "reads audio ahead has died or hangs", "run the same command")
    count("SIGSTOP of the data worker of a single process, timeout 6 s", good, seconds)
    assert good, run.log.read_text()


def test_a_stopped_run_continues_when_it_is_resumed(tmp_path, shards, count):  # noqa: F811
    settings = (*LONG, "trainer.timeout_minutes=0.02")
    one = whole_run(shards, tmp_path / "one", *settings)
    run = MarkedRun(shards, tmp_path / "stopped", *settings)
    run.wait_for(lambda: done(run.out) > 2)
    for pid in run.processes():
        os.kill(pid, signal.SIGSTOP)
    # Longer than it would wait for a batch.
    with pytest.raises(subprocess.TimeoutExpired):
        run.process.wait(10)
    for pid in run.processes():
        os.kill(pid, signal.SIGCONT)
    seconds = run.ended(120)
    good = run.process.returncode == 0 and same_run(one, tmp_path / "stopped")
    count("SIGSTOP of a single process and its data worker for 10 s, then SIGCONT", good, seconds)
    assert good, run.log.read_text()


def test_another_program_at_the_port_is_not_waited_for(tmp_path, shards, count):  # noqa: F811
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        names = {
            "WORLD_SIZE": "2",
            "RANK": "1",
            "LOCAL_RANK": "1",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
        command = command_of(shards, tmp_path / "run", *SHORT)
        result = subprocess.run(
            command, capture_output=True, text=True, env=environment() | names, timeout=120, check=False
        )
    good = refused(result.returncode, result.stderr.splitlines(), f"port {port} of 127.0.0.1", "another program")
    count("another program at MASTER_PORT that never answers, timeout 6 s", good, 16.0)
    assert good, result.stderr


@pytest.mark.parametrize("workers", [0, 1])
def test_a_table_truncated_during_a_run_changes_nothing(tmp_path, shards, own, count, workers):  # noqa: F811
    settings = (*LONG, f"trainer.workers={workers}")
    one = whole_run(shards, tmp_path / "one", *settings)
    run = MarkedRun(own, tmp_path / "run", *settings)
    run.wait_for(lambda: done(run.out) > 2)
    os.truncate(own / "table.npy", 0)
    seconds = run.ended(120)
    good = run.process.returncode == 0 and same_run(one, tmp_path / "run")
    count(f"table truncated during the run, {workers} data workers", good, seconds)
    assert good, run.log.read_text()


def test_a_codebook_that_goes_in_and_out_of_collapse_is_noticed(tmp_path, shards, count):  # noqa: F811
    settings = (
        "wav2vec2.architecture.codes=2",
        "wav2vec2.objective.diversity_weight=0",
        "trainer.optimizer.lr=0.01",
        "trainer.steps=300",
        "trainer.log_every=2",
        "trainer.validate_every=1000",
        "trainer.checkpoint_every=1000",
    )
    run = MarkedRun(shards, tmp_path / "run", *settings)
    seconds = run.ended(180)
    good = refused(run.process.returncode, run.said(), "stopped at step", "is still at chance", "usual causes")
    count("collapse in and out: two codes, diversity weight 0, learning rate 0.01", good, seconds)
    assert good, run.log.read_text()
