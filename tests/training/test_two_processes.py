import json
import shutil
import signal
import subprocess
import sys

import pytest
from patience import HANGS, wait_until
from tiny_runs import (
    CLIPS,
    MAMBA,
    PROGRAM,
    ROOT,
    TORCHRUN,
    assert_same_run,
    command_of,
    environment,
    losses,
    pretrain,
    pretrain_here,
)

ACCELERATE = (sys.executable, "-m", "accelerate.commands.launch")


@pytest.fixture(scope="module")
def shards(module_shards):
    return module_shards(CLIPS).folder


@pytest.fixture(scope="module")
def one(shards, tmp_path_factory):
    """The run as one process does it."""
    return pretrain_here(shards, tmp_path_factory.mktemp("one") / "run")


@pytest.mark.processes
def test_two_processes_started_by_the_command_itself(tmp_path, shards, one):
    two = tmp_path / "two"
    result = pretrain(shards, two, "trainer.processes=2")
    assert result.returncode == 0, result.stderr
    assert_same_run(one, two)


@pytest.mark.processes
@pytest.mark.slow
def test_two_processes_with_an_audio_mamba(tmp_path, shards):
    one = pretrain_here(shards, tmp_path / "one", *MAMBA)
    result = pretrain(shards, tmp_path / "two", *MAMBA, "trainer.processes=2")
    assert result.returncode == 0, result.stderr
    assert_same_run(one, tmp_path / "two")


@pytest.mark.processes
@pytest.mark.slow  # several processes, or a compiler, that import torch
def test_two_processes_started_by_accelerate(tmp_path, shards, one):
    two = tmp_path / "two"
    launcher = (*ACCELERATE, "--config_file", str(ROOT / "pretrain/launch/cpu.yaml"))
    result = pretrain(shards, two, "trainer.processes=2", launcher=launcher)
    assert result.returncode == 0, result.stderr
    assert_same_run(one, two)


@pytest.mark.processes
def test_a_run_of_one_process_continued_by_two_of_torchrun(tmp_path, shards, one):
    both = tmp_path / "both"
    shutil.copytree(one, both)
    shutil.rmtree(both / "checkpoints/step-6")
    result = pretrain(shards, both, launcher=(*TORCHRUN, "2"))
    assert result.returncode == 0, result.stderr
    assert f"continuing from {both / 'checkpoints/step-3'}" in result.stdout
    assert_same_run(one, both)
    launches = json.loads((both / "environment.json").read_text())
    assert [launch["processes"] for launch in launches] == [1, 2]


@pytest.mark.processes
def test_accelerate_starting_one_process_in_silence_is_noticed(tmp_path, shards):
    launcher = (*ACCELERATE, "--cpu", "--num_processes", "2")
    result = pretrain(shards, tmp_path / "run", "trainer.processes=2", launcher=launcher)
    assert result.returncode != 0
    assert "--trainer.processes asks for 2, but the launcher started 1; start it without a launcher" in result.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.processes
@pytest.mark.slow  # several processes, or a compiler, that import torch
def test_more_processes_than_micro_batches_are_refused(tmp_path, shards):
    result = pretrain(shards, tmp_path / "run", "batches.batches_per_step=1", "trainer.processes=2")
    assert result.returncode == 2
    assert "2 processes share the 1 micro-batches of a step, so some would have none" in result.stderr


@pytest.mark.processes
def test_what_the_first_process_refuses_is_no_bug_of_the_others(tmp_path, shards, one):
    both = tmp_path / "both"
    shutil.copytree(one, both)
    result = pretrain(shards, both, "trainer.processes=2", "trainer.steps=8")
    assert result.returncode == 2
    assert "holds a run of another recipe (trainer.steps: 6 then, 8 now)" in result.stderr
    assert "nonverbal (process 1): lost contact with another process of this run" in result.stderr


def started(command, run, step):
    """Start a run and return it when it has written its metrics of ``step``."""
    process = subprocess.Popen(
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    wait_until(lambda: (run / "metrics.jsonl").exists() and len(losses(run)) >= step, process)
    return process


@pytest.mark.processes
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGUSR1])
def test_a_signal_to_the_command_reaches_all_processes_once(tmp_path, shards, number):
    run = tmp_path / "run"
    command = command_of(shards, run, "trainer.processes=2", "trainer.steps=100000", "trainer.checkpoint_every=100000")
    process = started(command, run, 2)
    process.send_signal(number)
    _, errors = process.communicate(timeout=HANGS)
    assert process.returncode == 128 + number, errors
    marker = json.loads((run / "interrupted.json").read_text())
    assert marker["cause"] == signal.Signals(number).name
    assert (run / f"checkpoints/step-{marker['step']}/state.json").exists()
    assert f"nonverbal: {marker['cause']}: saved at step {marker['step']}" in errors


def children_of(process):
    return [int(pid) for pid in subprocess.check_output(["pgrep", "-P", str(process.pid)], text=True).split()]


@pytest.mark.processes
@pytest.mark.slow
def test_the_other_process_ends_when_one_is_killed(tmp_path, shards):
    run = tmp_path / "run"
    process = started(command_of(shards, run, "trainer.processes=2", "trainer.steps=100000"), run, 4)
    trainers = [pid for pid in children_of(process) if str(PROGRAM).encode() in cmdline(pid)]
    assert len(trainers) == 2
    subprocess.run(["kill", "-KILL", str(trainers[1])], check=True)
    _, errors = process.communicate(timeout=HANGS)
    assert process.returncode == 128 + signal.SIGKILL
    assert "nonverbal: process 1 was ended by SIGKILL; the others end too" in errors
    assert "nonverbal: lost contact with another process of this run" in errors
    assert "Traceback" not in errors


def cmdline(pid):
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read()
