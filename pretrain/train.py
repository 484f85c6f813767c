"""Pretrain an encoder on shards: ``nonverbal pretrain RECIPE.yaml --data SHARDS --out RUN``.

By path: ``python pretrain/train.py RECIPE.yaml --data SHARDS --out RUN``. ``--trainer.processes 8`` starts eight
processes, one a GPU; accelerate, torchrun and srun may start them too (``accelerate launch pretrain/train.py ...``).
The same command again continues a run that ended early.
"""

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from nonverbal import cli, config
from nonverbal.data.batches import ShardData
from nonverbal.data.index import open_shards
from nonverbal.data.plan import BatchSettings
from nonverbal.files import room_for
from nonverbal.objectives.contrastive import Wav2Vec2Settings, build_objective
from nonverbal.training.launch import launch
from nonverbal.training.run_folder import RunFolder
from nonverbal.training.trainer import FREE_SETTINGS, Trainer, TrainerSettings


@dataclass
class PretrainConfig:
    """A pretraining run."""

    data: list[Path]
    """Folders of shards, as `nonverbal prepare` makes them."""
    out: Path
    """The run folder. A run that is there is continued."""
    seed: int = 0
    """Of everything random: weights, order, crops, masks, noise."""
    family: Literal["wav2vec2"] = "wav2vec2"
    """What is pretrained, and how."""
    wav2vec2: Wav2Vec2Settings = field(default_factory=Wav2Vec2Settings)
    """The encoder and its masked contrastive objective."""
    batches: BatchSettings = field(default_factory=BatchSettings)
    """How clips become micro-batches, and micro-batches steps."""
    trainer: TrainerSettings = field(default_factory=TrainerSettings)
    """How long, how precisely, and what is kept."""


def main(argv: list[str]) -> None:
    """Train until the last step, or until a signal."""
    settings = config.load(PretrainConfig, argv, prog="nonverbal pretrain", description=__doc__)
    launch(settings.trainer.processes)
    folders = [open_shards(folder) for folder in settings.data]
    objective = build_objective(settings.wav2vec2, settings.seed)
    data = ShardData(folders, settings.batches, objective.target_sampler, settings.seed, settings.trainer.workers)
    run = RunFolder(settings.out)
    trainer = Trainer(objective, data, settings.trainer, run, settings.seed)
    with room_for(settings.out), ExitStack() as held:
        with trainer.processes.first_before_others() as is_first:
            if is_first:
                held.enter_context(run.locked())
                run.check_recipe(settings, free={*FREE_SETTINGS, "data", "out"})
                run.check_data({str(folder.folder): folder.sha256 for folder in folders})
                run.write_environment(processes=trainer.world)
        trainer.report.say(data.describe())
        trainer.train()
        trainer.report.say(f"encoder: {run.encoder} (from {run.best})")


if __name__ == "__main__":
    cli.run(main)
