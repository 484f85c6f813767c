"""A classifier whose best is the highest UAR, on labelled rows in memory; as a program, a run of it among processes."""

import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from nonverbal.batch import Batch, Loss, Targets
from nonverbal.curves import Panel
from nonverbal.objectives.base import Best, Objective
from nonverbal.training.optimizer import OptimizerSettings
from nonverbal.training.run_folder import RunFolder
from nonverbal.training.settings import TrainerSettings
from nonverbal.training.trainer import Trainer

CLASSES = 3


class Classifier(Objective):
    """Linear, over 20 values a row."""

    shown = ("loss {loss:.3f}", "UAR {uar:.3f}")
    panels = (*Objective.panels, Panel("uar", "unweighted average recall"))
    best = Best("uar", highest=True)

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(20, CLASSES)
        self.linear.weight.data = 0.3 * torch.randn(CLASSES, 20, generator=torch.Generator().manual_seed(0))
        self.linear.bias.data.zero_()

    def forward(self, batch):
        labels = batch.targets.tensors["labels"]
        logits = self.linear(batch.waveforms)
        total = F.cross_entropy(logits, labels, reduction="sum")
        right = logits.argmax(-1) == labels
        counts = {
            f"recall.{label}": ((right & (labels == label)).sum().float(), (labels == label).sum().float())
            for label in range(CLASSES)
        }
        return Loss(total, {"loss": (total.detach(), total.new_full((), len(labels))), **counts})

    def finish(self, means):
        recalls = [value for name, value in means.items() if name.startswith("recall.")]
        return {"loss": means["loss"], "uar": sum(recalls) / len(recalls)}

    def export(self, folder: Path, weights):
        folder.mkdir()
        save_file(dict(weights), folder / "model.safetensors")


class Labelled:
    """Rows of three classes, rare and common; corpus b has no row of the third."""

    batches_per_step = 2

    def batch(self, number, step=0, position=0, corpus=None, after=(0, 0)):
        random = torch.Generator().manual_seed(number)
        rows = 5 + number % 4
        labels = torch.randint(2 if corpus == "b" else CLASSES, (rows,), generator=random)
        labels[1:3] = 0
        waveforms = torch.randn(rows, 20, generator=random)
        waveforms[torch.arange(rows), labels] += 0.7
        targets = Targets(rows, {"labels": labels})
        lengths = torch.full((rows,), 20)
        return Batch(waveforms, lengths, [], targets, 0, step, position, False, corpus=corpus, after=after)

    def training(self, steps, epoch, batch, rank, world):
        for step in steps:
            for position in range(rank, 2, world):
                yield self.batch(1000 + 2 * step + position, step, position, after=(0, 2 * step + 2))

    def validation(self, rank, world):
        return [self.batch(number, corpus="a" if number < 4 else "b") for number in range(rank, 7, world)]


def trainer_of(folder, **changes):
    run = RunFolder(folder)
    run.checkpoints.mkdir(parents=True, exist_ok=True)
    rate = OptimizerSettings(lr=0.3, warmup_steps=1, eps=changes.pop("eps", 1e-6))
    settings = TrainerSettings(
        **{"steps": 9, "precision": "fp32", "validate_every": 1, "log_every": 1, "keep_checkpoints": 20, **changes},
        checkpoint_every=1,
        workers=0,
        optimizer=rate,
    )
    return Trainer(Classifier(), Labelled(), settings, run, seed=0)


if __name__ == "__main__":
    # So large an eps makes every update too small to change a validation.
    patient = {"eps": 1e30, "patience": 3} if len(sys.argv) > 2 else {}
    trainer = trainer_of(Path(sys.argv[1]), **patient)
    trainer.train()
    trainer.processes.leave()
