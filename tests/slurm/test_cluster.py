"""What becomes of a run on a real Slurm: to its end, past its limit, preempted, failed, cancelled."""

import json
import os
import re
import shutil
import signal
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
import yaml
from on_slurm import hold, launches, preempt, process, step
from tiny_shapes import WAV2VEC2

pytestmark = pytest.mark.slurm

ROOT = Path(__file__).parents[2]
STEPS = 80
RECIPE = {
    "wav2vec2": {"architecture": WAV2VEC2},
    "batches": {"batch_seconds": 6, "batches_per_step": 4, "max_seconds": 1.5, "min_seconds": 0.5},
    "trainer": {
        "steps": STEPS,
        "precision": "fp32",
        "validate_every": STEPS // 4,
        "checkpoint_every": 20,
        "keep_checkpoints": 1,
        "log_every": 1,
        "workers": 0,
        "watchdog": {"on_collapse": "warn"},
        "optimizer": {"lr": 1e-4, "warmup_steps": 10},
    },
}


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def recipe(work):
    path = work / "tiny.yaml"
    path.write_text(yaml.safe_dump(RECIPE))
    return path


@pytest.fixture(scope="module")
def alone(work, recipe, shards, cluster):
    """The run on one process, without Slurm."""
    cluster.nonverbal("pretrain", recipe, "--data", shards, "--out", work / "alone")
    return work / "alone"


@pytest.fixture
def submit(cluster, recipe, shards, work):
    """Return ``submit(name, *settings)``: the run folder, and the ids of the jobs on two nodes."""
    jobs = []

    def submit(name, *settings):
        run = work / name
        common = ["--gpus", 0, "--cpus", 1, "--nodes", 2, "--staging", work / "staging", "--submit"]
        printed = cluster.nonverbal("submit", recipe, "--data", shards, "--out", run, *common, *settings)
        submitted = re.findall(r"^job (\d+)", printed, re.MULTILINE)
        jobs.extend(submitted)
        return run, submitted

    yield submit
    # What a failed test leaves behind must not stand in the way of the next.
    cluster.run("scancel", *jobs)


def losses(run):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [(row["kind"], row["step"], row["loss"]) for row in rows]


def assert_same_run(run, other):
    for (kind, number, loss), (other_kind, other_number, other_loss) in zip(losses(run), losses(other), strict=True):
        assert (kind, number) == (other_kind, other_number)
        assert loss == pytest.approx(other_loss, rel=1e-3), f"step {number}"


def checked(run, job):
    """What launch-check found."""
    return json.loads((run / f"slurm/launch-check-{job}.json").read_text())


def held(cluster, job, run, after):
    """Hold the two processes of a run that is past a step."""
    hold(cluster, job, run, after, [0, 1], "--out", run)
    assert step(run) < STEPS


def test_a_run_on_two_nodes_with_two_gpus_each_is_that_on_one_process(submit, cluster, alone, work):
    run, (job,) = submit("first", "--gpus", 2)
    assert cluster.ended(job)["JobState"] == "COMPLETED", cluster.log(job)
    assert launches(run) == [4]
    assert_same_run(run, alone)
    # Both nodes are on this machine: the second found the copy of the first.
    assert len([path for path in (work / "staging").iterdir() if path.is_dir()]) == 1
    assert cluster.log(job).count("files are as they were written") == 1
    assert str(work / "staging") in (run / "data.json").read_text()
    found = checked(run, job)
    assert (found["problems"], found["folder"]["flock"]) == ([], "works")
    assert [row["wrong_on"] for row in found["all_reduce"]] == [[], [], []]
    # Neighbours in rank share a node, and each sees both of its GPUs.
    assert [(one["local_rank"], one["visible"]) for one in found["facts"]] == [(0, "0,1"), (1, "0,1")] * 2
    assert "launch-check: nothing is wrong" in cluster.log(job)


@pytest.mark.parametrize("bound", ["--gpu-bind=single:1", "--gpus-per-task=1"])
def test_a_process_that_sees_one_gpu_takes_that(cluster, recipe, shards, work, bound):
    run = work / f"bound-{bound}"
    common = ["--gpus", 2, "--cpus", 1, "--nodes", 2, "--staging", "null"]
    few = ["--trainer.steps", 2, "--trainer.optimizer.warmup_steps=1"]
    cluster.nonverbal("submit", recipe, "--data", shards, "--out", run, *common, *few)
    job = cluster.run("sbatch", "--parsable", bound, run / "slurm/pretrain.sh").strip()
    assert cluster.ended(job)["JobState"] == "COMPLETED", cluster.log(job)
    facts = checked(run, job)["facts"]
    assert [(one["local_rank"], one["visible"]) for one in facts] == [(0, "0"), (0, "1")] * 2
    assert launches(run) == [4]


