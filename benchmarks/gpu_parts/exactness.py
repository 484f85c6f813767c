"""Whether a GPU computes what a CPU computes, and what a step waits for."""

import collections
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from gpu_parts.machine import Figures, Machine
from gpu_parts.training import run_of
from nonverbal.batch import Batch
from nonverbal.data.batching.batches import ShardDataset
from nonverbal.data.batching.epochs import clip_table
from nonverbal.data.batching.micro_batches import MicroBatch
from nonverbal.data.batching.requests import Request
from nonverbal.models.ssam import Architecture as Mamba
from nonverbal.models.wav2vec2 import Dropouts
from nonverbal.objectives.contrastive import Wav2Vec2Settings, build_objective
from nonverbal.objectives.reconstruction import SsamSettings, build_ssam_objective
from nonverbal.objectives.unit_prediction import HubertSettings, build_hubert_objective
from nonverbal.training.run_folder import RunFolder
from nonverbal.training.strategy import Autocast
from nonverbal.training.trainer import Trainer

UNITS = 100

WARMING, COUNTED = 3, 5
"""Numbers of steps whose waits are ignored, and counted."""


def agreement(here: Machine) -> Iterator[Figures]:
    """Compare each family's loss and gradient on the device with those on the CPU in float32, with and without padding.

    ``gradient`` is the norm of the difference over the norm of the CPU's gradient.
    """
    off = Dropouts(hidden=0, attention=0, features=0, quantiser=0, layer=0)
    made: dict[str, Callable[[], Any]] = {
        "wav2vec2": lambda: build_objective(Wav2Vec2Settings(dropouts=off, architecture=here.base()), 0),
        "hubert": lambda: build_hubert_objective(
            HubertSettings(dropouts=off, architecture=here.base_of_hubert()), UNITS, 0
        ),
        "ssam": lambda: build_ssam_objective(SsamSettings(architecture=Mamba(192)), 0),
    }
    for name, make in made.items():
        for kind, lengths in (("full", [32_000, 32_000]), ("padded", [32_000, 24_000])):
            exact = gradient(make, "cpu", False, here, lengths)
            for bf16 in (False, True):
                loss, grads = gradient(make, here.device, bf16, here, lengths)
                far = sum(float((grads[key] - exact[1][key]).square().sum()) for key in grads)
                size = sum(float(value.square().sum()) for value in exact[1].values())
                figures = {"loss": loss, "on_cpu": exact[0], "gradient": (far / size) ** 0.5}
                yield {f"{name}_{kind}_{'bf16' if bf16 else 'fp32'}": figures}


def gradient(
    make: Callable[[], Any], device: str, bf16: bool, here: Machine, lengths: list[int]
) -> tuple[float, dict[str, Tensor]]:
    """Return the mean loss and the gradient by name, on the CPU."""
    objective = make().eval()  # no Gumbel noise
    batch = batch_of(here, objective, np.array(lengths)).to(torch.device(device))
    model = Autocast(objective, device, bf16).to(device)
    loss = model(batch).sum / batch.targets.count
    loss.backward()
    loss = loss.detach()
    grads = {name: p.grad.float().cpu() for name, p in objective.named_parameters() if p.grad is not None}
    return float(loss), grads


def batch_of(here: Machine, objective: Any, lengths: np.ndarray) -> Batch:
    """Return a batch from the shards whose rows have these lengths in samples."""
    folder = here.shards()
    table = clip_table([folder], "train")
    dataset = ShardDataset([folder], table, objective.target_sampler, 0)
    # From the longest clips, so that no clip is repeated to fill its row.
    longest = np.argsort(-table.samples, kind="stable")[np.arange(len(lengths)) % len(table.samples)]
    batch = dataset[Request(MicroBatch([np.array([clip]) for clip in longest], lengths), 0, 0)]
    if "mask" in batch.targets.tensors and isinstance(objective, nn.Module) and hasattr(objective, "units"):
        frames = batch.targets.tensors["mask"].shape
        drawn = torch.randint(0, UNITS, frames, generator=torch.Generator().manual_seed(0))
        batch.targets.tensors["units"] = drawn
    return batch


def waits(here: Machine) -> Iterator[Figures]:
    """Count how often the host waits for the device in a step of the trainer, and where, by torch's own warnings."""
    families: tuple[Literal["wav2vec2", "ssam"], ...] = ("wav2vec2", "ssam")
    for family in families:
        objective, data, settings = run_of(here, family, 20.0, 2)
        places: collections.Counter[str] = collections.Counter()
        marks = []
        settings = replace(settings, validate_every=settings.steps, checkpoint_every=settings.steps)
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            trainer = Trainer(objective, data, settings, RunFolder(Path(folder)), 0, quiet=True)
            with closing(trainer.steps()) as steps:
                for step in steps:
                    if step.number in (WARMING, WARMING + COUNTED):
                        marks.append(len(seen))
                        warn_of_waits(here, on=step.number == WARMING)
                    if step.number == WARMING + COUNTED:
                        break
        inside = seen[slice(*marks)]
        for warning in inside:
            if "synchroniz" in str(warning.message):
                places[f"{Path(warning.filename).name}:{warning.lineno}"] += 1
        yield {family: {"a_step": sum(places.values()) / COUNTED, "micro_batches_a_step": 2, "where": places}}


def warn_of_waits(here: Machine, on: bool) -> None:
    """Make torch warn of every wait for the device, or stop this."""
    if here.on_gpu:
        torch.cuda.set_sync_debug_mode("warn" if on else "default")
