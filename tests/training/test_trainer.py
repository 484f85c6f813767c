import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm
from toy import ToyObjective, toy_data

from nonverbal.errors import UserError
from nonverbal.seeding import Stream, torch_seed
from nonverbal.signals import Interrupted, Signals
from nonverbal.training import checkpoint
from nonverbal.training.optimizer import OptimizerSettings
from nonverbal.training.position import Position
from nonverbal.training.resuming import resume
from nonverbal.training.run_folder import RunFolder
from nonverbal.training.settings import TrainerSettings
from nonverbal.training.trainer import Trainer

CLIPS = [("a", s, "train") for s in [0.6, 1.0, 1.5, 2.5, 3.0, 0.9, 0.4, 2.0]] * 3 + [
    ("a", 1.0, "validation"),
    ("b", 2.0, "validation"),
    ("b", 2.5, "validation"),
]


@pytest.fixture
def shards(make_shards):
    return make_shards(CLIPS)


def settings_of(steps=12, **changes):
    optimizer = OptimizerSettings(**{"lr": 1e-2, "warmup_steps": 3, **changes.pop("optimizer", {})})
    defaults = {"precision": "fp32", "validate_every": 4, "checkpoint_every": 5, "log_every": 1, "workers": 0}
    return TrainerSettings(steps=steps, optimizer=optimizer, **{**defaults, **changes})


def trainer_of(folder, shards, settings=None, objective=None, data=None, kind=Trainer):
    run = RunFolder(folder)
    run.checkpoints.mkdir(parents=True, exist_ok=True)
    return kind(objective or ToyObjective(), data or toy_data(shards), settings or settings_of(), run, seed=0)


def rows_of(folder, *without):
    timing = {"audio_per_second", "waiting"}
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in timing} for row in rows]


def stop_at(trainer, step):
    """Train until a signal comes when ``step`` is done."""
    with closing(trainer.steps(Signals())) as steps:
        for taken in steps:
            if taken.number == step:
                os.kill(os.getpid(), signal.SIGTERM)


def test_interrupted_twice_is_the_run_in_one_go(tmp_path, shards):
    trainer_of(tmp_path / "whole", shards).train()
    for stop in (3, 7, None):
        trainer = trainer_of(tmp_path / "parts", shards)
        if stop is None:
            trainer.train()
            continue
        with pytest.raises(Interrupted, match=f"SIGTERM: saved at step {stop}; run the same command again"):
            stop_at(trainer, stop)
        assert json.loads((tmp_path / "parts/interrupted.json").read_text()) == {"cause": "SIGTERM", "step": stop}
    assert not (tmp_path / "parts/interrupted.json").exists()
    for file in ("checkpoints/step-12/model.safetensors", "checkpoints/step-12/optimizer.safetensors"):
        whole, parts = load_file(tmp_path / "whole" / file), load_file(tmp_path / "parts" / file)
        assert whole.keys() == parts.keys()
        assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert rows_of(tmp_path / "whole") == rows_of(tmp_path / "parts")
    assert (tmp_path / "whole/best").read_text() == (tmp_path / "parts/best").read_text()


def test_a_killed_run_repeats_what_no_checkpoint_holds(tmp_path, shards):
    trainer_of(tmp_path / "whole", shards).train()
    with closing(trainer_of(tmp_path / "parts", shards).steps()) as steps:
        assert next(taken for taken in steps if taken.number == 9)
    with open(tmp_path / "parts/metrics.jsonl", "a") as file:
        file.write('{"kind": "tra')
    trainer_of(tmp_path / "parts", shards).train()
    assert rows_of(tmp_path / "whole") == rows_of(tmp_path / "parts")
    path = "checkpoints/step-12/model.safetensors"
    whole, parts = load_file(tmp_path / "whole" / path), load_file(tmp_path / "parts" / path)
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_a_step_is_one_batch_of_all_its_targets(tmp_path, shards):
    """Three micro-batches of unequal size give the gradient of the mean over all their targets."""
    trainer = trainer_of(tmp_path, shards, settings_of(steps=4))
    batches = list(trainer.data.training(range(1), 0, 0, 0, 1))
    assert len({batch.targets.count for batch in batches}) > 1
    count = sum(batch.targets.count for batch in batches)
    gradients = {}
    trainer.optimizer.register_step_pre_hook(
        lambda *_: gradients.update(
            {name: parameter.grad.clone() for name, parameter in trainer.objective.named_parameters()}
        )
    )
    with closing(trainer.steps()) as steps:
        next(steps)
    reference, total = ToyObjective(), 0
    for batch in batches:
        torch.manual_seed(torch_seed(0, Stream.NOISE, batch.step, batch.position))
        total = total + reference(batch.to(torch.device("cpu"))).sum
    (total / count).backward()
    assert gradients.keys() == dict(reference.named_parameters()).keys()
    for name, parameter in reference.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad)


