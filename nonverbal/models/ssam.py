"""Audio Mamba's checkpoints: new ones, those of transformers' kind, runs of ours, and files of the released code."""

import math
import mmap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, Wav2Vec2FeatureExtractor

from nonverbal.errors import UserError
from nonverbal.models.audio_mamba import (
    SAMPLE_RATE,
    TIMES,
    AudioMambaConfig,
    AudioMambaForPreTraining,
    Mixer,
    positions,
    register,
)
from nonverbal.models.checkpoints.config_keys import check_config, without_calling
from nonverbal.models.checkpoints.quiet import LOADING_ERRORS, quiet
from nonverbal.models.checkpoints.reading import place_of, refuse_not_finite, unloadable
from nonverbal.models.checkpoints.starting import Account
from nonverbal.models.checkpoints.weight_files import Held, file_in, hold
from nonverbal.models.scan_choice import Scan, refusal, scan_name
from nonverbal.seeding import Stream, torch_seed

INSIDE = "audio_mamba."
"""Stands before the encoder's names in a model with a head."""

HEAD = ("mask_token", "pred.")
"""Where the names of pretraining's own weights begin."""

CLASSIFIER = "classifier."
"""Where the names of a classifier's head begin."""

FIRST = "blocks.0.mixer.A_log"
"""A weight of every encoder."""

HALF_PRECISION = 8e-3
"""The most by which a sine in half precision is beside its value."""

READING = ("standardisation", "padding", "frame_order")
"""Settings of the configuration that say how clips are read."""

CHOICES = ("loss", "masked_positions", *READING)
"""Settings of the configuration on which no weights depend; ``official`` is what the released code does."""

register()


@dataclass(frozen=True)
class Architecture:
    """Shape of the encoder. Defaults are SSAM tiny's; small and base differ in the width alone."""

    hidden_size: int = 192
    """Width: 192, 384 and 768 are tiny, small and base."""
    layers: int = 12
    """Mamba blocks."""
    state_size: int = 24
    """States of each channel."""
    conv_width: int = 4
    """Tokens that a block's convolution sees."""
    expand: int = 3
    """Width inside a block, over `hidden_size`."""

    def __post_init__(self) -> None:
        """Refuse what has no meaning."""
        if self.hidden_size < 4 or self.hidden_size % 4:
            raise UserError(
                f"architecture.hidden_size must be a multiple of 4 and at least 4, but is {self.hidden_size}"
            )
        for name in ("layers", "state_size", "conv_width", "expand"):
            if getattr(self, name) < 1:
                raise UserError(f"architecture.{name} must be at least 1, but is {getattr(self, name)}")


def config_of(architecture: Architecture, **options: Any) -> AudioMambaConfig:
    """Return the configuration of a shape."""
    return AudioMambaConfig(
        hidden_size=architecture.hidden_size,
        num_hidden_layers=architecture.layers,
        state_size=architecture.state_size,
        conv_width=architecture.conv_width,
        expand=architecture.expand,
        **options,
    )


@dataclass(frozen=True)
class Checkpoint:
    """An Audio Mamba as it was found."""

    source: str
    """As the user gave it."""
    format: Literal["transformers", "ssam"]
    """Whose names and file it has; ``ssam``: the released code's."""
    model: AudioMambaForPreTraining
    """In float32. A head that it lacks is drawn."""
    lacking: tuple[str, ...] = ()
    """Weights of the head that were drawn."""
    left_over: tuple[str, ...] = ()
    """Weights that have no place in pretraining: a classifier's head."""
    notes: tuple[str, ...] = ()
    """What it does not say."""
    path: Path | None = None
    """The folder or file, where it is one; otherwise it came from the Hub."""
    normalise: bool = False
    """Waveforms are taken as they are: the spectrogram is standardised."""

    @property
    def config(self) -> AudioMambaConfig:
        """Its shape, and where it follows the released code."""
        config: AudioMambaConfig = self.model.config
        return config

    @property
    def weights(self) -> dict[str, Tensor]:
        """What it holds, under ``AudioMambaForPreTraining``'s names."""
        return {name: value for name, value in self.model.state_dict().items() if name not in self.lacking}

    @property
    def has_head(self) -> bool:
        """Whether all that pretraining needs besides the encoder is there."""
        return not self.lacking


