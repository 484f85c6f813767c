"""HuBERT's encoder: transformers' modules, run by the forward pass of wav2vec 2.0, which is the same."""

from dataclasses import dataclass

from transformers import HubertConfig, HubertModel

from nonverbal.models.drawn import drawn_from
from nonverbal.models.wav2vec2 import EncoderArchitecture, encoder_options


@dataclass(frozen=True)
class Architecture(EncoderArchitecture):
    """Shape of a HuBERT. Defaults are base (Hsu et al., 2021, table I)."""

    projection_size: int = 256
    """Width of the vectors by which context and units are compared."""


def new_encoder(architecture: EncoderArchitecture, normalise: bool | None, seed: int) -> tuple[HubertModel, bool]:
    """Return a new encoder in float32, and whether its waveforms are normalised to zero mean and unit variance.

    Args:
        architecture: its shape.
        normalise: see ``EncoderArchitecture.normalises``.
        seed: of the weights.
    """
    with drawn_from(seed):
        encoder = HubertModel(HubertConfig(**encoder_options(architecture)))
    return encoder, architecture.normalises(normalise)