def test_a_step_that_is_not_finite_is_skipped_and_counted(tmp_path, shards):
    trainer = trainer_of(tmp_path, shards, objective=ToyObjective(spoil={4, 5}))
    trainer.train()
    rows = {row["step"]: row for row in rows_of(tmp_path) if row["kind"] == "train"}
    assert rows[4]["skipped"] == 0
    assert rows[6]["skipped"] == rows[12]["skipped"] == 2
    assert "loss" not in rows[5]
    assert trainer.position.updates == 10
    assert all(torch.isfinite(p).all() for p in trainer.objective.parameters())


def test_ten_such_steps_in_a_row_end_the_run(tmp_path, shards):
    trainer = trainer_of(tmp_path, shards, settings_of(steps=30), ToyObjective(spoil=set(range(3, 30))))
    with pytest.raises(UserError, match="stopped at step 13: 10 steps in a row.*learning rate.*peak 0.01"):
        trainer.train()


def test_best_latest_encoder_and_what_is_kept(tmp_path, shards):
    trainer = trainer_of(tmp_path, shards, settings_of(steps=20, checkpoint_every=2, keep_checkpoints=2))
    trainer.train()
    validation = {row["step"]: row for row in rows_of(tmp_path) if row["kind"] == "validation"}
    best = min(validation, key=lambda step: validation[step]["loss"])
    assert (tmp_path / "best").read_text() == f"step-{best}\n"
    assert (tmp_path / "latest").read_text() == "step-20\n"
    kept = {path.name for path in checkpoint.saved(tmp_path / "checkpoints")}
    assert kept == {"step-18", "step-20", f"step-{best}"}
    encoder = load_file(tmp_path / "encoder/model.safetensors")
    weights = load_file(tmp_path / f"checkpoints/step-{best}/model.safetensors")
    assert all(torch.equal(encoder[name], weights[name]) for name in weights)
    row = validation[20]
    counts = {"a": 1, "b": 2}
    mean = sum(counts[c] * row[f"corpora.{c}.loss"] for c in counts) / 3
    assert row["loss"] == pytest.approx(mean)


def test_validation_is_the_same_at_the_same_weights(tmp_path, shards):
    still = settings_of(steps=8, validate_every=4, optimizer={"eps": 1e30, "weight_decay": 0.0})
    losses = []
    for name in ("one", "two"):
        trainer = trainer_of(tmp_path / name, shards, still)
        trainer.train()
        losses += [row["loss"] for row in rows_of(tmp_path / name) if row["kind"] == "validation"]
    assert len(losses) == 4
    assert len(set(losses)) == 1


def test_without_validation_clips_the_last_checkpoint_is_the_encoder(tmp_path, make_shards):
    shards = make_shards([("a", 2.0, "train")] * 4)
    trainer_of(tmp_path, shards, settings_of(steps=7)).train()
    encoder = load_file(tmp_path / "encoder/model.safetensors")
    weights = load_file(tmp_path / "checkpoints/step-7/model.safetensors")
    assert all(torch.equal(encoder[name], weights[name]) for name in weights)
    assert (tmp_path / "best").read_text() == "step-7\n"


def test_an_unreadable_checkpoint_gives_way_to_the_one_before(tmp_path, shards, capsys):
    trainer_of(tmp_path, shards, settings_of(steps=12, checkpoint_every=4)).train()
    newest = tmp_path / "checkpoints/step-12/model.safetensors"
    data = bytearray(newest.read_bytes())
    data[-5] ^= 1
    newest.write_bytes(data)
    whole = rows_of(tmp_path)
    trainer_of(tmp_path, shards, settings_of(steps=12, checkpoint_every=4)).train()
    output = capsys.readouterr().out
    assert "step-12/model.safetensors has changed since it was written; taking the checkpoint before it" in output
    assert "continuing from" in output
    assert rows_of(tmp_path) == whole
    for path in (tmp_path / "checkpoints").glob("*/model.safetensors"):
        path.write_bytes(b"x")
    with pytest.raises(UserError, match="none of the checkpoints in .* can be read"):
        trainer_of(tmp_path, shards, settings_of(steps=12)).train()


def test_an_encoder_that_a_kill_prevented_is_written_on_the_next_start(tmp_path, shards):
    class Killed(ToyObjective):
        def export(self, folder, weights):
            raise SystemExit

    with pytest.raises(SystemExit):
        trainer_of(tmp_path, shards, objective=Killed()).train()
    assert checkpoint.saved(tmp_path / "checkpoints")
    assert not (tmp_path / "best").exists()
    trainer_of(tmp_path, shards).train()
    weights = load_file(tmp_path / "checkpoints" / (tmp_path / "best").read_text().strip() / "model.safetensors")
    encoder = load_file(tmp_path / "encoder/model.safetensors")
    assert all(torch.equal(encoder[name], weights[name]) for name in weights)


