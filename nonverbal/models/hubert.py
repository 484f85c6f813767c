"""HuBERT's encoder: transformers' modules, run by wav2vec 2.0's forward pass, from which it does not differ."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor

from nonverbal.errors import UserError
from nonverbal.models.wav2vec2 import Architecture, encoder_options, save_extractor
from nonverbal.seeding import Stream, torch_seed


def build_encoder(
    init: str | None, architecture: Architecture, normalise: bool | None, seed: int
) -> tuple[HubertModel, bool]:
    """Return the encoder in float32, and whether its waveforms are brought to zero mean and unit variance.

    Args:
        init: folder or Hugging Face id of a HuBERT checkpoint (safetensors), or None to draw weights from ``seed``.
        architecture: shape of a new encoder; with ``init`` the default, or the checkpoint's own.
        normalise: overrides what the checkpoint says, or the custom of the layout (fairseq): large yes, base no.
        seed: draws the weights.

    Raises:
        UserError: the checkpoint cannot be read, is of another architecture, or lacks weights.
    """
    if init is not None:
        return _pretrained(init, architecture, normalise)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed(seed, Stream.INIT))
        encoder = HubertModel(HubertConfig(**encoder_options(architecture)))
    return encoder, architecture.layout == "large" if normalise is None else normalise


def export(encoder: HubertModel, weights: Mapping[str, Tensor], normalise: bool, folder: Path) -> None:
    """Write ``weights``, configuration and feature extractor in Hugging Face format: what ``from_pretrained`` reads."""
    encoder.save_pretrained(folder, state_dict=dict(weights))
    save_extractor(encoder.config, normalise, folder)


def _pretrained(init: str, architecture: Architecture, normalise: bool | None) -> tuple[HubertModel, bool]:
    try:
        encoder, info = HubertModel.from_pretrained(init, use_safetensors=True, output_loading_info=True)
        extractor = Wav2Vec2FeatureExtractor.from_pretrained(init)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise UserError(f"cannot load the checkpoint {init!r}: {' '.join(str(error).split())[:300]}") from error
    lacking = [*sorted(info["missing_keys"]), *(str(key) for key in info["mismatched_keys"])]
    if lacking or encoder.config.model_type != "hubert":
        raise UserError(
            f"the checkpoint {init!r} is a {encoder.config.model_type} model that lacks {len(lacking)} weights of a "
            f"HuBERT encoder ({', '.join(lacking[:3])})"
        )
    _check_architecture(encoder.config, architecture, init)
    return encoder.float(), bool(extractor.do_normalize) if normalise is None else normalise


def _check_architecture(config: HubertConfig, architecture: Architecture, init: str) -> None:
    wanted = encoder_options(architecture)
    if wanted == encoder_options(Architecture(layout=architecture.layout)):
        return
    # A configuration holds as a list what was given as a tuple.
    found, expected = config.to_dict(), HubertConfig(**wanted).to_dict()
    different = sorted(name for name in wanted if found[name] != expected[name])
    if different:
        raise UserError(
            f"hubert.architecture contradicts the checkpoint {init!r} in {', '.join(different)}; leave it out to take "
            "the checkpoint's own"
        )
