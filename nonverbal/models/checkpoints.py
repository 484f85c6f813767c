"""wav2vec 2.0 weights from anywhere: Hugging Face, a run of ours, fairseq, fairseq2; all come out in one form."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import (
    AutoConfig,
    HubertModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForPreTraining,
)

from nonverbal.errors import UserError
from nonverbal.models.names import NO_COUNTERPART, Format, Layout, layout_of, recognise, renamed
from nonverbal.models.pickles import find, load_weights_only
from nonverbal.models.quiet import quiet
from nonverbal.models.shapes import another, config_of_weights

MASK = "wav2vec2.masked_spec_embed"
HEAD = ("quantizer.", "project_")
"""Where pretraining's own weights begin: quantiser and projections."""

_INSIDE = ("encoder.", "encoder_frontend.", "feature_extractor.", "post_extract_proj.", "wav2vec2.")
_FAMILY = {"wav2vec2": Wav2Vec2ForPreTraining, "hubert": HubertModel}


@dataclass(frozen=True)
class Checkpoint:
    """An encoder as it was found."""

    source: str
    """As the user gave it."""
    format: Format
    """Whose names and file it has."""
    config: Wav2Vec2Config
    """Its shape, and its dropouts and so on where they are known."""
    weights: dict[str, Tensor]
    """In float32, under ``Wav2Vec2ForPreTraining``'s names: the whole encoder; quantiser and projections or neither."""
    original: dict[str, Tensor]
    """The same under the file's own names, without what stands before all of them."""
    left_over: tuple[str, ...]
    """Weights that have no place in pretraining, such as the head of a recogniser."""
    normalise: bool
    """Whether its waveforms have zero mean and unit variance."""
    notes: tuple[str, ...] = ()
    """What the file does not say, and was inferred."""
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


def read_checkpoint(source: str, heads: int | None = None) -> Checkpoint:
    """Read a checkpoint: a folder or Hub id in Hugging Face format, a run of ours, or a ``.pt`` of fairseq or fairseq2.

    Args:
        source: where it is.
        heads: number of attention heads where the file does not say it (else width / 64).

    Raises:
        UserError: it cannot be read, holds what could run something, or is of another architecture.
    """
    path = place_of(source)
    if path is not None and path.is_file():
        return _from_file(path, source, heads)
    with quiet():
        return _from_transformers(path, source)


def place_of(source: str) -> Path | None:
    """Return the file or folder that a source names, the encoder's where it is a run; None for a name of the Hub.

    Raises:
        UserError: nothing is there, a run without an encoder, or one of a run's own checkpoints.
    """
    path = Path(source)
    # A name of the Hub is NAME or OWNER/NAME.
    names_a_path = source.startswith((".", "/")) or source.count("/") > 1 or path.suffix in (".pt", ".pth", ".bin")
    if names_a_path and not path.exists():
        raise UserError(f"there is no file or folder {source}; nonverbal pretrain writes an encoder to RUN/encoder")
    if (path / "state.json").is_file():
        raise UserError(
            f"{source} is a checkpoint that continues its own run; give the run's folder, whose encoder/ is its best"
        )
    if (path / "recipe.yaml").is_file():
        if not (path / "encoder").is_dir():
            raise UserError(f"the run {source} has no encoder/ yet: it is written with the first checkpoint")
        path = path / "encoder"
    if path.is_dir() and not (path / "config.json").is_file():
        # transformers would guess the architecture from the letters of the folder's name.
        raise UserError(f"{path} is neither a run nor a folder in Hugging Face format: it has no config.json")
    return path if path.exists() else None


def _from_transformers(path: Path | None, source: str) -> Checkpoint:
    place = source if path is None else str(path)
    try:
        config = AutoConfig.from_pretrained(place)
        if config.model_type not in _FAMILY:
            raise another(source, f"a {config.model_type!r} model")
        model, info = _FAMILY[config.model_type].from_pretrained(
            place, use_safetensors=True, output_loading_info=True, dtype=torch.float32
        )
    except UserError:
        raise
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise unloadable(source, path, error) from error
    normalise, note = _extractor(path, place, config.feat_extract_norm == "group")
    present = {name: value for name, value in model.state_dict().items() if name not in info["missing_keys"]}
    left = (*info["unexpected_keys"], *(str(key) for key in info["mismatched_keys"]))
    weights = {
        name if config.model_type == "wav2vec2" else f"wav2vec2.{name}": value for name, value in present.items()
    }
    return _checked(source, "transformers", _as_wav2vec2(config), weights, present, left, normalise, note, path)


def _as_wav2vec2(config: Any) -> Wav2Vec2Config:
    """A HuBERT's configuration as that of the wav2vec 2.0 model with the same encoder."""
    if config.model_type == "wav2vec2":
        return config
    known = set(Wav2Vec2Config().to_dict()) - {"model_type", "architectures", "_name_or_path"}
    return Wav2Vec2Config(**{key: value for key, value in config.to_dict().items() if key in known})


def _extractor(path: Path | None, place: str, group_norm: bool) -> tuple[bool, tuple[str, ...]]:
    if path is not None and not (path / "preprocessor_config.json").is_file():
        return not group_norm, (_custom(not group_norm, "there is no preprocessor_config.json"),)
    try:
        return bool(Wav2Vec2FeatureExtractor.from_pretrained(place).do_normalize), ()
    except (OSError, ValueError) as error:
        raise unloadable(place, path, error) from error


def _custom(normalise: bool, why: str) -> str:
    does = "are brought to zero mean and unit variance" if normalise else "are taken as they are"
    return f"waveforms {does}, as is the custom for this layout: {why}"