def test_the_last_encoder_that_a_kill_prevented_is_written_on_the_next_start(tmp_path, shards):
    trainer_of(tmp_path, shards).train()
    assert (tmp_path / "best").read_text() == "step-12\n"
    os.replace(tmp_path / "encoder", tmp_path / ".encoder.old")
    trainer_of(tmp_path, shards).train()
    assert (tmp_path / "encoder/model.safetensors").exists()


def test_unreadable_checkpoints_ahead_of_the_run_push_none_of_its_own_out(tmp_path):
    for step in (2, 4, 6, 8):
        (tmp_path / f"step-{step}").mkdir()
    checkpoint.prune(tmp_path, 1, Position(step=6, best_step=2))
    assert [path.name for path in checkpoint.saved(tmp_path)] == ["step-2", "step-6", "step-8"]


def test_what_others_put_among_the_checkpoints_is_left_alone(tmp_path, shards):
    """A copy made while the run goes on, a note, a folder of another numbering."""
    half = trainer_of(tmp_path, shards, settings_of(checkpoint_every=2, keep_checkpoints=1))
    with pytest.raises(Interrupted):
        stop_at(half, 6)
    folder = tmp_path / "checkpoints"
    shutil.copytree(folder / "step-6", folder / "step-6-backup")
    (folder / "step-007").mkdir()
    (folder / ".step-6-backup.new").mkdir()
    (folder / "step-notes").write_text("x")
    (folder / "step-9").write_text("a file of this name is not a checkpoint")
    (folder / "step-8").symlink_to(folder / "step-6")
    trainer_of(tmp_path, shards, settings_of(checkpoint_every=2, keep_checkpoints=1)).train()
    left = {"step-6-backup", "step-007", ".step-6-backup.new", "step-notes", "step-9", "step-8.not-a-checkpoint"}
    assert left < {path.name for path in folder.iterdir()}
    assert checkpoint.saved(folder)[-1].name == "step-12"


def test_a_checkpoint_of_another_step_than_its_name_or_damaged_is_not_taken(tmp_path):
    model = nn.Linear(2, 2)
    path = checkpoint.save(tmp_path / "checkpoints", model.state_dict(), {}, Position(step=4))
    assert checkpoint.load(path, model)[0].step == 4
    copy = shutil.copytree(path, path.with_name("step-7"))
    with pytest.raises(UserError, match="step-7 holds step 4, so it is a copy"):
        checkpoint.load(copy, model)
    for state in ("[]", '{"sha256": [], "position": {}}', '{"sha256": {}, "position": {"step": "7"}}', "\xff"):
        (copy / "state.json").write_bytes(state.encode("latin-1"))
        with pytest.raises(UserError, match="step-7"):
            checkpoint.load(copy, model)


@pytest.mark.parametrize("name", ["recipe.yaml", "data.json", "environment.json"])
@pytest.mark.parametrize("content", [b"", b"x", b"{", b"\xff"])
def test_a_damaged_file_of_a_run_is_named(tmp_path, name, content):
    run = RunFolder(tmp_path)
    (tmp_path / name).write_bytes(content)
    read = {
        "recipe.yaml": lambda: run.check_recipe(TrainerSettings(), set()),
        "data.json": lambda: run.check_data({}),
        "environment.json": run.write_environment,
    }
    with pytest.raises(UserError, match=f"{name} is damaged"):
        read[name]()


def test_a_checkpoint_that_was_moved_and_linked_is_continued_from(tmp_path, shards):
    trainer = trainer_of(tmp_path / "run", shards)
    with pytest.raises(Interrupted):
        stop_at(trainer, 6)
    folder = tmp_path / "run/checkpoints"
    (tmp_path / "disk").mkdir()
    for path in list(folder.iterdir()):
        shutil.move(path, tmp_path / "disk")
        path.symlink_to(tmp_path / "disk" / path.name)
    again = trainer_of(tmp_path / "run", shards, settings_of(keep_checkpoints=1))
    assert resume(folder, again.objective, again.processes, pytest.fail).position.step == 6
    checkpoint.prune(folder, 1, Position(step=6))
    assert [path.name for path in checkpoint.saved(folder)] == ["step-6"]
    assert (tmp_path / "disk/step-6").is_dir()


def test_what_a_killed_save_left_is_removed_by_the_next(tmp_path):
    (tmp_path / "checkpoints/.step-3.new").mkdir(parents=True)
    checkpoint.save(tmp_path / "checkpoints", {}, {}, Position(step=4))
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-4"]


