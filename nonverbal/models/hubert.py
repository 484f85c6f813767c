"""HuBERT's encoder: transformers' modules, run by wav2vec 2.0's forward pass, from which it does not differ."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from transformers import HubertConfig, HubertModel

from nonverbal.models.checkpoints.starting import Account, hubert_from
from nonverbal.models.wav2vec2 import Architecture, encoder_options, save_extractor
from nonverbal.seeding import Stream, torch_seed


def build_encoder(
    init: str | None, architecture: Architecture, normalise: bool | None, seed: int
) -> tuple[HubertModel, bool, Account | None]:
    """Return the encoder in float32, whether its waveforms are normalised, and what was taken from where it starts.

    Args:
        init: a checkpoint (see ``nonverbal.models.checkpoints.reading``), or None to draw weights from ``seed``.
        architecture: shape of a new encoder; with ``init`` the default, or the checkpoint's own.
        normalise: overrides what the checkpoint says, or the custom of the layout (fairseq): large yes, base no.
        seed: draws the weights.

    Raises:
        UserError: the checkpoint cannot be read, is of another architecture, or lacks weights.
    """
    if init is not None:
        start = hubert_from(init, architecture, normalise, seed)
        return start.model, start.normalise, start.account
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed(seed, Stream.INIT))
        encoder = HubertModel(HubertConfig(**encoder_options(architecture)))
    return encoder, architecture.layout == "large" if normalise is None else normalise, None


def export(encoder: HubertModel, weights: Mapping[str, Tensor], normalise: bool, folder: Path) -> None:
    """Write ``weights``, configuration and feature extractor in Hugging Face format: what ``from_pretrained`` reads."""
    encoder.save_pretrained(folder, state_dict=dict(weights))
    save_extractor(encoder.config, normalise, folder)