def test_at_its_time_limit_a_run_is_saved_and_queued_again_and_the_probe_waits(submit, cluster, shards, alone):
    run, (job, probe) = submit("limit", "--hours", 1, "--notice", 30, "--then_probe", shards)
    held(cluster, job, run, after=5)
    # Slurm looks at time limits every 30 s, and sends SIGCONT with its signal.
    cluster.run("scontrol", "update", f"JobId={job}", "TimeLimit=29")
    cluster.wait(job, lambda now: (now["Restarts"], now["JobState"]) == ("1", "PENDING"))
    cluster.run("scontrol", "update", f"JobId={job}", "TimeLimit=60")
    assert 5 < json.loads((run / "interrupted.json").read_text())["step"] < STEPS
    assert cluster.job(probe)["JobState"] == "PENDING"
    assert cluster.ended(job)["JobState"] == "COMPLETED", cluster.log(job)
    assert not (run / "interrupted.json").exists()
    assert launches(run) == [2, 2]
    assert_same_run(run, alone)
    assert cluster.ended(probe)["JobState"] == "COMPLETED", cluster.log(probe)
    scores = [json.loads(line) for line in (run / "probe/scores.jsonl").read_text().splitlines()]
    assert len({score["model"] for score in scores}) == 3


def test_a_run_that_is_preempted_saves_itself_and_continues(submit, cluster, alone):
    run, (job,) = submit("preempted")
    held(cluster, job, run, after=5)
    # Slurm queues it again by itself, with SIGCONT and SIGTERM.
    preempt(cluster)
    cluster.wait(job, lambda now: now["Restarts"] == "1")
    assert cluster.ended(job)["JobState"] == "COMPLETED", cluster.log(job)
    assert "continuing from" in cluster.log(job)
    assert_same_run(run, alone)


def test_a_run_that_is_preempted_with_grace_requeues_itself_even_before_its_first_step(submit, cluster, alone):
    run, (job,) = submit("graceful", "--partition", "graceful")
    cluster.wait(job, lambda now: now["JobState"] == "RUNNING")
    preempt(cluster)
    cluster.wait(job, lambda now: now["Restarts"] == "1")
    assert step(run) == 0
    held(cluster, job, run, after=5)
    preempt(cluster)
    cluster.wait(job, lambda now: now["Restarts"] == "2")
    assert cluster.log(job).count(f"requeueing job {job}") == 2
    assert cluster.ended(job)["JobState"] == "COMPLETED", cluster.log(job)
    assert_same_run(run, alone)


def test_a_run_whose_node_fails_continues(submit, cluster, alone):
    run, (job,) = submit("node")
    held(cluster, job, run, after=25)
    # It is back when its slurmd next says that it is well.
    cluster.run("scontrol", "update", "NodeName=node2", "State=DOWN", "Reason=test")
    cluster.wait(job, lambda now: now["Restarts"] == "1")
    assert cluster.ended(job)["JobState"] == "COMPLETED", cluster.log(job)
    assert_same_run(run, alone)


def test_a_process_that_dies_ends_the_job_even_where_it_was_preempted_before(submit, cluster, shards):
    run, (job, probe) = submit("dies", "--partition", "graceful", "--then_probe", shards)
    held(cluster, job, run, after=5)
    preempt(cluster)
    cluster.wait(job, lambda now: now["Restarts"] == "1")
    held(cluster, job, run, after=step(run))
    os.kill(process(1, "--out", run), signal.SIGKILL)
    os.kill(process(0, "--out", run), signal.SIGCONT)
    ended = cluster.ended(job, 60)
    assert (ended["JobState"], ended["Restarts"]) == ("FAILED", "1"), cluster.log(job)
    assert cluster.ended(probe)["JobState"] == "CANCELLED"