def test_bf16_trains_and_keeps_fp32_weights(tmp_path, shards):
    trainer_of(tmp_path, shards, settings_of(precision="bf16")).train()
    losses = [row["loss"] for row in rows_of(tmp_path) if row["kind"] == "train"]
    assert losses[-1] < losses[0]
    weights = load_file(tmp_path / "checkpoints/step-12/model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}


def test_gradients_are_clipped_to_the_norm(tmp_path, shards):
    trainer = trainer_of(tmp_path, shards, settings_of(steps=4, optimizer={"clip_norm": 1e-3}))
    norms = []
    parameters = list(trainer.objective.parameters())
    trainer.optimizer.register_step_pre_hook(
        lambda *_: norms.append(torch.nn.utils.get_total_norm([p.grad for p in parameters]))
    )
    trainer.train()
    assert len(norms) == 4
    assert all(norm == pytest.approx(1e-3, rel=1e-3) for norm in norms)


def test_a_second_sigint_ends_at_once(tmp_path, shards):
    handler = signal.getsignal(signal.SIGINT)
    with closing(trainer_of(tmp_path, shards).steps(Signals())) as steps:
        next(steps)
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt) as raised:
            signal.raise_signal(signal.SIGINT)
    assert not isinstance(raised.value, Interrupted)
    assert signal.getsignal(signal.SIGINT) is handler


@pytest.mark.processes
def test_a_folder_in_use_is_refused(tmp_path):
    code = (
        "import sys; from pathlib import Path; from nonverbal.training.run_folder import RunFolder\n"
        f"with RunFolder(Path({str(tmp_path)!r})).locked(): print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        refused = pytest.raises(UserError, match=f"is in use by another process .process {holder.pid} on")
        with refused, RunFolder(tmp_path).locked():
            pass
    finally:
        holder.communicate("")
    with RunFolder(tmp_path).locked():
        pass


def test_another_recipe_in_the_same_folder_is_refused(tmp_path):
    run = RunFolder(tmp_path)
    run.check_recipe(settings_of(steps=12), free={"workers"})
    run.check_recipe(settings_of(steps=12, workers=3), free={"workers"})
    with pytest.raises(
        UserError, match=r"another recipe \(optimizer.clip_norm: None then, 1.0 now; steps: 12 then, 13 now\)"
    ):
        run.check_recipe(settings_of(steps=13, optimizer={"clip_norm": 1.0}), free={"workers"})


def test_threads_are_not_left_behind(tmp_path, shards):
    before = threading.active_count()
    trainer_of(tmp_path, shards, settings_of(steps=4), data=toy_data(shards, workers=1)).train()
    assert Path(tmp_path / "tensorboard").is_dir()
    assert threading.active_count() <= before + 1


def test_an_accelerate_configuration_that_divides_the_model_is_refused(tmp_path, shards, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    with pytest.raises(UserError, match=r"use --trainer.zero 1, 2 or 3, and .* such as pretrain/launch/gpus.yaml"):
        trainer_of(tmp_path, shards)


def test_launch_files_are_those_that_the_pages_name():
    launch = Path(__file__).parents[2] / "pretrain/launch"
    assert sorted(path.name for path in launch.iterdir()) == ["cpu.yaml", "gpus.yaml", "machines.yaml"]
    for path in launch.iterdir():
        assert yaml.safe_load(path.read_text())["distributed_type"] == "MULTI_GPU"


@pytest.mark.parametrize(
    "module",
    [nn.BatchNorm1d(160), nn.InstanceNorm1d(160, track_running_stats=True), spectral_norm(nn.Linear(2, 2))],
    ids=["batch norm", "instance norm", "spectral norm"],
)
def test_a_model_that_changes_without_a_gradient_is_refused(tmp_path, shards, module):
    objective = ToyObjective()
    objective.layers.append(module)
    with pytest.raises(
        UserError, match=r"would change \d+ values of the model without a gradient.*number of processes: layers\.3\."
    ):
        trainer_of(tmp_path / "run", shards, objective=objective)


def test_all_processes_have_seen_the_free_shared_memory_before_any_reads_ahead(tmp_path, shards, monkeypatch):
    trainer, order = trainer_of(tmp_path, shards), []

    def batches():
        order.append("reads")
        raise UserError("that is all")
        yield

    monkeypatch.setattr(trainer.data, "training", lambda *_: order.append("checks") or batches())
    monkeypatch.setattr(trainer.processes, "wait", lambda: order.append("waits"))
    with pytest.raises(UserError, match="that is all"):
        trainer.train()
    assert order == ["checks", "waits", "reads"]
