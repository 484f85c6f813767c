"""Reads weights of wav2vec 2.0 and HuBERT from Hugging Face, a run, fairseq or fairseq2 into one form."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from transformers import HubertConfig, HubertModel, PretrainedConfig, Wav2Vec2Config, Wav2Vec2ForPreTraining

from nonverbal.errors import UserError
from nonverbal.models.checkpoints.base import Checkpoint
from nonverbal.models.checkpoints.config_from_weights import another, config_of_weights
from nonverbal.models.checkpoints.config_keys import ONLY, ONLY_IN_WAV2VEC2, USED, shared_config
from nonverbal.models.checkpoints.fairseq_settings import settings_of
from nonverbal.models.checkpoints.feature_extractors import normalises
from nonverbal.models.checkpoints.hugging_face import (
    check_whole,
    config_from,
    load,
    misshapen,
    place_of,
    read_config,
    unloadable,
)
from nonverbal.models.checkpoints.quiet import LOADING_ERRORS, quiet
from nonverbal.models.checkpoints.weight_files import Held, file_in, hold
from nonverbal.models.checkpoints.weight_names import NO_COUNTERPART, Format, encoders, layout_of, renamed

MASK = "wav2vec2.masked_spec_embed"
HEAD = ("quantizer.", "project_")
"""Prefixes of the names of weights that only pretraining uses: quantiser and projections."""

Kind = Literal["wav2vec2", "hubert"]
"""The kind as which an encoder is read: both compute the same, but have different configurations."""

EXPECTED = "an encoder of wav2vec 2.0 or HuBERT"

_INSIDE = ("encoder.", "encoder_frontend.", "feature_extractor.", "post_extract_proj.", "wav2vec2.", "hubert.")
_PARTS = ("feature_extractor.", "feature_projection.", "encoder.", "adapter.", "masked_spec_embed")
_CONFIGS: dict[str, type[PretrainedConfig]] = {"wav2vec2": Wav2Vec2Config, "hubert": HubertConfig}
_MODELS = {"wav2vec2": Wav2Vec2ForPreTraining, "hubert": HubertModel}


@dataclass(frozen=True)
class _Found:
    """The content of a source, before it is compared with its architecture."""

    format: Format
    config: PretrainedConfig
    weights: dict[str, Tensor]
    """By the names of ``Wav2Vec2ForPreTraining``."""
    left: tuple[str, ...]
    """Names without a counterpart there."""
    normalise: bool
    notes: tuple[str, ...]


def read_checkpoint(source: str, heads: int | None = None, kind: Kind = "wav2vec2") -> Checkpoint:
    """Read a wav2vec 2.0 or a HuBERT: a folder or Hub id in Hugging Face format, a run of ours, or a file of weights.

    Files may be ``.pt`` of fairseq and fairseq2, ``.bin`` (complete, or the index of its parts) and ``.safetensors`` of
    transformers, and ``.ckpt`` of Lightning.

    Args:
        source: the checkpoint.
        heads: number of attention heads, if the file does not contain it (default: width / 64).
        kind: of the configuration to return.

    Raises:
        UserError: it cannot be read, contains something that could run code, or its model is not supported here.
    """
    path = place_of(source)
    with quiet():
        if path is None:
            found = _on_the_hub(source, kind)
        elif path.is_dir():
            found = _in_a_folder(path, source, kind)
        else:
            found = _in_a_file(path, source, heads, kind)
    return _checked(source, kind, found, path)


def read_shape(source: str, path: Path | None, kind: Kind) -> tuple[PretrainedConfig, bool, tuple[str, ...]]:
    """Return an encoder's configuration, whether its waveforms are normalised, and notes on what was assumed.

    Args:
        source: as the user gave it.
        path: its folder in Hugging Face format, which need not contain weights, or its file; None for a Hub id.
        kind: of the configuration to return.

    Raises:
        UserError: it cannot be read, or has a value that is not supported here.
    """
    if path is not None and path.is_file():
        checkpoint = read_checkpoint(source, kind=kind)
        return checkpoint.config, checkpoint.normalise, checkpoint.notes
    with quiet():
        config = shared_config(_read_config(source, path, kind), kind)
        return config, *_extractor(path, source, config)


def _on_the_hub(source: str, kind: Kind) -> _Found:
    config = _read_config(source, None, kind)
    loaded = load(source, None, _MODELS[config.model_type], with_mask(config))
    prefix = "" if config.model_type == "wav2vec2" else "wav2vec2."
    state = loaded.model.state_dict()
    weights = {prefix + name: value for name, value in state.items() if name not in loaded.missing}
    left = (*loaded.unexpected, *loaded.mismatched)
    return _Found("transformers", config, weights, left, *_extractor(None, source, config))


def _in_a_folder(path: Path, source: str, kind: Kind) -> _Found:
    config = _read_config(source, path, kind)
    try:
        held = hold(file_in(path), encoders)
    except FileNotFoundError as error:
        raise unloadable(source, path, error) from error
    return _beside_a_config(source, path, held, config)


def _in_a_file(path: Path, source: str, heads: int | None, kind: Kind) -> _Found:
    held = hold(path, encoders)
    if held.encoder is None:
        raise another(source, f"weights such as {', '.join(sorted(held.weights)[:3]) or 'none at all'}")
    if held.encoder[0] == "transformers" and path.with_name("config.json").is_file():
        return _beside_a_config(source, path.parent, held, _read_config(source, path.parent, kind))
    return _alone(source, held, heads)


def _beside_a_config(source: str, folder: Path, held: Held, config: PretrainedConfig) -> _Found:
    """Read weights of transformers, whose architecture is in a config.json."""
    if held.encoder is None or held.encoder[0] != "transformers":
        raise another(source, f"weights such as {', '.join(sorted(held.weights)[:3]) or 'none at all'}")
    own, left = _without_prefix(held.weights, *held.encoder)
    normalise, notes = _extractor(folder, str(folder), config)
    return _Found("transformers", config, own, tuple(left), normalise, (*held.notes, *notes))


def _alone(source: str, held: Held, heads: int | None) -> _Found:
    """Read weights whose architecture is inferred from their shapes and from a configuration in their file."""
    format_, prefix = held.encoder
    own, left = _without_prefix(held.weights, format_, prefix)
    settings = settings_of(source, held.tree)
    layout = layout_of(own, format_, settings.options.get("do_stable_layer_norm"))
    weights = renamed(own, format_, "transformers", layout)
    back = set(renamed(weights, "transformers", format_, layout))
    left += [name for name in own if name not in back and name != NO_COUNTERPART]
    config, notes = config_of_weights(source, weights, layout, heads, settings)
    normalise = settings.normalise
    if normalise is None:
        normalise = not layout.group_norm
        notes += (_custom(normalise, "the file does not say"),)
    return _Found(format_, config, weights, tuple(left), normalise, (*held.notes, *settings.notes, *notes))


def _read_config(source: str, folder: Path | None, kind: Kind) -> PretrainedConfig:
    """Read config.json and refuse what is not supported here; code beside it is ignored."""
    given = read_config(source, folder)
    its = _CONFIGS.get(str(given.get("model_type")))
    if its is None:
        raise another(source, f"a {given.get('model_type')!r} model")
    only = ONLY | (ONLY_IN_WAV2VEC2 if kind == "wav2vec2" else {})
    return config_from(source, folder, given, its, USED, only)


def with_mask(config: PretrainedConfig) -> PretrainedConfig:
    """Return a configuration with which transformers gives the model a mask embedding; masks are drawn here."""
    if not (isinstance(config.mask_time_prob, int | float) and config.mask_time_prob > 0):
        config.mask_time_prob = type(config)().mask_time_prob
    return config


def _extractor(folder: Path | None, place: str, config: PretrainedConfig) -> tuple[bool, tuple[str, ...]]:
    normalise = normalises(place, folder)
    if normalise is None:
        normalise = config.feat_extract_norm != "group"
        return normalise, (_custom(normalise, "there is no preprocessor_config.json"),)
    return normalise, ()


def _custom(normalise: bool, why: str) -> str:
    does = "are normalised to zero mean and unit variance" if normalise else "are not normalised"
    return f"waveforms {does}, the default for this layout, because {why}"


def _without_prefix(tensors: Mapping[str, Tensor], format_: Format, prefix: str) -> tuple[dict[str, Tensor], list[str]]:
    """Return the model's own weights without the prefix of their names, and the names of the other weights."""
    if format_ != "transformers":
        own = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        return own, [name for name in tensors if not name.startswith(prefix)]
    # The encoder's names have a prefix in a model with a head; any outer prefix stands before encoder and head.
    outer = next((prefix.removesuffix(name) for name in ("wav2vec2.", "hubert.") if prefix.endswith(name)), prefix)
    own = {}
    for name, value in tensors.items():
        if name.startswith(prefix) and (outer != prefix or name.removeprefix(prefix).startswith(_PARTS)):
            own[f"wav2vec2.{name.removeprefix(prefix)}"] = value
        elif name.startswith(outer):
            own[name.removeprefix(outer)] = value
    # Names of weight norm before PyTorch's parametrizations.
    for end, new in {"conv.weight_g": "original0", "conv.weight_v": "original1"}.items():
        name = f"wav2vec2.encoder.pos_conv_embed.{end}"
        twin = name.removesuffix(end) + f"conv.parametrizations.weight.{new}"
        if name in own and twin in own:
            raise UserError(f"the same weight has two names, {name} and {twin}; write a file with one of them")
        if name in own:
            own[twin] = own.pop(name)
    return own, [name for name in tensors if not name.startswith(outer)]


