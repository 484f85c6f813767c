"""Parts of a model that may learn at rates of their own."""

import re
from typing import Literal, NamedTuple


class Part(NamedTuple):
    """Where a parameter stands."""

    kind: Literal["conv", "transformer", "head"]
    """The head is what pretraining needs besides the encoder: quantiser, projections, mask embedding."""
    depth: int
    """Blocks between it and the top; what lies before the first block has as many as there are. The head has none."""


def encoder_part(name: str, layers: int, pre_norm: bool) -> Part:
    """Return the part of a parameter of transformers' wav2vec 2.0 or HuBERT, whatever stands before its name."""
    if name.endswith("masked_spec_embed"):
        return Part("head", 0)
    if "feature_extractor." in name:
        return Part("conv", layers)
    if found := re.search(r"\bencoder\.layers\.(\d+)\.", name):
        return Part("transformer", layers - 1 - int(found[1]))
    if re.search(r"\bencoder\.layer_norm\.", name):
        # After the blocks where LayerNorm comes before their parts, and before the blocks where it comes after.
        return Part("transformer", 0 if pre_norm else layers)
    if re.search(r"\b(encoder|feature_projection)\.", name):
        return Part("transformer", layers)
    return Part("head", 0)


def mamba_part(name: str, layers: int) -> Part:
    """Return the part of a parameter of an Audio Mamba with a head; what maps the patches counts as convolutions."""
    if "audio_mamba." not in name:
        return Part("head", 0)
    if found := re.search(r"\.blocks\.(\d+)\.", name):
        return Part("transformer", layers - 1 - int(found[1]))
    return Part("transformer", 0) if ".encoder_norm." in name else Part("conv", layers)
