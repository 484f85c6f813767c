"""Parts of a model that can have different learning rates."""

import re
from typing import Literal, NamedTuple


class Part(NamedTuple):
    """The part of a model that a parameter belongs to."""

    kind: Literal["conv", "transformer", "head"]
    """The head is all that pretraining needs besides the encoder: quantiser, projections, mask embedding."""
    depth: int
    """Number of blocks after it: 0 for the last block and the head, and the number of all blocks before the first."""


def encoder_part(name: str, layers: int, pre_norm: bool) -> Part:
    """Return the part of a parameter of transformers' wav2vec 2.0 or HuBERT, whatever the prefix of its name."""
    if name.endswith("masked_spec_embed"):
        return Part("head", 0)
    if "feature_extractor." in name:
        return Part("conv", layers)
    if found := re.search(r"\bencoder\.layers\.(\d+)\.", name):
        return Part("transformer", layers - 1 - int(found[1]))
    if re.search(r"\bencoder\.layer_norm\.", name):
        # This LayerNorm comes after the blocks in a pre-norm encoder, and before them in a post-norm one.
        return Part("transformer", 0 if pre_norm else layers)
    if re.search(r"\b(encoder|feature_projection)\.", name):
        return Part("transformer", layers)
    return Part("head", 0)


def mamba_part(name: str, layers: int) -> Part:
    """Return the part of a parameter of an Audio Mamba with a head; the patch embedding counts as ``conv``."""
    if "audio_mamba." not in name:
        return Part("head", 0)
    if found := re.search(r"\.blocks\.(\d+)\.", name):
        return Part("transformer", layers - 1 - int(found[1]))
    return Part("transformer", 0) if ".encoder_norm." in name else Part("conv", layers)