def test_python_may_be_an_environment_that_each_node_unpacks(cluster, recipe, shards, work):
    """As docs/slurm.md says, with an environment that is this one's, and moved after it was made."""
    run, made = work / "unpacked", work / "made"
    venv.create(made)
    (site,) = made.glob("lib/*/site-packages")
    (site / "these.pth").write_text(f"{ROOT}\n{sysconfig.get_path('purelib')}\n")
    cluster.run("tar", "-cf", work / "venv.tar", "-C", made, ".")
    shutil.rmtree(made)
    setup = (
        "srun --ntasks=$SLURM_NNODES --ntasks-per-node=1 bash -c "
        f"'mkdir -p {work}/venv-$SLURM_NODEID && tar -xf {work}/venv.tar -C {work}/venv-$SLURM_NODEID'"
    )
    common = ["--gpus", 0, "--cpus", 1, "--nodes", 2, "--staging", "null", "--check", "false", "--setup", setup]
    few = ["--trainer.steps", 2, "--trainer.optimizer.warmup_steps=1"]
    python = f"env FROM=container {work}/venv-0/bin/python"
    cluster.nonverbal("submit", recipe, "--data", shards, "--out", run, *common, *few, "--python", python)
    job = cluster.run("sbatch", "--parsable", run / "slurm/pretrain.sh").strip()
    assert cluster.ended(job)["JobState"] == "COMPLETED", cluster.log(job)
    assert launches(run) == [2]
    assert all((work / f"venv-{node}/bin/python").exists() for node in (0, 1))


def test_a_launch_with_something_wrong_ends_before_the_run_and_is_not_queued_again(cluster, recipe, shards, work):
    run = work / "an odd #1 'name' 5%j"
    common = ["--gpus", 0, "--cpus", 1, "--nodes", 2, "--staging", "null"]
    cluster.nonverbal("submit", recipe, "--data", shards, "--out", run, *common)
    job = cluster.run("sbatch", "--parsable", "--nodes=1", run / "slurm/pretrain.sh").strip()
    ended = cluster.ended(job)
    assert (ended["JobState"], ended["Restarts"]) == ("FAILED", "0")
    log = (run / f"slurm/pretrain-{job}.log").read_text()
    assert "wrong: --processes asks for 2, but the launcher started 1: set both to the same number" in log
    assert "launch-check ended with status 1, so the run was not started. Fix the problems above" in log
    assert not (run / "recipe.yaml").exists()
    # Without the check, the run itself refuses it.
    cluster.nonverbal("submit", recipe, "--data", shards, "--out", run, *common, "--check", "false")
    job = cluster.run("sbatch", "--parsable", "--nodes=1", run / "slurm/pretrain.sh").strip()
    assert cluster.ended(job)["JobState"] == "FAILED"
    log = (run / f"slurm/pretrain-{job}.log").read_text()
    assert "--trainer.processes asks for 2, but the launcher started 1" in log


def test_a_process_that_does_not_answer_launch_check_once_does_not_end_the_job(cluster, recipe, shards, work):
    run, python = work / "slow", work / "slow-python"
    # The second process hangs while it starts, the first time.
    python.write_text(
        f"""#!/bin/bash
if [ "${{RANK-}}" = 1 ] && [ ! -f {work}/hung ]; then touch {work}/hung; sleep 1000; fi
exec {sys.executable} "$@"
"""
    )
    python.chmod(0o755)
    common = ["--gpus", 0, "--cpus", 1, "--nodes", 2, "--staging", "null", "--python", python]
    few = ["--trainer.steps", 2, "--trainer.optimizer.warmup_steps=1"]
    cluster.nonverbal("submit", recipe, "--data", shards, "--out", run, *common, *few)
    script = run / "slurm/pretrain.sh"
    script.write_text(script.read_text().replace("check_timeout=600", "check_timeout=15"))
    job = cluster.run("sbatch", "--parsable", script).strip()
    cluster.wait(job, lambda now: now["Restarts"] == "1")
    assert "no answer within 15 s from process 1" in cluster.log(job)
    assert cluster.ended(job)["JobState"] == "COMPLETED", cluster.log(job)


def test_a_run_that_is_cancelled_saves_itself_and_stays_cancelled(submit, cluster):
    run, (job,) = submit("cancelled")
    held(cluster, job, run, after=5)
    cluster.run("scancel", job)
    ended = cluster.ended(job)
    assert (ended["JobState"], ended["Restarts"]) == ("CANCELLED", "0")
    assert (run / "interrupted.json").exists()


def test_the_line_that_submit_prints_submits_both(cluster, recipe, shards, work):
    run = work / "by hand"
    common = ["--gpus", 0, "--cpus", 1, "--staging", "null", "--trainer.steps", 2, "--trainer.optimizer.warmup_steps=1"]
    printed = cluster.nonverbal("submit", recipe, "--data", shards, "--out", run, *common, "--then_probe", shards)
    line = re.search(r"submit with: (.*)", printed)[1]
    submitted = cluster.run("bash", "-euc", line)
    probe = re.search(r"Submitted batch job (\d+)", submitted)[1]
    assert cluster.ended(probe)["JobState"] == "COMPLETED", cluster.log(probe)
    assert (run / "probe/scores.jsonl").exists()
