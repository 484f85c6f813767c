import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from patience import HANGS, wait_until
from tiny_runs import MAMBA, TINY, environment
from tiny_runs import command_of as tiny_command
from tiny_runs import pretrain as run_pretraining
from toy import ToyObjective, toy_data

from nonverbal.data.batching.epochs import BatchSettings, clip_table
from nonverbal.errors import UserError
from nonverbal.training.communication import communication
from nonverbal.training.cost.cost_table import figures, print_cost
from nonverbal.training.cost.estimate import Audio, CorpusPasses, Shares, audio_of, cautions, estimate, refusals
from nonverbal.training.cost.timing import Clock, Measured, measure
from nonverbal.training.optimizer import OptimizerSettings
from nonverbal.training.precision import Chosen
from nonverbal.training.settings import TrainerSettings
from nonverbal.training.trainer import Step
from pretrain import plan

PROGRAM = Path(__file__).parents[3] / "pretrain/plan.py"
MEASURED = Measured(
    device="CPU, 1 thread",
    on_gpu=False,
    precision=Chosen("fp32", "as set"),
    seconds=[1.0, 3.0],
    waiting=0.01,
    largest_batch=6.0,
    memory={"peak_resident": 10**9, "available": 10**10},
    parameters=10**6,
    checkpoint_bytes=12 * 10**6,
    encoder_bytes=4 * 10**6,
)
AUDIO = Audio(100.0, 10.0, 20.0, [CorpusPasses("a", 5, 0.5, 20.0, 10.0)], 0.0, 0.0, 0.0, validation_seconds=30.0)
CLIPS = [("a", s, "train") for s in [0.6, 1.0, 1.5, 2.5, 3.0, 0.9, 0.4, 2.0]] * 3 + [("a", 1.0, "validation")]


def settings_of(**changes):
    optimizer = OptimizerSettings(warmup_steps=changes.pop("warmup_steps", 100))
    every = {"validate_every": 1000, "checkpoint_every": 1000}
    return TrainerSettings(**{"steps": 3600, **every, "optimizer": optimizer, **changes})


@pytest.mark.parametrize(
    ("micro_batches", "gpus", "rounds", "idle"), [(8, 1, 8, 0), (8, 3, 3, 1), (8, 8, 1, 0), (8, 5, 2, 2), (2, 3, 1, 1)]
)
def test_micro_batches_share_out_as_the_processes_take_them(micro_batches, gpus, rounds, idle):
    shares = Shares(micro_batches, gpus)
    taken = [len(range(rank, micro_batches, gpus)) for rank in range(gpus)]
    assert shares.rounds == rounds == max(taken)
    assert shares.idle_in_last_round == idle == sum(count < rounds for count in taken)
    assert shares.time == rounds / micro_batches


@pytest.mark.parametrize(("gpus", "hours"), [(1, 2.0), (3, 2.0 * 3 / 8), (8, 2.0 / 8), (16, 2.0 / 8)])
def test_hours_are_updates_times_seconds_times_the_busiest_share(gpus, hours):
    cost = estimate(MEASURED, AUDIO, settings_of(), micro_batches=8, gpus=gpus)
    assert cost.training_hours == pytest.approx(hours)
    # Four passes, of 30 s of audio where an update holds 100 s, at a third of its cost.
    assert cost.validation_hours == pytest.approx(4 * hours / 3600 * 0.3 / 3)
    assert cost.gpu_hours == pytest.approx(gpus * cost.hours)


def test_the_disk_holds_the_last_checkpoints_the_best_a_new_one_and_two_encoders():
    cost = estimate(MEASURED, AUDIO, settings_of(keep_checkpoints=3), 8, 1)
    assert cost.checkpoint_count == 5
    assert cost.disk_bytes == 5 * 12 * 10**6 + 2 * 4 * 10**6


def test_passes_follow_steps_and_weights(make_shards):
    clips = [("a", 2.0, "train")] * 6 + [("b", 1.0, "train")] * 3 + [("c", 1.0, "train"), ("a", 1.5, "validation")]
    folder = make_shards(clips)
    tables = [clip_table([folder], split) for split in ("train", "validation")]
    settings = BatchSettings(
        batch_seconds=1, max_seconds=1, min_seconds=1, batches_per_step=3, weights={"b": 4.0, "c": 0.0}
    )
    # Each row is a micro-batch of a second: 6 of a, 12 of b, none of c.
    audio = audio_of(*tables, settings, seed=0, updates=12)
    assert audio.passes == pytest.approx(12 * 3 / 18)
    assert audio.seconds_per_update == pytest.approx(3)
    assert audio.hours == pytest.approx(36 / 3600)
    assert [(c.corpus, c.clips, c.passes) for c in audio.corpora] == [("a", 6, 2.0), ("b", 3, 8.0), ("c", 1, 0.0)]
    assert [c.heard_hours * 3600 for c in audio.corpora] == pytest.approx([12, 24, 0])
    assert audio.cropped == pytest.approx(6 / 24)
    assert audio.validation_seconds == pytest.approx(1)


