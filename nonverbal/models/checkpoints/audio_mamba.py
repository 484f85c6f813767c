"""Checkpoints of Audio Mamba: transformers' folders, runs of ours, and files of the released code.

The released code is that of SSAM (Yadav and Tan, Interspeech 2024); its ``.pth`` files hold only weights.
"""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nonverbal.errors import UserError
from nonverbal.models.audio_mamba import BANDS, TIMES, AudioMambaConfig, AudioMambaForPreTraining, positions, register
from nonverbal.models.checkpoints.base import Checkpoint
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

RELEASED = "ssam"
"""Name of the released code's format."""

EXPECTED = "an Audio Mamba of 4 x 16 patches"

INSIDE = "audio_mamba."
"""Prefix of the encoder's names of weights in a model with a head."""

HEAD = ("mask_token", "pred.")
"""Prefixes of the names of weights that only pretraining uses."""

CLASSIFIER = "classifier."
"""Prefix of the names of a classifier's head."""

FIRST = "blocks.0.mixer.A_log"
"""Name of a weight that every encoder has."""

IN_EVERY_MAMBA = FIRST.removeprefix("blocks.0")
"""Suffix of names of weights, by which files are recognised."""

HALF_PRECISION = 8e-3
"""Largest error of a sine in half precision."""

SHAPE = ("hidden_size", "num_hidden_layers", "state_size", "conv_width", "expand")
"""Settings of the configuration that determine the shape."""

READING = ("standardisation", "padding", "frame_order")
"""Settings of the configuration that determine how clips are read."""

CHOICES = ("loss", "masked_positions", *READING)
"""Settings of the configuration on which no weights depend; ``official`` follows the released code."""

FUNCTION = {*SHAPE, *READING, "layer_norm_eps"}
"""Settings of the configuration on which an encoder's output depends."""

USED = FUNCTION | {*CHOICES, "mask_ratio", "initializer_range", "model_type"}
"""Settings of the configuration whose value is used."""

register()


def read_checkpoint(source: str) -> Checkpoint:
    """Read a checkpoint: a folder or Hub id in Hugging Face format, a run of ours, or a ``.pth`` of the released code.

    Code beside the weights is never run; this package's own is used.

    Raises:
        UserError: it cannot be read, contains something that could run code, lacks weights, or has another
            architecture.
    """
    path = place_of(source)
    with quiet():
        if path is None:
            return _on_the_hub(source)
        if path.is_file():
            return _in_a_file(source, path)
        config = _read_config(source, path)
        try:
            held = hold(file_in(path), encoders)
        except FileNotFoundError as error:
            raise unloadable(source, path, error) from error
        return _beside_a_config(source, config, held, path)


def read_shape(source: str) -> AudioMambaConfig:
    """Return the configuration of an encoder. Its folder need not contain weights.

    Raises:
        UserError: it cannot be read, or has a value that is not supported here.
    """
    path = place_of(source)
    if path is not None and path.is_file():
        config: AudioMambaConfig = read_checkpoint(source).config
        return config
    with quiet():
        return _read_config(source, path)


def encoders(names: Iterable[str]) -> list[str]:
    """Return the prefix of each Audio Mamba encoder that is among the names."""
    return [name.removesuffix(FIRST) for name in names if name == FIRST or name.endswith(f".{FIRST}")]


def read_alike(checkpoint: Checkpoint, other: Checkpoint) -> list[str]:
    """Make ``other`` read clips as ``checkpoint`` does, and return the settings in which it differed."""
    different = [name for name in CHOICES if getattr(other.config, name) != getattr(checkpoint.config, name)]
    for name in different:
        setattr(other.config, name, getattr(checkpoint.config, name))
    return [name for name in different if name in READING]


