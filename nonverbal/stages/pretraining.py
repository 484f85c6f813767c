"""What a pretraining run is: settings, objective and data, for ``nonverbal pretrain`` and ``nonverbal plan`` alike."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, cast, get_args

import torch
from torch import nn

from nonverbal import config
from nonverbal.batch import TargetSampler
from nonverbal.data.batching.batches import ShardData
from nonverbal.data.batching.epochs import BatchSettings
from nonverbal.data.batching.unit_targets import UnitSampler
from nonverbal.data.batching.units import UnitFolder, open_units
from nonverbal.data.index import open_shards
from nonverbal.data.log_mel import TABLE, spectra
from nonverbal.errors import UserError
from nonverbal.models.scan_choice import Scan
from nonverbal.models.ssam import use_scan
from nonverbal.objectives.base import Objective
from nonverbal.objectives.contrastive import Wav2Vec2Settings, build_objective
from nonverbal.objectives.reconstruction import SsamSettings, build_ssam_objective
from nonverbal.objectives.unit_prediction import HubertSettings, build_hubert_objective
from nonverbal.training.processes import Processes
from nonverbal.training.trainer import TrainerSettings


@dataclass
class PretrainConfig:
    """A pretraining run."""

    data: list[Path]
    """Folders of shards, as `nonverbal prepare` makes them."""
    out: Path
    """The run folder. A run that is there is continued."""
    seed: int = 0
    """Of everything random: weights, order, crops, masks, noise."""
    family: Literal["wav2vec2", "hubert", "ssam"] = "wav2vec2"
    """What is pretrained, and how: the group of settings of this name counts."""
    wav2vec2: Wav2Vec2Settings = field(default_factory=Wav2Vec2Settings)
    """The encoder and its masked contrastive objective."""
    hubert: HubertSettings = field(default_factory=HubertSettings)
    """The encoder and its masked prediction of units."""
    ssam: SsamSettings = field(default_factory=SsamSettings)
    """Audio Mamba, and its reconstruction of masked patches."""
    batches: BatchSettings = field(default_factory=BatchSettings)
    """How clips become micro-batches, and micro-batches steps."""
    trainer: TrainerSettings = field(default_factory=TrainerSettings)
    """How long, how precisely, and what is kept."""

    def __post_init__(self) -> None:
        """Refuse what would not count: settings of another family, and a rate for clips that steps do not count."""
        for family in get_args(PretrainConfig.__annotations__["family"]):
            if family != self.family and (idle := config.given(getattr(self, family))):
                raise UserError(
                    f"the family is {self.family}, so {family}.{idle[0]} would not count; leave it out, set it under "
                    f"{self.family}, or choose --family {family}"
                )
        if self.trainer.optimizer.lr_clips is not None and self.batches.batch_rows is None:
            raise UserError(
                "trainer.optimizer.lr_clips is for steps of a number of clips, but batches.batch_rows is not set, so "
                "micro-batches hold an amount of audio; set it, or leave lr_clips out (null)"
            )


def build(settings: PretrainConfig, begun: Iterable[str] | None = None) -> tuple[Objective, ShardData]:
    """Return the objective at its start, and its batches.

    Args:
        settings: of the run.
        begun: what the ``data.json`` of a run that is continued names: it reads as it began. None for a new run.
    """
    folders = [open_shards(folder) for folder in settings.data]
    contents, note = {}, ""
    if settings.family == "hubert":
        units = _units(settings.hubert)
        objective = cast(Objective, build_hubert_objective(settings.hubert, units.clusters, settings.seed))
        sampler: TargetSampler = UnitSampler(objective.target_sampler, [units.units(folder) for folder in folders])
        contents = {str(units.folder): units.sha256}
    elif settings.family == "ssam":
        objective = cast(Objective, build_ssam_objective(settings.ssam, settings.seed))
        reading = spectra(folders, begun)
        sampler, contents, note = reading.sampler(objective.target_sampler), reading.contents, reading.note
    else:
        objective = cast(Objective, build_objective(settings.wav2vec2, settings.seed))
        sampler = objective.target_sampler
    trainer = settings.trainer
    timeout = 60 * trainer.timeout_minutes
    data = ShardData(folders, settings.batches, sampler, settings.seed, trainer.workers, timeout, contents, note)
    return objective, data


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
            f"give all machines the same shards, {TABLE} and units, and run the same command again"
        )


def scan_on(settings: PretrainConfig, objective: Objective, device: torch.device) -> Scan | None:
    """Let an Audio Mamba compute its scans on ``device`` as the settings ask.

    Returns what computes them; None for another family.

    Raises:
        UserError: the scan that is asked for cannot run there.
    """
    return use_scan(cast(nn.Module, objective), settings.ssam.scan, device) if settings.family == "ssam" else None


def _units(settings: HubertSettings) -> UnitFolder:
    if settings.units is None:
        raise UserError("HuBERT learns units: make them with nonverbal cluster, and name their folder: --hubert.units")
    return open_units(settings.units)