@pytest.mark.parametrize(("zero", "rounds", "ways"), [(0, 2, 2), (1, 2, 2), (2, 1, 2), (2, 3, 4), (3, 1, 3), (3, 2, 6)])
def test_a_ring_carries_all_bytes_each_way_round(zero, rounds, ways):
    told = communication(parameters=5_000_000, zero=zero, gpus=4, rounds=rounds, gigabits=100)
    # 20 MB fit one bucket; each GPU sends three of its four parts to the next.
    assert told.bytes == ways * 15_000_000
    assert told.seconds == pytest.approx(ways * (15_000_000 / 12.5e9 + 3 * 14e-6))


def test_latency_grows_with_the_buckets():
    small, large = (communication(number, 0, 8, 1, 1e9).seconds for number in (25 * 2**18, 25 * 2**18 + 1))
    assert large == pytest.approx(2 * small, rel=1e-3)


def test_wav2vec2_base_over_a_network_of_100_gigabits():
    # 380 MB of gradients; on 64 GPUs nearly twice that leaves each, at 12.5 GB/s, and 15 buckets make 126 hops each.
    told = communication(95_000_000, 0, 64, 1, 100)
    assert told.bytes == pytest.approx(2 * 63 / 64 * 380e6)
    assert told.seconds == pytest.approx(0.0599 + 0.0265, abs=1e-3)


def test_communication_is_part_of_an_update_and_not_of_validation():
    without, counted = (estimate(MEASURED, AUDIO, settings_of(), 8, 4, gigabits) for gigabits in (None, 10))
    told = counted.communication
    assert without.communication is None
    assert without.communication_share == 0
    assert told.bytes == 2 * 3 / 4 * 4 * 10**6
    assert counted.seconds_per_update == pytest.approx(without.seconds_per_update + told.seconds)
    assert counted.validation_hours == without.validation_hours
    assert counted.communication_share == pytest.approx(told.seconds / (2 * 2 / 8 + told.seconds))
    assert estimate(MEASURED, AUDIO, settings_of(), 8, 1, 10).communication is None


def test_much_communication_is_warned_of(capsys):
    cost = estimate(MEASURED, AUDIO, settings_of(), 8, 8, 0.2)
    said = cautions(MEASURED, AUDIO, cost, settings_of())
    assert any(line.startswith("up to 53% of an update is communication; use fewer GPUs") for line in said), said
    print_cost(MEASURED, AUDIO, cost, said)
    output = " ".join(capsys.readouterr().out.split())
    assert "communication at most 0.28 s of an update, 53%; a GPU sends 7 MB" in output
    assert "slowest link has 0.2 Gb/s" in output
    data = json.loads(json.dumps(figures(MEASURED, AUDIO, cost, said)))
    assert data["communication"] == {"gigabits": 0.2, "bytes": 7e6, "seconds": pytest.approx(0.2802, abs=1e-4)}
    assert data["communication_share"] == cost.communication_share
    cost = estimate(MEASURED, AUDIO, settings_of(), 8, 8, 2)
    assert not any("communication" in line for line in cautions(MEASURED, AUDIO, cost, settings_of()))


def test_what_pretrain_refuses_is_told():
    said = refusals(ToyObjective(), settings_of(warmup_steps=5000, zero=2), micro_batches=8, gpus=16)
    assert all(text.startswith("nonverbal pretrain will refuse this: ") for text in said)
    assert "8 of 16 GPUs would have none of the 8 micro-batches" in said[0]
    assert "warmup_steps must be less than the 3600 steps of the run" in said[1]
    assert "--trainer.zero 2 sums gradients" in said[2]
    assert refusals(ToyObjective(), settings_of(), 8, 8) == []