def to_released(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the content of a ``.pth`` of the released code: under ``model``, weights by its names, and positions."""
    weights = {name.removeprefix(INSIDE): value.contiguous() for name, value in checkpoint.weights.items()}
    return {"model": {**weights, "pos_embed": _positions(checkpoint.config)}}


def _on_the_hub(source: str) -> Checkpoint:
    config = _read_config(source, None)
    loaded = load(source, None, AudioMambaForPreTraining, config)
    weights = {name: value for name, value in loaded.model.state_dict().items() if name not in loaded.missing}
    return _checked(source, "transformers", config, weights, loaded.unexpected, (), None)


def _read_config(source: str, folder: Path | None) -> AudioMambaConfig:
    given = read_config(source, folder)
    if given.get("model_type") != AudioMambaConfig.model_type:
        raise UserError(f"{source} is a {given.get('model_type')!r} model, not an Audio Mamba")
    config = config_from(source, folder, given, AudioMambaConfig, USED)
    config.auto_map = AudioMambaConfig().auto_map
    return config


def _in_a_file(source: str, path: Path) -> Checkpoint:
    """Read a file of the released code, or of transformers with config.json beside it."""
    held = hold(path, encoders)
    beside = path.with_name("config.json").is_file() and not any(name.endswith("pos_embed") for name in held.weights)
    if held.encoder is not None and beside:
        given = read_config(source, path.parent)
        if given.get("model_type") == AudioMambaConfig.model_type:
            return _beside_a_config(source, _read_config(source, path.parent), held, path)
    if held.encoder is not None and held.encoder.endswith(INSIDE):
        raise UserError(
            f"{path} is an Audio Mamba of transformers, whose config.json says how clips are read; put it in its folder"
        )
    own, foreign = _without_prefix(held)
    # Counters of the training do not belong to the model.
    own = {name: value for name, value in own.items() if value.is_floating_point()}
    given_positions = own.pop("pos_embed", None)
    config = _config_of_weights(path, own)
    _check_positions(path, given_positions, config)
    return _checked(source, RELEASED, config, _as_pretrained(own), foreign, held.notes, path)


def _beside_a_config(source: str, config: AudioMambaConfig, held: Held, path: Path) -> Checkpoint:
    own, foreign = _without_prefix(held)
    _check_positions(path, own.pop("pos_embed", None), config)
    return _checked(source, "transformers", config, _as_pretrained(own), foreign, held.notes, path)


def _without_prefix(held: Held) -> tuple[dict[str, Tensor], list[str]]:
    """Return the weights of the encoder and of its head, without prefix, and the names of the others."""
    prefix = held.encoder or ""
    outer = prefix.removesuffix(INSIDE)
    own = {
        name.removeprefix(prefix if name.startswith(prefix) else outer): value
        for name, value in held.weights.items()
        if name.startswith(outer)
    }
    return own, [name for name in held.weights if not name.startswith(outer)]


def _as_pretrained(own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights by the names of ``AudioMambaForPreTraining``."""
    return {name if name.startswith((*HEAD, CLASSIFIER)) else INSIDE + name: value for name, value in own.items()}


def _checked(
    source: str,
    format_: str,
    config: AudioMambaConfig,
    weights: Mapping[str, Tensor],
    foreign: Iterable[str],
    notes: tuple[str, ...],
    path: Path | None,
) -> Checkpoint:
    """Refuse an encoder with missing or unknown weights; keep weights of the head, except those of a classifier."""
    try:
        with torch.device("meta"):
            shapes = {name: value.shape for name, value in AudioMambaForPreTraining(config).state_dict().items()}
    except LOADING_ERRORS as error:
        raise UserError(f"no model can be built from the configuration of {source}: {error}") from error
    left_over = sorted({*foreign, *(name for name in weights if name.startswith(CLASSIFIER))})
    own = {name: value for name, value in weights.items() if name in shapes}
    lacking = sorted(shapes.keys() - own.keys())
    strange = sorted(weights.keys() - own.keys() - set(left_over))
    if path is None:
        # transformers only gives the names of weights that it has no place for.
        strange += [name for name in left_over if not name.startswith(CLASSIFIER)]
    encoder = [name for name in lacking if not name.startswith(HEAD)]
    check_whole(source, encoder, strange, misshapen(own, shapes), EXPECTED)
    official = [name for name in READING if getattr(config, name) == "official"]
    kept = f"the encoder still reads clips as the released code does: {', '.join(official)} are official (config.json)"
    notes = (*notes, kept) if official else notes
    in_order = {name: own[name] for name in shapes if name in own}
    return Checkpoint(source, format_, config, in_order, False, not lacking, tuple(left_over), notes, path)


def _positions(config: AudioMambaConfig) -> Tensor:
    """Return positions ``(1, 251, M)``: zeros for the class token, then those of the patches."""
    own = positions(TIMES, config.hidden_size, torch.device("cpu"))
    return torch.cat([torch.zeros(1, config.hidden_size), own])[None]


def _check_positions(path: Path, given: Tensor | None, config: AudioMambaConfig) -> None:
    """Refuse positions of another grid of patches, because positions are computed here."""
    if given is None:
        return
    # Their shape comes first: a width that only the configuration claims must not be allocated.
    same_shape = given.shape == (1, 1 + TIMES * BANDS, config.hidden_size)
    if not same_shape or not (given - _positions(config)).abs().max() <= HALF_PRECISION:
        raise UserError(
            f"{path} has positions of shape {tuple(given.shape)} that are not those of 50 x 5 patches of 4 frames x 16 "
            "bands; only models with windows of two seconds can be read"
        )


def _config_of_weights(path: Path, tensors: Mapping[str, Tensor]) -> AudioMambaConfig:
    """Infer the shape from the weights; all other settings are those of the released code."""
    try:
        inner, states = tensors["blocks.0.mixer.A_log"].shape
        width = tensors["encoder_norm.weight"].shape[0]
        conv_width = tensors["blocks.0.mixer.conv1d.weight"].shape[2]
        layers = len({name.split(".")[1] for name in tensors if name.startswith("blocks.")})
        rank = tensors["blocks.0.mixer.dt_proj.weight"].shape[1]
    except (KeyError, IndexError, ValueError) as error:
        raise UserError(f"{path} is not an Audio Mamba of the released code: it has no usable {error}") from error
    if inner % width or width % 4 or rank != math.ceil(width / 16):
        raise UserError(
            f"{path} is another kind of Audio Mamba: width {width}, {inner} inside a block, step rank {rank}"
        )
    options: dict[str, Any] = dict(zip(SHAPE, (width, layers, states, conv_width, inner // width), strict=True))
    return AudioMambaConfig(**options | dict.fromkeys(CHOICES, "official"))
