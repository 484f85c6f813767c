"""What a pretraining run is: settings, objective and data, for ``nonverbal pretrain`` and ``nonverbal plan`` alike."""

import inspect
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, dataclass_transform

import torch

from nonverbal import config
from nonverbal.data.batching.batches import ShardData
from nonverbal.data.batching.epochs import BatchSettings
from nonverbal.data.index import open_shards
from nonverbal.errors import UserError
from nonverbal.families import FAMILIES
from nonverbal.families.base import Family
from nonverbal.objectives.base import Objective
from nonverbal.training.processes import Processes
from nonverbal.training.settings import TrainerSettings

T = TypeVar("T")


def past_settings() -> dict[str, Any]:
    """Return the settings of all families that recipes of before may hold, with the value that is passed over."""
    return {f"{family.name}.{key}": value for family in FAMILIES.values() for key, value in family.past.items()}


@dataclass_transform(field_specifiers=(field,))
def with_families(cls: type[T]) -> type[T]:
    """Make a dataclass of ``cls``, with a group of settings for each family and a choice of one."""
    cls.__annotations__["family"] = Literal[tuple(FAMILIES)]
    described = []
    for family in FAMILIES.values():
        cls.__annotations__[family.name] = family.settings
        setattr(cls, family.name, field(default_factory=family.settings))
        described.append(f"    {family.name}: {(inspect.getdoc(family.settings) or '').splitlines()[0]}")
    cls.PAST = past_settings()  # type: ignore[attr-defined]
    # Where the help finds what it says of a group.
    cls.__doc__ = "\n".join([cls.__doc__ or "", "", "Args:", *described])
    return dataclass(cls)


@with_families
class PretrainConfig:
    """A pretraining run."""

    data: list[Path]
    """Folders of shards, as `nonverbal prepare` makes them."""
    out: Path
    """The run folder. A run that is there is continued."""
    seed: int = 0
    """Of everything random: weights, order, crops, masks, noise."""
    family: str = "wav2vec2"
    """What is pretrained, and how: the group of settings of this name counts."""
    batches: BatchSettings = field(default_factory=BatchSettings)
    """How clips become micro-batches, and micro-batches steps."""
    trainer: TrainerSettings = field(default_factory=TrainerSettings)
    """How long, how precisely, and what is kept."""

    def __post_init__(self) -> None:
        """Refuse what would not count: settings of another family, and a rate for clips that steps do not count."""
        for name in FAMILIES:
            if name != self.family and (idle := config.given(getattr(self, name))):
                raise UserError(
                    f"the family is {self.family}, so {name}.{idle[0]} would not count; leave it out, set it under "
                    f"{self.family}, or choose --family {name}"
                )
        if self.trainer.optimizer.lr_clips is not None and self.batches.batch_rows is None:
            raise UserError(
                "trainer.optimizer.lr_clips is for steps of a number of clips, but batches.batch_rows is not set, so "
                "micro-batches hold an amount of audio; set it, or leave lr_clips out (null)"
            )

    @property
    def chosen(self) -> tuple[Family, Any]:
        """The family that is pretrained, and its settings."""
        return FAMILIES[self.family], getattr(self, self.family)


def build(settings: PretrainConfig, begun: Iterable[str] | None = None) -> tuple[Objective, ShardData]:
    """Return the objective at its start, and its batches.

    Args:
        settings: of the run.
        begun: what the ``data.json`` of a run that is continued names: it reads as it began. None for a new run.
    """
    folders = [open_shards(folder) for folder in settings.data]
    family, own = settings.chosen
    built = family.build(own, folders, settings.seed, begun)
    workers, timeout = settings.trainer.workers, 60 * settings.trainer.timeout_minutes
    contents = dict(built.contents)
    data = ShardData(folders, settings.batches, built.sampler, settings.seed, workers, timeout, contents, built.note)
    return built.objective, data


def free_settings() -> set[str]:
    """Return the settings of all families that may be others when a run is continued, or be missing."""
    return {f"{family.name}.{name}" for family in FAMILIES.values() for name in family.free} | past_settings().keys()


def trainer_of(settings: PretrainConfig) -> TrainerSettings:
    """Return the trainer's settings, with the peak learning rate for the number of clips of a step."""
    optimizer, rows = settings.trainer.optimizer, settings.batches.batch_rows
    if optimizer.lr_clips is None or rows is None:
        return settings.trainer
    clips = rows * settings.batches.batches_per_step
    scaled = replace(optimizer, lr=optimizer.lr * clips / optimizer.lr_clips, lr_clips=clips)
    return replace(settings.trainer, optimizer=scaled)


def check_alike(processes: Processes, data: ShardData) -> None:
    """Refuse processes that would read other data than the first: copies that differ, or a table that one does not see.

    Raises:
        UserError: names the processes.
    """
    contents = processes.of_each(list(data.contents.values()))
    if others := [str(rank) for rank, held in enumerate(contents) if held != contents[0]]:
        raise UserError(
            f"process {', '.join(others)} would read other data than the first (here: {', '.join(data.contents)}); "
            "give all machines the same files, and run the same command again"
        )


def scan_on(settings: PretrainConfig, objective: Objective, device: torch.device) -> str | None:
    """Let a model with selective scans compute them on ``device`` as the settings ask.

    Returns what computes them; None for a family without scans.

    Raises:
        UserError: the scan that is asked for cannot run there.
    """
    family, own = settings.chosen
    return family.use_scan(objective, own, device)
