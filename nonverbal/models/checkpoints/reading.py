"""wav2vec 2.0 and HuBERT weights from anywhere: Hugging Face, a run, fairseq, fairseq2; all come out in one form."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import (
    HubertConfig,
    HubertModel,
    PretrainedConfig,
    Wav2Vec2Config,
    Wav2Vec2ForPreTraining,
)

from nonverbal.errors import UserError
from nonverbal.models.checkpoints.config_from_weights import another, config_of_weights
from nonverbal.models.checkpoints.config_keys import check_config, shared_config, without_calling
from nonverbal.models.checkpoints.fairseq_settings import settings_of
from nonverbal.models.checkpoints.feature_extractors import normalises
from nonverbal.models.checkpoints.quiet import LOADING_ERRORS, quiet
from nonverbal.models.checkpoints.weight_files import ENDINGS, Held, file_in, hold
from nonverbal.models.checkpoints.weight_names import NO_COUNTERPART, Format, Layout, encoders, layout_of, renamed

MASK = "wav2vec2.masked_spec_embed"
HEAD = ("quantizer.", "project_")
"""Where pretraining's own weights begin: quantiser and projections."""

Family = Literal["wav2vec2", "hubert"]
"""As which an encoder is read: the two compute the same, under other configurations."""

_INSIDE = ("encoder.", "encoder_frontend.", "feature_extractor.", "post_extract_proj.", "wav2vec2.", "hubert.")
_PARTS = ("feature_extractor.", "feature_projection.", "encoder.", "adapter.", "masked_spec_embed")
_CONFIGS: dict[str, type[PretrainedConfig]] = {"wav2vec2": Wav2Vec2Config, "hubert": HubertConfig}
_MODELS = {"wav2vec2": Wav2Vec2ForPreTraining, "hubert": HubertModel}


@dataclass(frozen=True)
class Checkpoint:
    """An encoder as it was found."""

    source: str
    """As the user gave it."""
    format: Format
    """Whose names and file it has."""
    config: Wav2Vec2Config | HubertConfig
    """Its shape, and its dropouts and so on where they are known; of the family as which it was read."""
    weights: dict[str, Tensor]
    """In float32, under ``Wav2Vec2ForPreTraining``'s names: the whole encoder; quantiser and projections or neither."""
    original: dict[str, Tensor]
    """The same under the file's own names, without what stands before all of them."""
    left_over: tuple[str, ...]
    """Weights that have no place in pretraining, such as the head of a recogniser."""
    normalise: bool
    """Whether its waveforms have zero mean and unit variance."""
    notes: tuple[str, ...] = ()
    """What the file does not say, and was inferred; what was not taken of it."""
    path: Path | None = None
    """The folder or file, where it is one; otherwise it came from the Hub."""

    @property
    def has_head(self) -> bool:
        """Whether quantiser and projections are there."""
        return any(name.startswith(HEAD) for name in self.weights)

    @property
    def layout(self) -> Layout:
        """What its names depend on."""
        return Layout(self.config.feat_extract_norm == "group", self.config.do_stable_layer_norm)


@dataclass(frozen=True)
class _Found:
    """What a source holds, before it is held against its architecture."""

    format: Format
    config: PretrainedConfig
    weights: dict[str, Tensor]
    """Under ``Wav2Vec2ForPreTraining``'s names."""
    original: dict[str, Tensor]
    left: tuple[str, ...]
    """Names that have no counterpart."""
    normalise: bool
    notes: tuple[str, ...]


def read_checkpoint(source: str, heads: int | None = None, family: Family = "wav2vec2") -> Checkpoint:
    """Read a wav2vec 2.0 or a HuBERT: a folder or Hub id in Hugging Face format, a run of ours, or a file of weights.

    Files are fairseq's and fairseq2's ``.pt``, transformers' ``.bin`` (whole, or the index of its parts) and
    ``.safetensors``, and Lightning's ``.ckpt``.

    Args:
        source: where it is.
        heads: number of attention heads where the file does not say it (else width / 64).
        family: whose configuration is wanted.

    Raises:
        UserError: it cannot be read, holds what could run something, or computes what is not computed here.
    """
    path = place_of(source)
    with quiet():
        if path is None:
            found = _on_the_hub(source, family)
        elif path.is_dir():
            found = _in_a_folder(path, source, family)
        else:
            found = _in_a_file(path, source, heads, family)
    return _checked(source, family, found, path)


