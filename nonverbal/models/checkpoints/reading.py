"""wav2vec 2.0 and HuBERT weights from anywhere: Hugging Face, a run, fairseq, fairseq2; all come out in one form."""

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
"""Where pretraining's own weights begin: quantiser and projections."""

Kind = Literal["wav2vec2", "hubert"]
"""As which an encoder is read: the two compute the same, under other configurations."""

EXPECTED = "an encoder of wav2vec 2.0 or HuBERT"

_INSIDE = ("encoder.", "encoder_frontend.", "feature_extractor.", "post_extract_proj.", "wav2vec2.", "hubert.")
_PARTS = ("feature_extractor.", "feature_projection.", "encoder.", "adapter.", "masked_spec_embed")
_CONFIGS: dict[str, type[PretrainedConfig]] = {"wav2vec2": Wav2Vec2Config, "hubert": HubertConfig}
_MODELS = {"wav2vec2": Wav2Vec2ForPreTraining, "hubert": HubertModel}


@dataclass(frozen=True)
class _Found:
    """What a source holds, before it is held against its architecture."""

    format: Format
    config: PretrainedConfig
    weights: dict[str, Tensor]
    """Under ``Wav2Vec2ForPreTraining``'s names."""
    left: tuple[str, ...]
    """Names that have no counterpart."""
    normalise: bool
    notes: tuple[str, ...]


def read_checkpoint(source: str, heads: int | None = None, kind: Kind = "wav2vec2") -> Checkpoint:
    """Read a wav2vec 2.0 or a HuBERT: a folder or Hub id in Hugging Face format, a run of ours, or a file of weights.

    Files are fairseq's and fairseq2's ``.pt``, transformers' ``.bin`` (whole, or the index of its parts) and
    ``.safetensors``, and Lightning's ``.ckpt``.

    Args:
        source: where it is.
        heads: number of attention heads where the file does not say it (else width / 64).
        kind: whose configuration is wanted.

    Raises:
        UserError: it cannot be read, holds what could run something, or computes what is not computed here.
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
    """Return an encoder's configuration, whether its waveforms are normalised, and what was inferred of that.

    Args:
        source: as the user gave it.
        path: its folder in Hugging Face format, which may hold no weights, or its file; None for a name of the Hub.
        kind: whose configuration is wanted.

    Raises:
        UserError: it cannot be read, or asks for what is not computed here.
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
    """Weights of transformers, of which a config.json says the architecture."""
    if held.encoder is None or held.encoder[0] != "transformers":
        raise another(source, f"weights such as {', '.join(sorted(held.weights)[:3]) or 'none at all'}")
    own, left = _without_prefix(held.weights, *held.encoder)
    normalise, notes = _extractor(folder, str(folder), config)
    return _Found("transformers", config, own, tuple(left), normalise, (*held.notes, *notes))


def _alone(source: str, held: Held, heads: int | None) -> _Found:
    """Weights whose architecture is read off their shapes, and what configuration lies in their file."""
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
    """Read config.json and refuse what is not computed here; code beside it is never looked at."""
    given = read_config(source, folder)
    its = _CONFIGS.get(str(given.get("model_type")))
    if its is None:
        raise another(source, f"a {given.get('model_type')!r} model")
    only = ONLY | (ONLY_IN_WAV2VEC2 if kind == "wav2vec2" else {})
    return config_from(source, folder, given, its, USED, only)


def with_mask(config: PretrainedConfig) -> PretrainedConfig:
    """A configuration under which transformers gives the model a mask embedding; masks are drawn here."""
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
    does = "are brought to zero mean and unit variance" if normalise else "are taken as they are"
    return f"waveforms {does}, as is the custom for this layout: {why}"


def _without_prefix(tensors: Mapping[str, Tensor], format_: Format, prefix: str) -> tuple[dict[str, Tensor], list[str]]:
    """Divide weights into the model's own, without what stands before its names, and others' names."""
    if format_ != "transformers":
        own = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        return own, [name for name in tensors if not name.startswith(prefix)]
    # The encoder's names have a prefix in a model with a head, and the head's have what stands before both.
    outer = next((prefix.removesuffix(name) for name in ("wav2vec2.", "hubert.") if prefix.endswith(name)), prefix)
    own = {}
    for name, value in tensors.items():
        if name.startswith(prefix) and (outer != prefix or name.removeprefix(prefix).startswith(_PARTS)):
            own[f"wav2vec2.{name.removeprefix(prefix)}"] = value
        elif name.startswith(outer):
            own[name.removeprefix(outer)] = value
    # As weight norm was called before PyTorch's parametrizations.
    for end, new in {"conv.weight_g": "original0", "conv.weight_v": "original1"}.items():
        name = f"wav2vec2.encoder.pos_conv_embed.{end}"
        twin = name.removesuffix(end) + f"conv.parametrizations.weight.{new}"
        if name in own and twin in own:
            raise UserError(f"one weight is there by two names, {name} and {twin}; write a file with one of them")
        if name in own:
            own[twin] = own.pop(name)
    return own, [name for name in tensors if not name.startswith(outer)]


def _checked(source: str, kind: Kind, found: _Found, path: Path | None) -> Checkpoint:
    """Refuse an encoder of this kind that lacks weights or has others; leave over a quantiser that lacks some."""
    config = shared_config(found.config, kind)
    config = with_mask(config) if MASK in found.weights else config
    expected = _expected(source, config)
    weights = found.weights
    head = [name for name in expected if name.startswith(HEAD)]
    has_head = bool(head) and all(name in weights for name in head)
    if not has_head:
        # A recogniser's or HuBERT's final_proj, say: alone it means nothing here.
        expected = {name: shape for name, shape in expected.items() if name not in head}
    left = sorted({*found.left, *(name for name in weights if name not in expected)})
    strange = [name for name in left if name.startswith(_INSIDE) and not name.startswith("wav2vec2.adapter.")]
    lacking = sorted(name for name in expected.keys() - weights.keys() if name != MASK)
    kept = {name: value for name, value in weights.items() if name in expected}
    check_whole(source, lacking, strange, misshapen(kept, expected), EXPECTED)
    return Checkpoint(source, found.format, config, kept, found.normalise, has_head, tuple(left), found.notes, path)


def _expected(source: str, config: PretrainedConfig) -> dict[str, torch.Size]:
    """Return the shapes of a model of this configuration, under ``Wav2Vec2ForPreTraining``'s names."""
    prefix = "" if config.model_type == "wav2vec2" else "wav2vec2."
    try:
        with torch.device("meta"):
            state = _MODELS[config.model_type](config).state_dict()
    except LOADING_ERRORS as error:
        raise UserError(f"{source}: transformers makes no model of its configuration: {error}") from error
    return {prefix + name: value.shape for name, value in state.items()}
