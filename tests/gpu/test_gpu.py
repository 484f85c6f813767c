"""What can be shown on a GPU alone, of whole objectives and runs."""

import json
import os
import signal
import subprocess
import time
from contextlib import closing

import numpy as np
import pytest
import tiny_shapes
import torch
from tiny_runs import CLIPS, MAMBA, TORCHRUN, command_of, losses

from nonverbal.batch import TargetSampler
from nonverbal.data.batching.batches import ShardData, ShardDataset
from nonverbal.data.batching.epochs import BatchSettings, MicroBatch, clip_table
from nonverbal.data.batching.requests import Request
from nonverbal.models import hubert
from nonverbal.models.ssam import Architecture as Mamba
from nonverbal.models.wav2vec2 import Architecture, Dropouts
from nonverbal.objectives.contrastive import Wav2Vec2Settings, build_objective
from nonverbal.objectives.reconstruction import SsamSettings, build_ssam_objective
from nonverbal.objectives.unit_prediction import HubertSettings, build_hubert_objective
from nonverbal.system import set_up_gpus
from nonverbal.training.optimizer import OptimizerSettings
from nonverbal.training.run_folder import RunFolder
from nonverbal.training.settings import TrainerSettings
from nonverbal.training.strategy import Autocast
from nonverbal.training.trainer import Trainer

pytestmark = pytest.mark.gpu

SHAPE = Architecture(**tiny_shapes.WAV2VEC2 | {"layers": 3})
HUBERT = hubert.Architecture(**tiny_shapes.HUBERT | {"layers": 3})
UNITS = 7


def objective_of(family, layer_drop=0.0, dropped=0.0):
    drops = Dropouts(hidden=dropped, attention=dropped, features=dropped, quantiser=dropped, layer=layer_drop)
    if family == "ssam":
        return build_ssam_objective(SsamSettings(architecture=Mamba(32, layers=2, state_size=5)), 0)
    if family == "hubert":
        return build_hubert_objective(HubertSettings(architecture=HUBERT, dropouts=drops), UNITS, 0)
    return build_objective(Wav2Vec2Settings(architecture=SHAPE, dropouts=drops), 0)


class WithUnits(TargetSampler):
    """A target sampler that makes units up, for a folder of shards without any."""

    def __init__(self, sampler):
        self.sampler = sampler

    def __call__(self, rows, random):
        targets = self.sampler(rows, random)
        targets.tensors["units"] = torch.from_numpy(random.integers(UNITS, size=targets.tensors["mask"].shape))
        return targets


def sampler_of(family, objective):
    return WithUnits(objective.target_sampler) if family == "hubert" else objective.target_sampler


@pytest.fixture(scope="module")
def shards(module_shards):
    return module_shards([*CLIPS, *[("a", 3.0, "train")] * 2])


@pytest.mark.parametrize("lengths", [[32_000, 32_000], [32_000, 24_000]])
@pytest.mark.parametrize("family", ["wav2vec2", "hubert", "ssam"])
def test_loss_and_gradient_are_the_cpus(shards, family, lengths):
    set_up_gpus()
    results = []
    for device in ("cpu", "cuda"):
        objective = objective_of(family).eval()
        dataset = ShardDataset([shards], clip_table([shards], "train"), sampler_of(family, objective), 0)
        rows = MicroBatch([np.array([25]), np.array([26])], np.array(lengths))
        model = Autocast(objective, device, False).to(device)
        loss = model(dataset[Request(rows, 0, 0)].to(torch.device(device))).sum
        loss.backward()
        grads = {name: p.grad.cpu() for name, p in objective.named_parameters() if p.grad is not None}
        results.append((loss.item(), grads))
    (on_cpu, exact), (on_gpu, grads) = results
    assert on_gpu == pytest.approx(on_cpu, rel=1e-5)
    size = torch.stack([value.norm() for value in exact.values()]).norm()
    assert torch.stack([(grads[name] - value).norm() for name, value in exact.items()]).norm() < 1e-4 * size


def trainer_of(folder, shards, family, steps):
    objective = objective_of(family, layer_drop=0.3, dropped=0.1)
    batches = BatchSettings(
        batch_seconds=6, batches_per_step=2, max_seconds=1.5, min_seconds=0.5, fit="pad", max_ratio=2
    )
    data = ShardData([shards], batches, sampler_of(family, objective), 0, workers=0)
    optimizer = OptimizerSettings(lr=1e-3, warmup_steps=2)
    settings = TrainerSettings(steps=steps, log_every=100, validate_every=100, workers=0, optimizer=optimizer)
    run = RunFolder(folder)
    run.checkpoints.mkdir(parents=True)
    return Trainer(objective, data, settings, run, 0)


def test_a_step_that_is_not_finite_changes_nothing(tmp_path, shards):
    trainer = trainer_of(tmp_path, shards, "wav2vec2", 4)
    trainer.objective.register_forward_hook(
        lambda _, batches, loss: loss._replace(sum=loss.sum * float("nan")) if batches[0].step == 1 else loss
    )
    with closing(trainer.steps()) as steps:
        weights = [[p.detach().clone() for p in trainer.objective.parameters()] for _ in steps]
    assert all(torch.equal(a, b) for a, b in zip(weights[0], weights[1], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(weights[1], weights[2], strict=True))
    assert trainer.position.updates == 3


def environment():
    return {name: value for name, value in os.environ.items() if not name.startswith(("ACCELERATE_", "SLURM_"))}


@pytest.mark.parametrize("family", ["wav2vec2", "ssam"])
def test_a_run_that_a_signal_stops_continues(tmp_path, shards, family):
    # The clips are noise, of which nothing is learned.
    extra = (*(MAMBA if family == "ssam" else ()), "trainer.steps=40", "trainer.watchdog.on_collapse=warn")
    runs = [tmp_path / name for name in ("whole", "stopped")]
    commands = [command_of(shards.folder, out, *extra) for out in runs]
    subprocess.run(commands[0], env=environment(), check=True, timeout=120)
    child = subprocess.Popen(commands[1], env=environment())
    while child.poll() is None and not (runs[1] / "metrics.jsonl").exists():
        time.sleep(0.02)
    child.send_signal(signal.SIGUSR1)
    assert child.wait(timeout=60) == 128 + signal.SIGUSR1
    subprocess.run(commands[1], env=environment(), check=True, timeout=120)
    for (*_, whole), (*_, stopped) in zip(*map(losses, runs), strict=True):
        assert stopped == pytest.approx(whole, rel=0.05)


def test_one_process_of_torchrun_ends_cleanly(tmp_path, shards):
    command = command_of(shards.folder, tmp_path / "run", "trainer.processes=1", launcher=(*TORCHRUN, "1"))
    result = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=180)
    assert result.returncode == 0, result.stderr
    assert "destroy_process_group" not in result.stderr
    facts = json.loads((tmp_path / "run/environment.json").read_text())
    assert torch.cuda.get_device_name() in json.dumps(facts)