def refuse_not_finite(source: str, weights: Mapping[str, Tensor]) -> None:
    """Refuse weights of which values are NaN or infinite."""
    bad = sorted(name for name, value in weights.items() if not torch.isfinite(value).all())
    if bad:
        raise UserError(
            f"{source} has NaN or infinite values in {len(bad)} of {len(weights)} weights: {', '.join(bad)}; take a "
            "checkpoint from before they came about"
        )


def place_of(source: str) -> Path | None:
    """Return the file or folder that a source names, the encoder's where it is a run; None for a name of the Hub.

    Raises:
        UserError: nothing is there, a run without an encoder, or one of a run's own checkpoints.
    """
    path = Path(source)
    # A name of the Hub is NAME or OWNER/NAME.
    names_a_path = source.startswith((".", "/")) or source.count("/") > 1 or source.endswith(ENDINGS)
    if names_a_path and not path.exists():
        raise UserError(f"there is no file or folder {source}; nonverbal pretrain writes an encoder to RUN/encoder")
    if ((path.parent if path.is_file() else path) / "state.json").is_file():
        raise UserError(
            f"{source} is a checkpoint that continues its own run; give the run's folder, whose encoder/ is its best"
        )
    if (path / "recipe.yaml").is_file():
        if not (path / "encoder").is_dir():
            raise UserError(f"the run {source} has no encoder/ yet: it is written with the first checkpoint")
        path = path / "encoder"
    if (path / "adapter_config.json").is_file():
        # Whether transformers heeds it hangs on whether PEFT is installed.
        raise UserError(f"{path} holds an adapter of PEFT: merge it into its model (merge_and_unload), and save that")
    if path.is_dir() and not (path / "config.json").is_file():
        # transformers would guess the architecture from the letters of the folder's name.
        raise UserError(f"{path} is neither a run nor a folder in Hugging Face format: it has no config.json")
    return path if path.exists() else None


def _on_the_hub(source: str, family: Family) -> _Found:
    config = _read_config(source, None, family)
    try:
        model, info = _MODELS[config.model_type].from_pretrained(
            source, config=with_mask(config), use_safetensors=True, output_loading_info=True, dtype=torch.float32
        )
    except LOADING_ERRORS as error:
        raise unloadable(source, None, error) from error
    present = {name: value for name, value in model.state_dict().items() if name not in info["missing_keys"]}
    prefix = "" if config.model_type == "wav2vec2" else "wav2vec2."
    weights = {prefix + name: value for name, value in present.items()}
    left = (*info["unexpected_keys"], *(str(key) for key in info["mismatched_keys"]))
    return _Found("transformers", config, weights, present, left, *_extractor(None, source, config))


def _in_a_folder(path: Path, source: str, family: Family) -> _Found:
    config = _read_config(source, path, family)
    try:
        held = hold(file_in(path), encoders)
    except FileNotFoundError as error:
        raise unloadable(source, path, error) from error
    return _beside_a_config(source, path, held, config)


def _in_a_file(path: Path, source: str, heads: int | None, family: Family) -> _Found:
    held = hold(path, encoders)
    if held.encoder is None:
        raise another(source, f"weights such as {', '.join(sorted(held.weights)[:3]) or 'none at all'}")
    if held.encoder[0] == "transformers" and path.with_name("config.json").is_file():
        return _beside_a_config(source, path.parent, held, _read_config(source, path.parent, family))
    return _alone(source, held, heads)


def _beside_a_config(source: str, folder: Path, held: Held, config: PretrainedConfig) -> _Found:
    """Weights of transformers, of which a config.json says the architecture."""
    if held.encoder is None or held.encoder[0] != "transformers":
        raise another(source, f"weights such as {', '.join(sorted(held.weights)[:3]) or 'none at all'}")
    own, left = _without_prefix(held.weights, *held.encoder)
    normalise, notes = _extractor(folder, str(folder), config)
    return _Found("transformers", config, own, own, tuple(left), normalise, (*held.notes, *notes))


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
    return _Found(format_, config, weights, own, tuple(left), normalise, (*held.notes, *settings.notes, *notes))


