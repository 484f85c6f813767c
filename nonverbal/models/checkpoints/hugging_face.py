"""Finds and loads encoders in Hugging Face format, folders or Hub ids, with transformers, and reports failures.

Code beside a checkpoint is never run.
"""

import re
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import torch
from huggingface_hub.errors import HFValidationError
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoConfig, AutoModel, PretrainedConfig

from nonverbal.errors import UserError
from nonverbal.models.checkpoints.config_keys import AS_CALLED, ONLY, check_config, check_foreign_code, without_calling
from nonverbal.models.checkpoints.quiet import LOADING_ERRORS
from nonverbal.models.checkpoints.weight_files import ENDINGS

Config = TypeVar("Config", bound=PretrainedConfig)

PART = re.compile(r"\b(layers|blocks|conv_layers)\.\d+\.|(^|\.)(encoder|feature_extractor|feature_projection)\.")
"""Matches the names of an encoder's own weights."""


@dataclass(frozen=True)
class Loaded:
    """A model loaded by transformers, with the problems that it reported."""

    model: Any
    """In float32, unless the weights are quantised."""
    missing: tuple[str, ...]
    """Weights that the source lacks, and transformers drew."""
    unexpected: tuple[str, ...]
    """Weights that the model does not have."""
    mismatched: tuple[str, ...]
    """Weights of another shape, which transformers drew too."""


def place_of(source: str) -> Path | None:
    """Return the file or folder that a source names, or the encoder of a run; None for a Hub id.

    Raises:
        UserError: it does not exist, is a run without an encoder, or a checkpoint from which a run continues.
    """
    path = Path(source)
    if not path.exists() and (source.endswith(ENDINGS) or not _can_be_an_id(source)):
        raise UserError(f"there is no file or folder {source}; nonverbal pretrain writes an encoder to RUN/encoder")
    if ((path.parent if path.is_file() else path) / "state.json").is_file():
        raise UserError(
            f"{source} is a checkpoint from which its run continues; give the run's folder, whose encoder/ is the best"
        )
    if (path / "folds.json").is_file():
        raise UserError(
            f"{path} is a run of nonverbal finetune, which has one encoder per fold; probe finetuned:{path}, under its "
            f"own folds, or give one of its models, such as {path / 'model'}"
        )
    if (path / "recipe.yaml").is_file():
        if not (path / "encoder").is_dir():
            raise UserError(f"the run {source} has no encoder/ yet; it is written with the first checkpoint")
        path = path / "encoder"
    if (path / "adapter_config.json").is_file():
        # Whether transformers uses the adapter depends on whether PEFT is installed.
        raise UserError(f"{path} holds a PEFT adapter; merge it into its model (merge_and_unload), and save the model")
    if path.is_dir() and not (path / "config.json").is_file():
        # transformers would guess the architecture from the name of the folder.
        raise UserError(f"{path} is neither a run nor a folder in Hugging Face format, because it has no config.json")
    return path if path.exists() else None


def _can_be_an_id(source: str) -> bool:
    """Return whether the Hub allows such an id: NAME or OWNER/NAME, of certain characters."""
    client: Any = import_module("huggingface_hub.utils")
    try:
        client.validate_repo_id(source)
    except HFValidationError:
        return False
    return True


COUNTS = {"num_hidden_layers", "encoder_layers", "decoder_layers", "num_adapter_layers"}
MOST_LAYERS = 500
"""A file of a few bytes can name any number of layers, and each is built before its weights are looked for."""


def read_config(source: str, folder: Path | None = None) -> dict[str, Any]:
    """Return the keys of the ``config.json`` in ``folder``, or else of the folder or Hub id ``source``.

    Raises:
        UserError: it cannot be read.
    """
    try:
        given: dict[str, Any] = PretrainedConfig.get_config_dict(str(folder or source))[0]
    except LOADING_ERRORS as error:
        raise unloadable(source, folder, error) from error
    for key in COUNTS & given.keys():
        if isinstance(given[key], int | float) and given[key] > MOST_LAYERS:
            raise UserError(f"the configuration of {source} has {key}: {given[key]!r}, more than any model has")
    return given


def config_from(
    source: str,
    folder: Path | None,
    given: Mapping[str, Any],
    kind: type[Config],
    used: Set[str],
    only: Mapping[str, tuple[Any, ...]] = ONLY,
) -> Config:
    """Build a configuration from the keys of a ``config.json``.

    Args:
        source: as the user gave it.
        folder: in Hugging Face format; None for a Hub id.
        given: result of ``read_config``.
        kind: class of the configuration.
        used: keys whose value is used; it must have the type of the default.
        only: keys with their supported values.

    Raises:
        UserError: a value is not supported here, or has the wrong type.
    """
    check_config(source, given, kind, used, only)
    try:
        config: Config = kind.from_dict(without_calling(given))
    except LOADING_ERRORS as error:
        raise unloadable(source, folder, error) from error
    return config


