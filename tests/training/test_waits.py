"""No step asks its device for a value, for which a GPU would have to finish all that is queued."""

import contextlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_shapes import SSAM, WAV2VEC2
from waits import NoWaits, check_on_device

from nonverbal.batch import Batch, Rows
from nonverbal.models import blocks, selective_scan, ssam, wav2vec2
from nonverbal.models.wav2vec2 import Architecture, Dropouts
from nonverbal.objectives import contrastive, encoding, reconstruction
from nonverbal.objectives import unit_prediction as clusters
from nonverbal.training.optimizer import OptimizerSettings
from nonverbal.training.run_folder import RunFolder
from nonverbal.training.settings import TrainerSettings
from nonverbal.training.trainer import Trainer

UNITS = 7
DROPPED = 6
"""A step that drops the second and third of three layers."""


def architecture(layout):
    return Architecture(**WAV2VEC2 | {"layout": layout, "layers": 3})


def of_wav2vec2(layout):
    settings = contrastive.Wav2Vec2Settings(architecture=architecture(layout), dropouts=Dropouts(layer=0.3))
    return contrastive.build_objective(settings, 0)


def of_hubert(layout):
    settings = clusters.HubertSettings(architecture=architecture(layout), dropouts=Dropouts(layer=0.3))
    return clusters.build_hubert_objective(settings, UNITS, 0)


def of_ssam(_):
    shape = ssam.Architecture(**SSAM)
    return reconstruction.build_ssam_objective(reconstruction.SsamSettings(architecture=shape), 0)


CASES = [
    pytest.param(build, layout, padded, id=f"{build.__name__}-{layout}-{'padded' if padded else 'even'}")
    for build, layout in (
        (of_wav2vec2, "base"),
        (of_wav2vec2, "large"),
        (of_hubert, "base"),
        (of_hubert, "large"),
        (of_ssam, "base"),
    )
    for padded in (False, True)
]


class Drawn:
    """Micro-batches of noise, two a step."""

    batches_per_step = 2

    def __init__(self, objective, padded):
        self.objective, self.padded = objective, padded

    def batch(self, step, position):
        random = np.random.default_rng([step, position])
        lengths = np.array([16_000, 20_000, 24_000] if self.padded else [24_000] * 3)
        targets = self.objective.target_sampler(Rows(lengths), random)
        if isinstance(self.objective, clusters.HubertObjective):
            units = random.integers(UNITS, size=targets.tensors["mask"].shape)
            targets.tensors["units"] = torch.from_numpy(units)
        waveforms = torch.from_numpy(random.normal(0, 0.1, (3, 24_000))).float()
        waveforms *= torch.arange(24_000) < torch.from_numpy(lengths)[:, None]
        return Batch(waveforms, torch.from_numpy(lengths), [], targets, 0, step, position, padded=self.padded)

    def training(self, steps, epoch, batch, rank, world):
        return (self.batch(step, position) for step in steps for position in (0, 1))

    def validation(self, rank, world):
        return []


def trainer_of(folder, objective, padded, kind):
    run = RunFolder(folder)
    run.checkpoints.mkdir(parents=True)
    optimizer = OptimizerSettings(lr=1e-3, warmup_steps=1, clip_norm=2)
    settings = TrainerSettings(steps=3, precision="bf16", log_every=9, workers=0, optimizer=optimizer)
    return kind(objective, Drawn(objective, padded), settings, run, seed=0)


def as_on_a_gpu(monkeypatch):
    """On a CPU, dropout and attention draw their random numbers in NumPy, and the scan looks at its decays."""
    for module in (wav2vec2, encoding, contrastive):
        monkeypatch.setattr(module, "dropout", F.dropout)
    monkeypatch.setattr(wav2vec2, "attention", F.scaled_dot_product_attention)
    monkeypatch.setattr(selective_scan, "kernel_for", lambda *_: "PyTorch")


@pytest.mark.parametrize(("build", "layout", "padded"), CASES)
def test_a_whole_step_waits_for_nothing(monkeypatch, tmp_path, build, layout, padded):
    as_on_a_gpu(monkeypatch)
    taken = []

    class Watched(Trainer):
        def take(self, step, *rest):
            # Constants such as mel filters are made in the first step.
            with NoWaits() if step else contextlib.nullcontext():
                super().take(step, *rest)
            taken.append(step)

    trainer = trainer_of(tmp_path, build(layout), padded, Watched)
    trainer.train()
    assert taken == [0, 1, 2]
    assert trainer.position.updates == 3


@pytest.mark.parametrize(("build", "layout", "padded"), CASES)
def test_all_of_a_micro_batch_is_done_on_its_device(monkeypatch, build, layout, padded):
    objective = build(layout).train()
    check_on_device(objective, Drawn(objective, padded).batch(DROPPED, 0), monkeypatch)


@pytest.mark.gpu
@pytest.mark.parametrize(("build", "layout", "padded"), CASES)
def test_a_gpu_is_not_waited_for(tmp_path, build, layout, padded):
    class Watched(Trainer):
        def take(self, step, *rest):
            torch.cuda.set_sync_debug_mode("error" if step > 1 else "default")
            try:
                super().take(step, *rest)
            finally:
                torch.cuda.set_sync_debug_mode("default")

    trainer = trainer_of(tmp_path, build(layout), padded, Watched)
    trainer.train()
    assert trainer.position.updates == 3


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).any()),
        lambda x: x[x > 0],
        lambda x: x.masked_select(x > 0),
        lambda x: (x > 0).nonzero(),
        lambda x: x.index_put((x > 0,), torch.zeros(())),
        lambda x: torch.tensor(3.0),
        lambda x: x.long().bincount(),
        torch.unique,
    ],
)
def test_what_waits_is_noticed(wait):
    x = torch.rand(4)
    with pytest.raises(AssertionError, match="waits for the device"), NoWaits():
        wait(x)


@pytest.mark.parametrize(("build", "layout"), [(of_wav2vec2, "base"), (of_wav2vec2, "large"), (of_hubert, "large")])
def test_a_dropped_layer_has_gradients_of_zero(build, layout):
    objective = build(layout).train()
    batch = Drawn(objective, padded=True).batch(DROPPED, 0)
    assert blocks.kept_layers(batch, 3, 0.3) == [True, False, False]
    objective(batch).sum.backward()
    for name, parameter in objective.named_parameters():
        assert parameter.grad is not None, name
        dropped = ".layers.1." in name or ".layers.2." in name
        assert bool(parameter.grad.any()) != dropped, name