@pytest.mark.parametrize(
    ("audio", "changes", "gpus", "text"),
    [
        ({}, {}, 3, "1 of 3 GPUs are idle in the last of 3 rounds"),
        ({"passes": 0.4}, {}, 1, "before it has used every clip (0.4 passes)"),
        ({"corpora": [CorpusPasses("a", 5, 0.5, 5000, 10.0)]}, {}, 1, "each clip of a is drawn 5000 times"),
        ({}, {"warmup_steps": 2000}, 1, "2000 of 3600 updates are warm-up"),
        ({}, {"checkpoint_every": 5000}, 1, "no checkpoint is written before the end"),
    ],
)
def test_cautions(audio, changes, gpus, text):
    settings, audio = settings_of(**changes), Audio(**{**AUDIO.__dict__, **audio})
    said = cautions(MEASURED, audio, estimate(MEASURED, audio, settings, 8, gpus), settings)
    assert any(text in line for line in said), said
    always = ["only 2 updates were measured", "the hours are for devices like this CPU"]
    assert len([line for line in said if not any(known in line for known in always)]) == 1


def test_the_table_and_the_figures(capsys):
    cost = estimate(MEASURED, AUDIO, settings_of(), 8, 3)
    print_cost(MEASURED, AUDIO, cost, ["[not markup]"])
    output = capsys.readouterr().out
    assert "selective scan" not in output
    for text in ("2 ± 1 s on one CPU, 1 thread; 2 measured", "8 micro-batches in 3 rounds, 1 idle in the last"):
        assert text in output
    assert "warning: [not markup]" in output
    assert all(len(line) <= 80 for line in output.splitlines())
    print_cost(replace(MEASURED, scan="C++"), AUDIO, cost, [])
    assert "selective scan    C++\n" in re.sub(" +\n", "\n", capsys.readouterr().out)
    data = json.loads(json.dumps(figures(MEASURED, AUDIO, cost, [])))
    assert (data["hours"], data["gpu_hours"]) == (cost.hours, cost.gpu_hours)
    assert (data["measured"]["mean"], data["measured"]["spread"]) == (2.0, 1.0)


def test_first_updates_do_not_count(monkeypatch):
    def counted(ended, waited):
        monkeypatch.setattr(time, "perf_counter", iter(ended).__next__)
        clock = Clock(on_gpu=False)
        for number, seconds in enumerate(waited):
            clock.add(Step(number + 1, 0.0, seconds, 100))
        return clock.counted()

    assert counted([9.0, 10.0, 12.0], [5.0, 0.5, 0.25]) == ([1.0, 2.0], 0.25)
    assert counted([9.0, 18.0, 27.0, *range(28, 32)], [5.0] * 3 + [0.5] * 4) == ([1.0] * 4, 0.5)


def test_updates_are_timed_until_enough_are(monkeypatch):
    monkeypatch.setattr(time, "perf_counter", iter([50.0, 51.0, 52.0, 53.0]).__next__)
    clock, enough = Clock(on_gpu=False), []
    for number in range(1, 5):
        clock.add(Step(number, 0.0, 0.0, 100 * number % 400))
        enough.append((clock.enough(0.1), clock.enough(2.5)))
    assert enough == [(False, False), (False, False), (True, False), (True, True)]
    assert clock.largest == 300


class GpuMark:
    """An event of a GPU that takes 50 ms from each to the next, however far the host is ahead. Only its end is read."""

    reached = 0

    def __init__(self, enable_timing):
        assert enable_timing
        self.waited_for = False

    def record(self):
        GpuMark.reached += 50
        self.at = self.reached

    def synchronize(self):
        self.waited_for = True

    def elapsed_time(self, end):
        return end.at - self.at


def test_an_update_lasts_as_long_as_the_gpu_takes_for_it_and_nothing_waits_for_that(monkeypatch):
    clock = Clock(on_gpu=True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: pytest.fail("the host waits for the GPU"))
    monkeypatch.setattr(torch.cuda, "Event", GpuMark)
    for number, waited in enumerate([0.0, 0.01, 0.02]):
        clock.add(Step(number + 1, 0.0, waited, 100))
    assert not any(mark.waited_for for mark in clock.marks)
    seconds, waiting = clock.counted()
    assert seconds == [0.05, 0.05]
    assert waiting == pytest.approx(0.03 / 0.1)
    assert [mark.waited_for for mark in clock.marks] == [False] * 2 + [True]


def test_a_plan_times_the_scan_that_is_asked_for_and_refuses_one_that_cannot_run(make_shards, tmp_path):
    path = tmp_path / "plan.json"
    command = tiny_command(make_shards(CLIPS).folder, tmp_path / "run", *MAMBA, "trainer.workers=0", "seconds=0.1")[2:]
    plan.main([*command, f"--json={path}", "--ssam.scan=PyTorch"])
    assert json.loads(path.read_text())["measured"]["scan"] == "PyTorch"
    with pytest.raises(UserError, match="ssam.scan is Triton, which cannot compute scans on cpu"):
        plan.main([*command, "--ssam.scan=Triton"])