def load(
    source: str, folder: Path | None = None, kind: Any = AutoModel, config: PretrainedConfig | None = None
) -> Loaded:
    """Load a model from safetensors, with only the code of transformers or of this package.

    Args:
        source: as the user gave it; a Hub id if there is no folder.
        folder: in Hugging Face format.
        kind: class of the model; by default, transformers chooses it by ``config.json``.
        config: replaces ``config.json``, which otherwise must not ask for other files or code.

    Raises:
        UserError: it cannot be loaded.
    """
    options: dict[str, Any] = {"use_safetensors": True, "output_loading_info": True, "dtype": torch.float32}
    if config is None:
        check_foreign_code(source, read_config(source, folder))
        options |= {"trust_remote_code": False, **AS_CALLED}
    else:
        options["config"] = config
    try:
        model, info = kind.from_pretrained(str(folder or source), **options)
    except LOADING_ERRORS as error:
        raise unloadable(source, folder, error) from error
    for tensor in (*model.parameters(), *model.buffers()):
        # On a CPU it is in a memory map of its file, which may be overwritten or truncated while the model is used.
        tensor.data = tensor.data.clone()
    found = (info["missing_keys"], info["unexpected_keys"], (_named(key) for key in info["mismatched_keys"]))
    return Loaded(model, *(tuple(sorted(names)) for names in found))


def load_whole(
    source: str,
    folder: Path | None,
    spare: tuple[str, ...] = (),
    kind: Any = AutoModel,
    config: PretrainedConfig | None = None,
) -> Loaded:
    """Load an encoder as with ``load``, and refuse it if any weight except the mask embedding is missing.

    Weights of other tasks' heads may be left over, but not weights of an encoder.

    Args:
        source: as the user gave it.
        folder: in Hugging Face format.
        spare: prefixes of the names of weights that do not belong to the encoder, and may be missing.
        kind: class of the model.
        config: replaces ``config.json``.

    Raises:
        UserError: it cannot be loaded completely, or has values that are not finite.
    """
    loaded = load(source, folder, kind, config)
    missing = [key for key in loaded.missing if not key.endswith("masked_spec_embed") and not key.startswith(spare)]
    parts = [key for key in loaded.unexpected if PART.search(key)]
    check_whole(source, missing, parts, loaded.mismatched, "the weights of the model that its config.json describes")
    refuse_not_finite(source, loaded.model.state_dict())
    return loaded


def new_model(source: str, folder: Path | None = None) -> Any:
    """Return a model with the configuration of ``source`` and weights drawn by torch's generator.

    Raises:
        UserError: its configuration cannot be read, or asks for other files or code.
    """
    check_foreign_code(source, read_config(source, folder))
    try:
        config = AutoConfig.from_pretrained(str(folder or source), trust_remote_code=False, **AS_CALLED)
        return AutoModel.from_config(config, trust_remote_code=False)
    except LOADING_ERRORS as error:
        raise unloadable(source, folder, error) from error


def _named(mismatched: Any) -> str:
    """Describe a weight of another shape: transformers 4 gives its name, transformers 5 its name and both shapes."""
    return mismatched if isinstance(mismatched, str) else str(mismatched[0])


def unloadable(source: str, folder: Path | None, error: Exception) -> UserError:
    """Return the error for a folder or Hub id that cannot be loaded."""
    reason = " ".join(str(error).split())[:300]
    folder = folder or Path(source)
    if not folder.exists():
        # transformers' message about the Hub is long, and beside the point if a path was mistyped.
        return UserError(
            f"there is no folder {source} here, and as an id on the Hugging Face Hub it cannot be loaded: {reason}; "
            "expected a folder with config.json, model.safetensors and preprocessor_config.json (such as "
            "runs/NAME/encoder), or a Hub id with such files"
        )
    if isinstance(error, SafetensorError):
        hint = f"{folder / 'model.safetensors'} is truncated or damaged; copy, download or export it again"
    elif (pickled := sorted(folder.glob("pytorch_model.bin*"))) and not list(folder.glob("*.safetensors")):
        hint = f"its weights are pickled; nonverbal convert {pickled[0]} --to transformers can read them"
    else:
        hint = "download or export it again"
    return UserError(f"cannot load the checkpoint {source!r}: {reason}; {hint}")


def check_whole(
    source: str, missing: Iterable[str], unknown: Iterable[str], misshapen: Iterable[str], expected: str
) -> None:
    """Refuse weights that are not exactly those of one encoder.

    Args:
        source: of the weights.
        missing: names of the encoder's weights that the source lacks.
        unknown: names that look like an encoder's, but do not belong to this one.
        misshapen: names of weights with another shape or a type other than a number, with that shape or type.
        expected: what the source should be, for the message.

    Raises:
        UserError: there are any; the message names the first of each kind.
    """
    kinds = {
        "missing weights": missing,
        "unknown weights": unknown,
        "weights of another shape or type": misshapen,
    }
    found = [f"{what}: {len(names)} ({', '.join(names[:2])})" for what, those in kinds.items() if (names := [*those])]
    if found:
        raise UserError(
            f"{source} does not hold one complete encoder: {', '.join(found)}; expected {expected}; download or "
            "export it again"
        )


def misshapen(weights: Mapping[str, Tensor], expected: Mapping[str, torch.Size]) -> list[str]:
    """Return the weights whose shape is wrong or whose type is not a number, each with its shape or type."""
    found = []
    for name, value in sorted(weights.items()):
        if value.shape != expected[name]:
            found.append(f"{name} {tuple(value.shape)}, not {tuple(expected[name])}")
        elif not value.is_floating_point():
            found.append(f"{name} in {value.dtype}")
    return found


def refuse_not_finite(source: str, weights: Mapping[str, Tensor]) -> None:
    """Refuse weights with NaN or infinite values."""
    bad = sorted(name for name, value in weights.items() if not torch.isfinite(value).all())
    if bad:
        raise UserError(
            f"{source} has NaN or infinite values in {len(bad)} of {len(weights)} weights: {', '.join(bad)}; use an "
            "earlier checkpoint"
        )
