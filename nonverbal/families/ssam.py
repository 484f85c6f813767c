"""SSAM: an Audio Mamba that reconstructs the masked patches of a spectrogram (Yadav and Tan, Interspeech 2024)."""

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import nn

from nonverbal.data.index import ShardFolder
from nonverbal.data.log_mel import spectra
from nonverbal.families.base import Encoders, Family, Format, Pretraining
from nonverbal.models import ssam
from nonverbal.models.audio_mamba import AudioMambaConfig
from nonverbal.models.checkpoints.audio_mamba import (
    FUNCTION,
    IN_EVERY_MAMBA,
    READING,
    RELEASED,
    read_alike,
    read_checkpoint,
    to_released,
)
from nonverbal.models.checkpoints.base import Checkpoint
from nonverbal.objectives.base import Objective
from nonverbal.objectives.reconstruction import SsamSettings, build_ssam_objective


def build(settings: SsamSettings, folders: list[ShardFolder], seed: int, begun: Iterable[str] | None) -> Pretraining:
    """Build a pretraining. If the shards have a table of log-mel statistics, only two seconds of each row are read."""
    objective = build_ssam_objective(settings, seed)
    reading = spectra(folders, begun)
    return Pretraining(objective, reading.sampler(objective.target_sampler), reading.contents, reading.note)


def encoder(checkpoint: Checkpoint) -> nn.Module:
    """Return the encoder in evaluation mode."""
    model: nn.Module = ssam.model_of(checkpoint).audio_mamba.eval()
    return model


def write(checkpoint: Checkpoint, folder: Path) -> None:
    """Write a folder for transformers, with the model's code. Without a complete head, only the encoder is written."""
    model = ssam.model_of(checkpoint)
    if checkpoint.has_head:
        ssam.export(model, model.state_dict(), folder)
    else:
        model.audio_mamba.save_pretrained(folder)
        ssam.save_extractor(folder)


def write_released(checkpoint: Checkpoint, path: Path) -> None:
    """Write a ``.pth`` file for the released code."""
    torch.save(to_released(checkpoint), path)


def remarks(source: Checkpoint, result: Checkpoint) -> list[str]:
    """Say that the released code's file does not contain how clips are read."""
    if result.format != RELEASED:
        return []
    unlike = [name for name in READING if getattr(source.config, name) != "official"]
    others = f", from which this encoder differs in {', '.join(unlike)}" if unlike else ""
    return [f"the file contains only weights: it will be read with the released code's settings for clips{others}"]


def use_scan(objective: Objective, settings: SsamSettings, device: torch.device) -> str | None:
    """Choose the implementation of scans by ``settings.scan``."""
    return ssam.use_scan(objective, settings.scan, device)


ENCODERS = Encoders(
    called="an Audio Mamba",
    model_types=(AudioMambaConfig.model_type,),
    weight_names=(IN_EVERY_MAMBA,),
    read=lambda source, _: read_checkpoint(source),
    encoder=encoder,
    write=write,
    settings=frozenset(FUNCTION),
    formats={RELEASED: Format(write_released, weights_alone=True)},
    head="whole head",
    read_alike=read_alike,
    remarks=remarks,
)

FAMILY = Family(name="ssam", settings=SsamSettings, build=build, encoders=ENCODERS, free=("scan",), use_scan=use_scan)
