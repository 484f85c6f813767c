"""What becomes of a fine-tuning on a real Slurm: its folds an array, of which single ones are preempted or fail."""

import json
import re

import pytest
import yaml
from on_slurm import hold, launches, preempt, step
from tuned_runs import tiny_encoder

pytestmark = pytest.mark.slurm

FOLDS = ["seed-0/fold-0", "seed-0/fold-1", "seed-0/fold-2"]
RECIPE = {
    "folds": 3,
    "epochs": 8,
    "head": {"projection": 16},
    "batches": {"batch_clips": 8, "batches_per_step": 2},
    "trainer": {
        "workers": 0,
        "precision": "fp32",
        "patience": None,
        "log_every": 1,
        "optimizer": {"lr": 3e-3},
    },
}
STEPS = 8 * 8
"""Of a fold: it is fitted to 60 of 144 clips."""


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    work = tmp_path_factory.mktemp("array")
    (work / "tiny.yaml").write_text(yaml.safe_dump(RECIPE))
    tiny_encoder(work / "encoder")
    return work


@pytest.fixture(scope="module")
def alone(work, shards, cluster):
    """The scores of the plain command."""
    run = work / "alone"
    cluster.nonverbal("finetune", work / "tiny.yaml", "--data", shards, "--init", work / "encoder", "--out", run)
    return (run / "scores.jsonl").read_bytes()


@pytest.fixture
def submit(cluster, shards, work):
    """Return ``submit(run, *settings)``: the ids of the array and of the job after it."""
    jobs = []

    def submit(run, *settings):
        given = ["--finetune", work / "tiny.yaml", "--data", shards, "--init", work / "encoder", "--out", run]
        common = ["--gpus", 0, "--cpus", 1, "--staging", work / "staging", "--submit"]
        printed = cluster.nonverbal("submit", *given, *common, *settings)
        submitted = re.findall(r"^job (\d+)", printed, re.MULTILINE)
        jobs.extend(submitted)
        return submitted

    yield submit
    cluster.run("scancel", *jobs)


def states(cluster, array):
    """What has become of the tasks of an array."""
    return [cluster.ended(f"{array}_{task}")["JobState"] for task in range(len(FOLDS))]


def test_a_fold_that_is_preempted_continues_and_all_have_the_scores_of_the_plain_command(submit, cluster, work, alone):
    run = work / "preempted"
    array, last = submit(run, "--at_once", 2)
    hold(cluster, f"{array}_1", run / FOLDS[1], 5, [0], "--only", FOLDS[1])
    # Slurm queues all that run again by itself, with SIGCONT and SIGTERM.
    preempt(cluster)
    cluster.wait(f"{array}_1", lambda now: now["Restarts"] == "1")
    assert 5 < step(run / FOLDS[1]) < STEPS
    assert cluster.job(last)["JobState"] == "PENDING"
    assert states(cluster, array) == ["COMPLETED"] * 3, [cluster.log(f"{array}_{task}") for task in range(3)]
    assert cluster.ended(last)["JobState"] == "COMPLETED", cluster.log(last)
    assert launches(run / FOLDS[1]) == [1, 1]
    assert (run / "scores.jsonl").read_bytes() == alone
    assert "UAR" in cluster.log(last)


def test_the_last_task_of_an_array_queues_itself_again_alone_and_the_final_model_is_trained_then(
    submit, cluster, work, alone
):
    run = work / "graceful"
    array, last = submit(run, "--partition", "graceful", "--final")
    hold(cluster, f"{array}_2", run / FOLDS[2], 5, [0], "--only", FOLDS[2])
    others = [cluster.ended(f"{array}_{task}") for task in (0, 1)]
    # Slurm knows the array and its last task by one number, as which the whole array would be queued again.
    assert cluster.job(f"{array}_2")["JobId"] == array
    preempt(cluster)
    cluster.wait(f"{array}_2", lambda now: now["Restarts"] == "1")
    assert f"requeueing job {array}_2" in cluster.log(f"{array}_2")
    assert cluster.job(last)["JobState"] == "PENDING"
    assert states(cluster, array) == ["COMPLETED"] * 3, cluster.log(f"{array}_2")
    assert [cluster.job(f"{array}_{task}")["StartTime"] for task in (0, 1)] == [one["StartTime"] for one in others]
    assert [launches(run / fold) for fold in FOLDS] == [[1], [1], [1, 1]]
    assert cluster.ended(last)["JobState"] == "COMPLETED", cluster.log(last)
    assert (run / "scores.jsonl").read_bytes() == alone
    assert len(json.loads((run / "model/config.json").read_text())["id2label"]) == 6


def test_a_fold_that_fails_leaves_the_others_alone_and_is_named(submit, cluster, work, alone):
    run = work / "fails"
    (run / "seed-0").mkdir(parents=True)
    # No folder can be made there.
    (run / FOLDS[1]).write_text("")
    array, last = submit(run)
    assert states(cluster, array) == ["COMPLETED", "FAILED", "COMPLETED"]
    assert cluster.job(f"{array}_1")["Restarts"] == "0"
    assert cluster.ended(last)["JobState"] == "FAILED"
    assert f"not done: {FOLDS[1]}. See their logs in {run}/slurm" in cluster.log(last)
    assert not (run / "scores.jsonl").exists()
    (run / FOLDS[1]).unlink()
    array, last = submit(run)
    assert states(cluster, array) == ["COMPLETED"] * 3, cluster.log(f"{array}_1")
    assert cluster.ended(last)["JobState"] == "COMPLETED", cluster.log(last)
    assert [launches(run / fold) for fold in FOLDS] == [[1], [1], [1]]
    assert (run / "scores.jsonl").read_bytes() == alone
