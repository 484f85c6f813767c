"""A small objective of no known family: the trainer must not need to know one."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from nonverbal.batch import Loss, Targets, TargetSampler
from nonverbal.data.batching.batches import ShardData
from nonverbal.data.batching.epochs import BatchSettings
from nonverbal.objectives.base import Objective
from nonverbal.seeding import Stream, generator


class ThreeFrames(TargetSampler):
    """Draws three frames of the shortest row."""

    def __call__(self, rows, random):
        drawn = random.integers(int(rows.lengths.min()) // 160, size=(3,))
        return Targets(count=len(rows.lengths) * 3, tensors={"frames": torch.from_numpy(drawn)})


class ToyObjective(Objective):
    """Predicts three drawn frames of a waveform from the frame before, with dropout and layer drop."""

    target_sampler = ThreeFrames()

    def __init__(self, spoil=frozenset()):
        super().__init__()
        generator_ = torch.Generator().manual_seed(0)
        self.layers = nn.ModuleList([nn.Linear(160, 160) for _ in range(3)])
        for parameter in self.parameters():
            parameter.data = 0.05 * torch.randn(parameter.shape, generator=generator_)
        self.dropout = nn.Dropout(0.1)
        self.spoil = spoil

    def forward(self, batch):
        frames = batch.waveforms.unfold(1, 160, 160)
        at = batch.targets.tensors["frames"]
        hidden = frames[:, (at - 1).clamp(min=0)]
        dropped = generator(batch.seed, Stream.LAYER_DROP, batch.step).random(3) < 0.3
        for layer, drop in zip(self.layers, dropped, strict=True):
            if self.training and drop:
                hidden = hidden + layer(frames.new_empty(0, 160)).sum()
            else:
                hidden = hidden + self.dropout(torch.tanh(layer(hidden)))
        errors = (hidden - frames[:, at]).square().mean(-1)
        total = errors.sum() * (float("nan") if self.training and batch.step in self.spoil else 1.0)
        count = torch.tensor(float(batch.targets.count))
        return Loss(total, {"loss": (total, count)})

    def export(self, folder: Path, weights):
        folder.mkdir()
        save_file(dict(weights), folder / "model.safetensors")


def toy_data(shards, per_step=3, workers=0):
    settings = BatchSettings(batch_seconds=6, max_seconds=2, min_seconds=0.5, batches_per_step=per_step)
    return ShardData([shards], settings, ThreeFrames(), 0, workers)