def _read_config(source: str, folder: Path | None, family: Family) -> PretrainedConfig:
    """Read config.json and refuse what is not computed here; code beside it is never looked at."""
    try:
        given, _ = PretrainedConfig.get_config_dict(str(folder or source))
        kind = _CONFIGS.get(str(given.get("model_type")))
        if kind is None:
            raise another(source, f"a {given.get('model_type')!r} model")
        check_config(source, given, kind, family)
        config: PretrainedConfig = kind.from_dict(without_calling(given))
    except UserError:
        raise
    except LOADING_ERRORS as error:
        raise unloadable(source, folder, error) from error
    return config


def with_mask(config: PretrainedConfig) -> PretrainedConfig:
    """A configuration under which transformers gives the model a mask embedding; masks are drawn here."""
    if not (isinstance(config.mask_time_prob, int | float) and config.mask_time_prob > 0):
        config.mask_time_prob = type(config)().mask_time_prob
    return config


def _extractor(folder: Path | None, place: str, config: PretrainedConfig) -> tuple[bool, tuple[str, ...]]:
    try:
        normalise = normalises(place, folder)
    except UserError:
        raise
    except LOADING_ERRORS as error:
        raise unloadable(place, folder, error) from error
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


def _checked(source: str, family: Family, found: _Found, path: Path | None) -> Checkpoint:
    """Refuse what is no whole encoder of this family, and leave over what is no whole quantiser."""
    config = shared_config(found.config, family)
    config = with_mask(config) if MASK in found.weights else config
    expected = _expected(source, config)
    weights = found.weights
    head = [name for name in expected if name.startswith(HEAD)]
    if not all(name in weights for name in head):
        # A recogniser's or HuBERT's final_proj, say: alone it means nothing here.
        expected = {name: shape for name, shape in expected.items() if name not in head}
    left = sorted({*found.left, *(name for name in weights if name not in expected)})
    strange = [name for name in left if name.startswith(_INSIDE) and not name.startswith("wav2vec2.adapter.")]
    lacking = sorted(name for name in expected.keys() - weights.keys() if name != MASK)
    if strange or lacking:
        said = [f"{len(strange)} unknown weights ({', '.join(strange[:2])})"] if strange else []
        said += [f"{len(lacking)} missing ones ({', '.join(lacking[:2])})"] if lacking else []
        raise another(source, " and ".join(said))
    kept = {name: value for name, value in weights.items() if name in expected}
    for name, value in kept.items():
        if value.shape != expected[name]:
            raise another(source, f"{name} in shape {tuple(value.shape)}, not {tuple(expected[name])}")
        if not value.is_floating_point():
            raise another(source, f"{name} in {value.dtype}, which is no number as it stands")
    return Checkpoint(
        source, found.format, config, kept, found.original, tuple(left), found.normalise, found.notes, path
    )


def _expected(source: str, config: PretrainedConfig) -> dict[str, torch.Size]:
    """Return the shapes of a model of this configuration, under ``Wav2Vec2ForPreTraining``'s names."""
    prefix = "" if config.model_type == "wav2vec2" else "wav2vec2."
    try:
        with torch.device("meta"):
            state = _MODELS[config.model_type](config).state_dict()
    except LOADING_ERRORS as error:
        raise UserError(f"{source}: transformers makes no model of its configuration: {error}") from error
    return {prefix + name: value.shape for name, value in state.items()}


def unloadable(source: str, path: Path | None, error: Exception) -> UserError:
    """Return what to say of a folder, or a name of the Hub, that transformers cannot load."""
    reason = " ".join(str(error).split())[:300]
    hint = ""
    if path is None:
        hint = f"; there is no folder {source} here, so it was taken for a name of the Hugging Face Hub"
    elif isinstance(error, SafetensorError):
        hint = f"; {path / 'model.safetensors'} is cut short or damaged: copy, download or export it again"
    elif (pickled := sorted(path.glob("pytorch_model.bin*"))) and not list(path.glob("*.safetensors")):
        hint = f"; its weights are pickled: nonverbal convert {pickled[0]} --to transformers reads them"
    return UserError(f"cannot load the checkpoint {source!r}: {reason}{hint}")
