"""Settings, objective and data of a pretraining run, for both ``nonverbal pretrain`` and ``nonverbal plan``."""

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
    """Return removed settings of all families that older recipes may contain, each with the value to ignore."""
    return {f"{family.name}.{key}": value for family in FAMILIES.values() for key, value in family.past.items()}


@dataclass_transform(field_specifiers=(field,))
def with_families(cls: type[T]) -> type[T]:
    """Make ``cls`` a dataclass with a group of settings for each family, and a choice of one family."""
    cls.__annotations__["family"] = Literal[tuple(FAMILIES)]
    described = []
    for family in FAMILIES.values():
        cls.__annotations__[family.name] = family.settings
        setattr(cls, family.name, field(default_factory=family.settings))
        described.append(f"    {family.name}: {(inspect.getdoc(family.settings) or '').splitlines()[0]}")
    cls.PAST = past_settings()  # type: ignore[attr-defined]
    # The help text of a group is read from here.
    cls.__doc__ = "\n".join([cls.__doc__ or "", "", "Args:", *described])
    return dataclass(cls)


@with_families
class PretrainConfig:
    """A pretraining run."""

    data: list[Path]
    """Folders of shards, as `nonverbal prepare` makes them."""
    out: Path
    """The run folder. If it holds a run, that run is continued."""
    seed: int = 0
    """Seed of everything random: weights, order, crops, masks, noise."""
    family: str = "wav2vec2"
    """Encoder and objective. Only the group of settings with this name is used."""
    batches: BatchSettings = field(default_factory=BatchSettings)
    """How clips become micro-batches, and micro-batches steps."""
    trainer: TrainerSettings = field(default_factory=TrainerSettings)
    """Length of training, precision, optimizer, checkpoints."""

    def __post_init__(self) -> None:
        """Refuse settings without effect: those of another family, and lr_clips if steps do not count clips."""
        for name in FAMILIES:
            if name != self.family and (idle := config.given(getattr(self, name))):
                raise UserError(
                    f"{name}.{idle[0]} is set, but has no effect because the family is {self.family}; leave it out, "
                    f"set it under {self.family}, or choose --family {name}"
                )
        if self.trainer.optimizer.lr_clips is not None and self.batches.batch_rows is None:
            raise UserError(
                "trainer.optimizer.lr_clips needs steps with a fixed number of clips, but batches.batch_rows is not "
                "set, so micro-batches hold an amount of audio; set batches.batch_rows, or leave lr_clips out (null)"
            )

    @property
    def chosen(self) -> tuple[Family, Any]:
        """The family that is pretrained, and its settings."""
        return FAMILIES[self.family], getattr(self, self.family)


def build(settings: PretrainConfig, begun: Iterable[str] | None = None) -> tuple[Objective, ShardData]:
    """Return the objective as training starts, and its batches.

    Args:
        settings: of the run.
        begun: names in the ``data.json`` of a run that is continued, so that it reads the same files. None for a new
            run.

    Raises:
        UserError: shards, units or a checkpoint cannot be read, or patience is set without validation clips.
    """
    folders = [open_shards(folder) for folder in settings.data]
    family, own = settings.chosen
    built = family.build(own, folders, settings.seed, begun)
    workers, timeout = settings.trainer.workers, 60 * settings.trainer.timeout_minutes
    contents = dict(built.contents)
    data = ShardData(folders, settings.batches, built.sampler, settings.seed, workers, timeout, contents, built.note)
    if settings.trainer.patience is not None and not data.validation_requests:
        raise UserError(
            f"trainer.patience is {settings.trainer.patience}, but there are no validation clips to judge progress by; "
            "leave it out, or prepare shards with a validation split"
        )
    return built.objective, data


def free_settings(chosen: str) -> set[str]:
    """Return the settings that may differ, or be missing, when a run of the family ``chosen`` is continued.

    They include the groups of all other families, in which ``PretrainConfig`` refuses values. So older runs can still
    be continued after a family is added to the table.
    """
    others = FAMILIES.keys() - {chosen}
    return {f"{chosen}.{name}" for name in FAMILIES[chosen].free} | others | past_settings().keys()


def trainer_of(settings: PretrainConfig) -> TrainerSettings:
    """Return the trainer's settings, with the peak learning rate for the number of clips of a step."""
    optimizer, rows = settings.trainer.optimizer, settings.batches.batch_rows
    if optimizer.lr_clips is None or rows is None:
        return settings.trainer
    clips = rows * settings.batches.batches_per_step
    scaled = replace(optimizer, lr=optimizer.lr * clips / optimizer.lr_clips, lr_clips=clips)
    return replace(settings.trainer, optimizer=scaled)


def check_alike(processes: Processes, data: ShardData) -> None:
    """Refuse processes whose data differ from those of the first: a different copy, or a table that one does not see.

    Raises:
        UserError: the data differ; the message names the processes.
    """
    contents = processes.of_each(list(data.contents.values()))
    if others := [str(rank) for rank, held in enumerate(contents) if held != contents[0]]:
        raise UserError(
            f"the data of process {', '.join(others)} differ from those of process 0 ({', '.join(data.contents)}); "
            "copy the same files to all machines, and run the same command again"
        )


def scan_on(settings: PretrainConfig, objective: Objective, device: torch.device) -> str | None:
    """Choose the implementation of selective scans on ``device`` as set in the settings.

    Returns the name of the implementation; None for a family without scans.

    Raises:
        UserError: the requested implementation cannot run there.
    """
    family, own = settings.chosen
    return family.use_scan(objective, own, device)