def build_model(
    init: str | None, architecture: Architecture, options: Mapping[str, Any], seed: int
) -> tuple[AudioMambaForPreTraining, Account | None]:
    """Return the model in float32, its weights drawn from ``seed``, or a checkpoint's and what was taken from it.

    Args:
        init: where the checkpoint is; see ``read_checkpoint``.
        architecture: shape of a new model; with ``init`` the default, or the checkpoint's own.
        options: of the configuration, which hold whatever the checkpoint says.
        seed: draws weights.

    Raises:
        UserError: the checkpoint cannot be read, or is of another architecture.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed(seed, Stream.INIT))
        if init is None:
            return AudioMambaForPreTraining(config_of(architecture, **options)), None
        checkpoint = read_checkpoint(init)
    refuse_not_finite(init, checkpoint.weights)
    config = checkpoint.config
    own = Architecture(**{name: getattr(config, _CALLED.get(name, name)) for name in Architecture.__dataclass_fields__})
    if architecture not in (Architecture(), own):
        raise UserError(
            f"the checkpoint {init!r} has {own}, but ssam.architecture asks for {architecture}; leave it out to take "
            "the checkpoint's own"
        )
    for name, value in options.items():
        setattr(config, name, value)
    return checkpoint.model, account_of(checkpoint)


def use_scan(model: nn.Module, scan: Scan, device: torch.device) -> Scan:
    """Let the blocks in ``model`` compute their scans by ``scan`` on ``device``; return the one that it comes to.

    Raises:
        UserError: it cannot run there.
    """
    if why := refusal(scan, device):
        raise UserError(
            f"ssam.scan asks for {scan}, which cannot compute scans on {device}: {why}; mend that, or choose "
            "--ssam.scan auto, which takes what works"
        )
    for module in model.modules():
        if isinstance(module, Mixer):
            module.scan = scan
    return scan_name(device) if scan == "auto" else scan


_CALLED = {"layers": "num_hidden_layers"}


def account_of(checkpoint: Checkpoint) -> Account:
    """Say which of the model's weights came from the checkpoint, which were drawn, and which found no place."""
    state = checkpoint.model.state_dict()
    rows = []
    for part in ("encoder", "head"):
        for verb, drawn in (("taken", False), ("initialised", True)):
            names = [
                name
                for name in state
                if name.startswith(HEAD) == (part == "head") and (name in checkpoint.lacking) == drawn
            ]
            if names:
                rows.append((verb, part, f"{len(names)} weights, {sum(state[n].numel() for n in names):,} parameters"))
    if checkpoint.left_over:
        rows.append(("left over", ", ".join(checkpoint.left_over), f"{len(checkpoint.left_over)} weights"))
    config = checkpoint.config
    official = [name for name in READING if getattr(config, name) == "official"]
    read = f"{', '.join(official)} as in the released code (config.json)"
    kept = f"the encoder keeps the checkpoint's way of reading clips: {read}"
    warning = None if checkpoint.has_head else "the checkpoint has no whole head: what it lacks starts at random"
    return Account(checkpoint.source, tuple(rows), (*checkpoint.notes, *([kept] if official else [])), warning)


def is_audio_mamba(source: str) -> bool:
    """Whether a checkpoint that is there is an Audio Mamba: by a file's names, by a folder's configuration."""
    path = place_of(source)
    if path is not None and path.is_file():
        if not path.stat().st_size:
            return False
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.find(b".mixer.A_log") >= 0
    try:
        with quiet():
            given, _ = PretrainedConfig.get_config_dict(str(path or source))
    except LOADING_ERRORS:
        # Whoever reads it says why it cannot be read.
        return False
    return bool(given.get("model_type") == AudioMambaConfig.model_type)