def _checked(source: str, kind: Kind, found: _Found, path: Path | None) -> Checkpoint:
    """Refuse an encoder of this kind with missing or unknown weights; leave an incomplete quantiser over."""
    config = shared_config(found.config, kind)
    config = with_mask(config) if MASK in found.weights else config
    expected = _expected(source, config)
    weights = found.weights
    head = [name for name in expected if name.startswith(HEAD)]
    has_head = bool(head) and all(name in weights for name in head)
    if not has_head:
        # For example final_proj of a recogniser or of HuBERT, which is of no use here without the rest.
        expected = {name: shape for name, shape in expected.items() if name not in head}
    left = sorted({*found.left, *(name for name in weights if name not in expected)})
    strange = [name for name in left if name.startswith(_INSIDE) and not name.startswith("wav2vec2.adapter.")]
    lacking = sorted(name for name in expected.keys() - weights.keys() if name != MASK)
    kept = {name: value for name, value in weights.items() if name in expected}
    check_whole(source, lacking, strange, misshapen(kept, expected), EXPECTED)
    return Checkpoint(source, found.format, config, kept, found.normalise, has_head, tuple(left), found.notes, path)


def _expected(source: str, config: PretrainedConfig) -> dict[str, torch.Size]:
    """Return the shapes of the weights of a model of this configuration, by ``Wav2Vec2ForPreTraining``'s names."""
    prefix = "" if config.model_type == "wav2vec2" else "wav2vec2."
    try:
        with torch.device("meta"):
            state = _MODELS[config.model_type](config).state_dict()
    except LOADING_ERRORS as error:
        raise UserError(f"transformers cannot build the model that {source} configures: {error}") from error
    return {prefix + name: value.shape for name, value in state.items()}