def test_measuring_trains_for_the_time_and_leaves_nothing(make_shards, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    objective = ToyObjective()
    before = objective.layers[0].weight.detach().clone()
    started = time.monotonic()
    handler = signal.getsignal(signal.SIGINT)
    measured = measure(objective, toy_data(make_shards(CLIPS)), settings_of(precision="fp32", workers=0), 0, 0.5)
    assert 0 < sum(measured.seconds) < time.monotonic() - started
    assert time.monotonic() - started > 0.5
    assert not torch.equal(before, objective.layers[0].weight)
    assert measured.parameters == 3 * (160 * 160 + 160)
    assert measured.checkpoint_bytes == 12 * measured.parameters
    assert 0 < measured.waiting < 1
    # Libraries that are imported on the way leave folders of their own until the process ends.
    assert list((tmp_path / "scratch").glob("nonverbal-*")) == []
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_launcher_is_refused(make_shards, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="a launcher has started several; do without it"):
        measure(ToyObjective(), toy_data(make_shards(CLIPS)), settings_of(), 0, 0.1)


def command_of(shards, *arguments):
    tiny = [f"--{key}={value}" for key, value in TINY.items()]
    return [sys.executable, str(PROGRAM), f"--data={shards}", *tiny, *arguments]


@pytest.mark.processes
@pytest.mark.slow  # two programs
def test_a_tiny_run_is_planned_and_costs_what_it_then_costs(make_shards, tmp_path):
    shards, scratch, out = make_shards(CLIPS).folder, tmp_path / "scratch", tmp_path / "run"
    scratch.mkdir()
    arguments = ["--seconds=2", "--gpus=2", f"--out={out}", f"--json={tmp_path / 'plan.json'}"]
    told = subprocess.run(
        command_of(shards, *arguments),
        capture_output=True,
        text=True,
        env={**environment(), "TMPDIR": str(scratch)},
        timeout=HANGS,
    )
    assert told.returncode == 0, told.stderr
    assert "5 micro-batches in 3 rounds, 1 idle in the last" in told.stdout
    assert not out.exists()
    assert list(scratch.iterdir()) == []
    plan = json.loads((tmp_path / "plan.json").read_text())
    assert plan["updates"] == 6
    assert plan["hours"] == pytest.approx(6 * plan["measured"]["mean"] * 3 / 5 / 3600 + plan["validation_hours"])
    result = run_pretraining(shards, out)
    assert result.returncode == 0, result.stderr
    saved = sum(path.stat().st_size for path in (out / "checkpoints/step-6").glob("*.safetensors"))
    # Names and shapes stand in front of the numbers.
    assert plan["measured"]["checkpoint_bytes"] < saved < 1.2 * plan["measured"]["checkpoint_bytes"]
    encoder = sum(path.stat().st_size for path in (out / "encoder").iterdir())
    assert plan["measured"]["encoder_bytes"] == encoder


@pytest.fixture
def scratch():
    """A folder of short name: data workers meet at a socket in it, whose path may have 107 characters at the most."""
    with tempfile.TemporaryDirectory(prefix="x") as folder:
        yield Path(folder)


@pytest.mark.processes
def test_a_signal_ends_it_at_once_and_leaves_nothing(make_shards, scratch):
    shards = make_shards(CLIPS).folder
    process = subprocess.Popen(
        command_of(shards, "--seconds=10000"),
        stderr=subprocess.PIPE,
        text=True,
        env={**environment(), "TMPDIR": str(scratch)},
    )
    wait_until(lambda: list(scratch.glob("nonverbal-plan-*/metrics.jsonl")), process)
    for _ in range(2):
        os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=HANGS)
    assert process.returncode == 128 + signal.SIGINT
    assert errors.splitlines()[-1] == "nonverbal: SIGINT: stopped; nothing was written"
    assert "Traceback" not in errors
    assert list(scratch.glob("nonverbal-plan-*")) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gpus=0"], "--gpus must be at least 1, but is 0"),
        (["--gpus=4", "--trainer.processes=8"], "--gpus is 4, but trainer.processes is 8; give one of the two"),
        (["--network=0"], "--network must be above 0 Gb/s, but is 0"),
        (["--seconds=0"], "--seconds must be above 0, but is 0"),
        (["--json=nowhere/plan.json"], "--json: there is no folder nowhere; make it first"),
        (["--gpu=4"], "unknown key 'gpu' on the command line; did you mean 'gpus'?"),
    ],
)
def test_errors_are_one_line_with_a_remedy(arguments, message):
    with pytest.raises(UserError) as raised:
        plan.main(["--data=shards", *arguments])
    assert message in str(raised.value)