def read_checkpoint(source: str) -> Checkpoint:
    """Read a checkpoint: a folder or Hub id in Hugging Face format, a run of ours, or a ``.pth`` of the released code.

    No code that lies beside the weights is run: it is this package's own. A head that is missing is new.

    Raises:
        UserError: it cannot be read, holds what could run something, lacks weights, or is of another architecture.
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
        return _built(source, "transformers", config, held, path)


def encoders(names: Iterable[str]) -> list[str]:
    """Return what stands before the names of each Audio Mamba's encoder among the names."""
    return [name.removesuffix(FIRST) for name in names if name == FIRST or name.endswith(f".{FIRST}")]


def _on_the_hub(source: str) -> Checkpoint:
    config = _read_config(source, None)
    try:
        model, info = AudioMambaForPreTraining.from_pretrained(
            source, config=config, use_safetensors=True, output_loading_info=True, dtype=torch.float32
        )
    except LOADING_ERRORS as error:
        raise unloadable(source, None, error) from error
    lacking, unknown = sorted(info["missing_keys"]), sorted(info["unexpected_keys"])
    left_over = tuple(name for name in unknown if name.startswith(CLASSIFIER))
    strange = [*(name for name in unknown if name not in left_over), *map(str, info["mismatched_keys"])]
    _check_whole(source, lacking, strange)
    return Checkpoint(source, "transformers", model, tuple(lacking), left_over)


def _read_config(source: str, folder: Path | None) -> AudioMambaConfig:
    try:
        given, _ = PretrainedConfig.get_config_dict(str(folder or source))
        if given.get("model_type") != AudioMambaConfig.model_type:
            raise UserError(f"{source} is a {given.get('model_type')!r} model, not an Audio Mamba")
        check_config(source, given, AudioMambaConfig, AudioMambaConfig.model_type)
        config: AudioMambaConfig = AudioMambaConfig.from_dict(without_calling(given))
    except UserError:
        raise
    except LOADING_ERRORS as error:
        raise unloadable(source, folder, error) from error
    config.auto_map = AudioMambaConfig().auto_map
    return config


def _in_a_file(source: str, path: Path) -> Checkpoint:
    """A file of the released code, or of transformers with the config.json beside it."""
    held = hold(path, encoders)
    beside = path.with_name("config.json").is_file() and not any(name.endswith("pos_embed") for name in held.weights)
    if held.encoder is not None and beside and is_audio_mamba(str(path.parent)):
        return _built(source, "transformers", _read_config(source, path.parent), held, path)
    if held.encoder is not None and held.encoder.endswith(INSIDE):
        raise UserError(
            f"{path} is an Audio Mamba of transformers, whose config.json says how clips are read; put that beside it"
        )
    return _built(source, "ssam", None, held, path)


def export(model: AudioMambaForPreTraining, weights: Mapping[str, Tensor], folder: Path) -> None:
    """Write weights, configuration, feature extractor and code in Hugging Face format."""
    model.save_pretrained(folder, state_dict=dict(weights))
    save_extractor(folder)


def save_extractor(folder: Path) -> None:
    """Write the feature extractor: waveforms as they are, filled up, and which samples are their own."""
    Wav2Vec2FeatureExtractor(
        feature_size=1, sampling_rate=SAMPLE_RATE, do_normalize=False, return_attention_mask=True
    ).save_pretrained(folder)


def write(checkpoint: Checkpoint, target: str, path: Path) -> None:
    """Write a checkpoint: a folder for ``transformers``, with its code, or the ``.pth`` of the released code, ``ssam``.

    Without a whole head the encoder is written alone.
    """
    whole = checkpoint.has_head
    if target == "ssam":
        torch.save(to_released(checkpoint), path)
    elif whole:
        export(checkpoint.model, checkpoint.model.state_dict(), path)
    else:
        checkpoint.model.audio_mamba.save_pretrained(path)
        save_extractor(path)


def read_alike(checkpoint: Checkpoint, other: Checkpoint) -> bool:
    """Let ``other`` read clips as ``checkpoint`` does, and say whether it did not already."""
    different = [name for name in CHOICES if getattr(other.config, name) != getattr(checkpoint.config, name)]
    for name in different:
        setattr(other.config, name, getattr(checkpoint.config, name))
    return any(name in READING for name in different)


