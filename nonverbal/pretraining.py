"""What a pretraining run is: the settings of ``nonverbal pretrain``, which ``nonverbal plan`` takes as well."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from nonverbal.data.plan import BatchSettings
from nonverbal.objectives.contrastive import Wav2Vec2Settings
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
    family: Literal["wav2vec2"] = "wav2vec2"
    """What is pretrained, and how."""
    wav2vec2: Wav2Vec2Settings = field(default_factory=Wav2Vec2Settings)
    """The encoder and its masked contrastive objective."""
    batches: BatchSettings = field(default_factory=BatchSettings)
    """How clips become micro-batches, and micro-batches steps."""
    trainer: TrainerSettings = field(default_factory=TrainerSettings)
    """How long, how precisely, and what is kept."""
