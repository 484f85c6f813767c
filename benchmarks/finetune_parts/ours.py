"""Our side: the stage's settings, trainer, batches and objective, on a share of an epoch."""

import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from finetune_parts.work import BATCH, Clock, Figures, Phase, Work, picked, resident, share_of
from nonverbal.batch import Batch
from nonverbal.data.batching.augmentation import Augmentation
from nonverbal.data.batching.clips import ClipBatches, ClipData, ClipTargets
from nonverbal.data.index import open_shards
from nonverbal.models.tuned.opening import open_tuned
from nonverbal.models.tuned.settings import TunedSettings
from nonverbal.objectives.classification import ClassificationObjective, ClassifierSettings
from nonverbal.paths import PathOrName
from nonverbal.stages.finetuning.settings import FinetuneConfig, trainer_for
from nonverbal.stages.predicting import clip_probabilities
from nonverbal.training.run_folder import RunFolder
from nonverbal.training.trainer import Trainer


class Share(ClipData):
    """A share of an epoch's batches, after one that warms up, and of a validation pass over the same clips."""

    def begin(self, share: float, clock: Clock) -> None:
        """Choose the batches."""
        self.clock, whole = clock, super().plan(0)
        sizes = [self._through(clips) for clips in whole]
        chosen = picked(sizes, share_of(len(whole), share))
        self.chosen = [whole[number] for number in (*picked(sizes, 1), *chosen)]
        self.train_phase = Phase(sum(sizes), int(self.samples.sum()), sum(sizes[number] for number in chosen))
        requests = self.requests(self.train)
        sizes = [self._through(request.micro_batch) for request in requests]
        # These hold about the same number of samples each, so they are chosen by their longest clip.
        longest = [int(self.samples[request.micro_batch].max()) for request in requests]
        chosen = picked(longest, max(share_of(len(requests), share), 4))
        self.validation_requests = [requests[number] for number in chosen]
        self.test_phase = Phase(sum(sizes), int(self.samples.sum()), sum(sizes[number] for number in chosen))

    def plan(self, epoch: int) -> list[np.ndarray]:
        """Return the chosen batches."""
        return self.chosen

    def validation(self, rank: int, world: int) -> Iterable[Batch]:
        """Yield the chosen batches. Training ends when the first is requested, testing when none are left."""
        self.clock.stop("train")
        yield from super().validation(rank, world)
        self.clock.stop("test")
        self.peak = resident("VmHWM")

    def _through(self, clips: np.ndarray) -> int:
        """Return a batch's number of samples with padding; no clip is long enough for several windows."""
        return len(clips) * int(self.samples[clips].max())


def measure(work: Work, name: str, precision: Literal["bf16", "fp32"], share: float) -> Figures:
    """Train and test on a share of an epoch; return the seconds of a whole one.

    Args:
        work: the folders with clips and models.
        name: the name of the model.
        precision: bf16 or fp32.
        share: the share of the batches.
    """
    shards = open_shards(work.shards)
    clips = shards.clips()
    classes = sorted({str(clip.label) for clip in clips})
    labels = np.array([classes.index(str(clip.label)) for clip in clips])
    before = resident("VmRSS")
    encoder = open_tuned(str(work.model(name)), TunedSettings(), seed=0)
    objective = ClassificationObjective(encoder, classes, ClassifierSettings(), seed=0)
    everyone, none = np.arange(len(clips)), np.empty(0, np.int64)
    targets: ClipTargets = objective.targets(labels, everyone)
    batches, changes = ClipBatches(batch_clips=BATCH), Augmentation()
    limits = encoder.shortest, encoder.longest
    config = FinetuneConfig(data=work.shards, init=PathOrName(str(work.model(name))), out=work.folder, epochs=1)
    data = Share(shards, everyone, everyone, none, targets, batches, changes, 0, *limits, config.trainer.workers)
    data.begin(share, Clock())
    settings = replace(trainer_for(config, len(data.chosen), None, chooses=True), precision=precision)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(objective, data, settings, RunFolder(Path(folder)), 0, quiet=True)
        for step in trainer.steps():
            if step.number == 1:
                data.clock.start()
    laps = data.clock.laps
    figures = {
        "train": data.train_phase.figures(laps["train"]),
        "test": data.test_phase.figures(laps["test"]),
        "gigabytes": data.peak - before,
    }
    # A fold is tested in this way when its training is done.
    data.clock.start()
    clip_probabilities(objective, ClipData.validation(data, 0, 1))
    data.clock.stop("exact")
    figures["test_fp32"] = data.test_phase.figures(data.clock.laps["exact"])
    assert all(torch.isfinite(parameter).all() for parameter in objective.parameters())
    return figures