def to_released(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return what the released code's ``.pth`` holds: under ``model`` the weights by its names, and the positions."""
    weights = {name.removeprefix(INSIDE): value.contiguous() for name, value in checkpoint.weights.items()}
    return {"model": {**weights, "pos_embed": _positions(checkpoint.config)}}


def _positions(config: AudioMambaConfig) -> Tensor:
    """``(1, 251, M)``: zeros for the class token, then those of the patches."""
    own = positions(TIMES, config.hidden_size, torch.device("cpu"))
    return torch.cat([torch.zeros(1, config.hidden_size), own])[None]


def _built(
    source: str, format_: Literal["transformers", "ssam"], config: AudioMambaConfig | None, held: Held, path: Path
) -> Checkpoint:
    """Make a model of what a file holds; without a configuration it is the released code's."""
    prefix = held.encoder or ""
    outer = prefix.removesuffix(INSIDE)
    tensors = {
        name.removeprefix(prefix if name.startswith(prefix) else outer): value
        for name, value in held.weights.items()
        if name.startswith(outer) and (config is not None or value.is_floating_point())
    }
    given = tensors.pop("pos_embed", None)
    config = config or _config_of_weights(path, tensors)
    _check_positions(path, given, config)
    try:
        model = AudioMambaForPreTraining(config)
    except LOADING_ERRORS as error:
        raise UserError(f"{source}: no model can be made of its configuration: {error}") from error
    named = {name if name.startswith((*HEAD, CLASSIFIER)) else INSIDE + name: v for name, v in tensors.items()}
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    lacking = sorted(shapes.keys() - named.keys())
    foreign = [name for name in held.weights if not name.startswith(outer)]
    left_over = sorted([*foreign, *(name for name in named if name.startswith(CLASSIFIER))])
    strange = [
        f"{name} {tuple(value.shape)}"
        for name, value in sorted(named.items())
        if name not in left_over and (value.shape != shapes.get(name) or not value.is_floating_point())
    ]
    _check_whole(source, lacking, strange)
    model.load_state_dict({name: named[name] for name in shapes if name in named}, strict=False)
    return Checkpoint(source, format_, model, tuple(lacking), tuple(left_over), held.notes, path)


def _check_positions(path: Path, given: Tensor | None, config: AudioMambaConfig) -> None:
    """Refuse positions of another grid of patches; ours are computed."""
    expected = _positions(config)
    if given is not None and (given.shape != expected.shape or not (given - expected).abs().max() <= HALF_PRECISION):
        raise UserError(
            f"{path} has positions {tuple(given.shape)} that are not those of 50 x 5 patches of 4 frames x 16 bands; "
            "only models of windows of two seconds are read"
        )


def _config_of_weights(path: Path, tensors: Mapping[str, Tensor]) -> AudioMambaConfig:
    """Read the shape off the weights; everything else is as the released code has it."""
    try:
        inner, states = tensors["blocks.0.mixer.A_log"].shape
        width = tensors["encoder_norm.weight"].shape[0]
        conv_width = tensors["blocks.0.mixer.conv1d.weight"].shape[2]
        layers = len({name.split(".")[1] for name in tensors if name.startswith("blocks.")})
        rank = tensors["blocks.0.mixer.dt_proj.weight"].shape[1]
    except (KeyError, IndexError, ValueError) as error:
        raise UserError(f"{path} is no Audio Mamba of the released code: it has no usable {error}") from error
    if inner % width or width % 4 or rank != math.ceil(width / 16):
        raise UserError(f"{path} is another Audio Mamba: width {width}, {inner} inside a block, step rank {rank}")
    shape = Architecture(width, layers, states, conv_width, inner // width)
    return config_of(shape, **dict.fromkeys(CHOICES, "official"))


def _check_whole(source: str, lacking: list[str], strange: list[str]) -> None:
    lacking = [name for name in lacking if not name.startswith(HEAD)]
    if lacking or strange:
        found = [f"{len(lacking)} missing weights ({', '.join(lacking[:2])})"] if lacking else []
        found += [f"{len(strange)} unknown ones ({', '.join(strange[:2])})"] if strange else []
        raise UserError(
            f"{source} is no whole Audio Mamba of 4 x 16 patches: {' and '.join(found)}; download or export it again"
        )