def _from_file(path: Path, source: str, heads: int | None) -> Checkpoint:
    tree = load_weights_only(path)
    state = tree.get("model", tree) if isinstance(tree, dict) else {}
    tensors = {str(name): value for name, value in _items(state) if isinstance(value, Tensor)}
    found = recognise(tensors)
    if found is None:
        raise another(source, f"weights such as {', '.join(sorted(tensors)[:3]) or 'none at all'}")
    format_, prefix = found
    own, left = _without_prefix(tensors, format_, prefix)
    settings = {key: tree.get(key) for key in ("cfg", "args")} | _config_beside(path, format_)
    pre_norm = find(settings, "layer_norm_first")
    layout = layout_of(own, format_, find(settings, "do_stable_layer_norm") if pre_norm is None else pre_norm)
    weights = renamed(own, format_, "transformers", layout)
    back = set(renamed(weights, "transformers", format_, layout))
    left += [name for name in own if name not in back and name != NO_COUNTERPART]
    heads = find(settings, "encoder_attention_heads") or find(settings, "num_attention_heads") or heads
    config, notes = config_of_weights(source, weights, layout, heads)
    normalise = find(settings, "normalize")
    if normalise is None:
        normalise = not layout.group_norm
        notes += (_custom(normalise, "the file does not say"),)
    return _checked(source, format_, config, weights, own, left, bool(normalise), notes, path)


def _items(state: Any) -> Iterable[tuple[Any, Any]]:
    return state.items() if isinstance(state, Mapping) else ()


def _without_prefix(tensors: Mapping[str, Tensor], format_: Format, prefix: str) -> tuple[dict[str, Tensor], list[str]]:
    """Divide weights into the model's own, without what stands before its names and in float32, and others' names."""
    if format_ != "transformers":
        own = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        left = [name for name in tensors if not name.startswith(prefix)]
    else:
        # The encoder's names have a prefix in a model with a head, and the head's have none.
        own = {
            f"wav2vec2.{name.removeprefix(prefix)}" if name.startswith(prefix) else name: value
            for name, value in tensors.items()
        }
        # As weight norm was called before PyTorch's parametrizations.
        old = {"conv.weight_g": "original0", "conv.weight_v": "original1"}
        for end, new in old.items():
            name = f"wav2vec2.encoder.pos_conv_embed.{end}"
            if name in own:
                own[name.removesuffix(end) + f"conv.parametrizations.weight.{new}"] = own.pop(name)
        left = []
    return {name: value.float() if value.is_floating_point() else value for name, value in own.items()}, left


def _config_beside(path: Path, format_: Format) -> dict[str, Any]:
    """The config.json and preprocessor_config.json beside a ``pytorch_model.bin``."""
    if format_ != "transformers":
        return {}
    settings = {}
    for name, key in (("config.json", "config"), ("preprocessor_config.json", "extractor")):
        file = path.with_name(name)
        if file.is_file():
            settings[key] = json.loads(file.read_text(encoding="utf-8"))
    extractor = settings.get("extractor", {})
    return settings | ({"normalize": extractor["do_normalize"]} if "do_normalize" in extractor else {})


def _checked(
    source: str,
    format_: Format,
    config: Wav2Vec2Config,
    weights: dict[str, Tensor],
    original: dict[str, Tensor],
    left: Iterable[str],
    normalise: bool,
    notes: tuple[str, ...],
    path: Path | None,
) -> Checkpoint:
    """Refuse what is no whole encoder of this family, and leave over what is no whole quantiser."""
    left = sorted(left)
    with torch.device("meta"):
        expected = {name: value.shape for name, value in Wav2Vec2ForPreTraining(config).state_dict().items()}
    strange = [name for name in left if name.startswith(_INSIDE) and not name.startswith("wav2vec2.adapter.")]
    lacking = sorted(name for name in expected.keys() - weights.keys() if not name.startswith(HEAD) and name != MASK)
    if strange or lacking:
        found = [f"{len(strange)} unknown weights ({', '.join(strange[:2])})"] if strange else []
        found += [f"{len(lacking)} missing ones ({', '.join(lacking[:2])})"] if lacking else []
        raise another(source, " and ".join(found))
    head = [name for name in expected if name.startswith(HEAD)]
    if not all(name in weights and weights[name].shape == expected[name] for name in head):
        # A recogniser's or HuBERT's final_proj, say: alone it means nothing here.
        left = [*left, *(name for name in weights if name.startswith(HEAD))]
        weights = {name: value for name, value in weights.items() if not name.startswith(HEAD)}
    wrong = [name for name in weights if name in expected and weights[name].shape != expected[name]]
    if wrong:
        raise another(source, f"{wrong[0]} in shape {tuple(weights[wrong[0]].shape)}, not {tuple(expected[wrong[0]])}")
    kept = {name: value for name, value in weights.items() if name in expected}
    return Checkpoint(source, format_, config, kept, original, tuple(left), normalise, notes, path)


def unloadable(source: str, path: Path | None, error: Exception) -> UserError:
    """Return what to say of a folder, or a name of the Hub, that transformers cannot load."""
    reason = " ".join(str(error).split())[:300]
    hint = ""
    if path is None:
        hint = f"; there is no folder {source} here, so it was taken for a name of the Hugging Face Hub"
    elif isinstance(error, SafetensorError):
        hint = f"; {path / 'model.safetensors'} is cut short or damaged: copy, download or export it again"
    elif (path / "pytorch_model.bin").is_file() and not list(path.glob("*.safetensors")):
        hint = f"; its weights are pickled: nonverbal convert {path / 'pytorch_model.bin'} --to transformers reads them"
    return UserError(f"cannot load the checkpoint {source!r}: {reason}{hint}")
