"""HuBERT's encoder: transformers' modules, run by the forward pass of wav2vec 2.0, which is the same."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import HubertConfig, HubertModel

from nonverbal.models.wav2vec2 import EncoderArchitecture, encoder_options, save_extractor
from nonverbal.seeding import Stream, torch_seed


@dataclass(frozen=True)
class Architecture(EncoderArchitecture):
    """Shape of a HuBERT. Defaults are base (Hsu et al., 2021, table I)."""

    projection_size: int = 256
    """Width of the vectors by which context and units are compared."""


def new_encoder(architecture: EncoderArchitecture, normalise: bool | None, seed: int) -> tuple[HubertModel, bool]:
    """Return a new encoder in float32, and whether its waveforms are normalised to zero mean and unit variance.

    Args:
        architecture: its shape.
        normalise: overrides the default of the layout (as in fairseq: yes for large, no for base).
        seed: of the weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed(seed, Stream.INIT))
        encoder = HubertModel(HubertConfig(**encoder_options(architecture)))
    return encoder, architecture.layout == "large" if normalise is None else normalise


def export(encoder: HubertModel, weights: Mapping[str, Tensor], normalise: bool, folder: Path) -> None:
    """Write ``weights``, configuration and feature extractor in Hugging Face format, for ``from_pretrained``."""
    encoder.save_pretrained(folder, state_dict=dict(weights))
    save_extractor(encoder.config, normalise, folder)
