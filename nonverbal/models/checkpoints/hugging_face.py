"""What is in Hugging Face format, a folder or a name of the Hub: found, loaded by transformers, and refused in one way.

No code that lies beside a checkpoint is ever run.
"""

import re
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoConfig, AutoModel, PretrainedConfig

from nonverbal.errors import UserError
from nonverbal.models.checkpoints.config_keys import AS_CALLED, ONLY, check_config, check_foreign_code, without_calling
from nonverbal.models.checkpoints.quiet import LOADING_ERRORS
from nonverbal.models.checkpoints.weight_files import ENDINGS

Config = TypeVar("Config", bound=PretrainedConfig)

PART = re.compile(r"\b(layers|blocks|conv_layers)\.\d+\.|(^|\.)(encoder|feature_extractor|feature_projection)\.")
"""In the names of an encoder's own weights."""


@dataclass(frozen=True)
class Loaded:
    """A model by transformers, with what it found of its weights."""

    model: Any
    """In float32, where the weights are numbers as they stand."""
    missing: tuple[str, ...]
    """Weights that it drew, for want of them."""
    unexpected: tuple[str, ...]
    """Weights that it has no place for."""
    mismatched: tuple[str, ...]
    """Weights of another shape, which it drew too."""


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
    if (path / "folds.json").is_file():
        raise UserError(
            f"{path} is a run of nonverbal finetune, which has an encoder a fold: probe finetuned:{path}, under its "
            f"own folds, or give one of its models, such as {path / 'model'}"
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


def read_config(source: str, folder: Path | None = None) -> dict[str, Any]:
    """Return the keys of a ``config.json``: in ``folder``, or of the name of the Hub or folder that ``source`` is.

    Raises:
        UserError: it cannot be read.
    """
    try:
        given: dict[str, Any] = PretrainedConfig.get_config_dict(str(folder or source))[0]
    except LOADING_ERRORS as error:
        raise unloadable(source, folder, error) from error
    return given


def config_from(
    source: str,
    folder: Path | None,
    given: Mapping[str, Any],
    kind: type[Config],
    used: Set[str],
    only: Mapping[str, tuple[Any, ...]] = ONLY,
) -> Config:
    """Return the configuration that the keys of a ``config.json`` make.

    Args:
        source: as the user gave it.
        folder: in Hugging Face format, None for a name of the Hub.
        given: what ``read_config`` returned.
        kind: class of the configuration.
        used: keys of which every value is taken that is of the kind of the default.
        only: keys of which the values here are read.

    Raises:
        UserError: a value that is not computed here, or of another kind than its key's.
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
    """Load a model from safetensors, with the code of transformers or of this package alone.

    Args:
        source: as the user gave it; a name of the Hub where there is no folder.
        folder: in Hugging Face format.
        kind: class of the model. transformers chooses it by ``config.json`` where it is not given.
        config: the model's own configuration. Without it, ``config.json`` must not ask for other files or code.

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
        # On a CPU it lies in a memory map of its file, which may be overwritten or truncated while the model is used.
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
    """Load an encoder, as ``load``, of which nothing may be missing but its mask embedding.

    Heads of other tasks are left over rightly; parts of the encoder are not.

    Args:
        source: as the user gave it.
        folder: in Hugging Face format.
        spare: beginnings of the names of weights that are not of the encoder, and may be missing.
        kind: class of the model.
        config: the model's own configuration.

    Raises:
        UserError: it cannot be loaded whole, or has values that are not finite.
    """
    loaded = load(source, folder, kind, config)
    missing = [key for key in loaded.missing if not key.endswith("masked_spec_embed") and not key.startswith(spare)]
    parts = [key for key in loaded.unexpected if PART.search(key)]
    check_whole(source, missing, parts, loaded.mismatched, "the weights of the model that its config.json describes")
    refuse_not_finite(source, loaded.model.state_dict())
    return loaded


def new_model(source: str, folder: Path | None = None) -> Any:
    """Return a model of the configuration of ``source``, with weights drawn by torch's generator.

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
    """A weight of another shape: transformers 4 gives its name, transformers 5 its name and both shapes."""
    return mismatched if isinstance(mismatched, str) else str(mismatched[0])


def unloadable(source: str, folder: Path | None, error: Exception) -> UserError:
    """Return what to say of a folder, or a name of the Hub, that cannot be loaded."""
    reason = " ".join(str(error).split())[:300]
    if folder is None:
        hint = (
            f"there is no folder {source} here, so it was taken for a name of the Hugging Face Hub; expected a folder "
            "with config.json, model.safetensors and preprocessor_config.json (runs/NAME/encoder, say), or a name of "
            "the Hub with such files"
        )
    elif isinstance(error, SafetensorError):
        hint = f"{folder / 'model.safetensors'} is cut short or damaged: copy, download or export it again"
    elif (pickled := sorted(folder.glob("pytorch_model.bin*"))) and not list(folder.glob("*.safetensors")):
        hint = f"its weights are pickled: nonverbal convert {pickled[0]} --to transformers reads them"
    else:
        hint = "download or export it again"
    return UserError(f"cannot load the checkpoint {source!r}: {reason}; {hint}")


def check_whole(
    source: str, missing: Iterable[str], unknown: Iterable[str], misshapen: Iterable[str], expected: str
) -> None:
    """Refuse weights that are not those of one whole encoder.

    Args:
        source: whose they are.
        missing: names that the encoder has, and the source has not.
        unknown: names that belong to an encoder, but not to this one.
        misshapen: names of weights of another shape, or that are not numbers, with what they are.
        expected: what the source should be, for the message.

    Raises:
        UserError: there are some; names the first of each kind.
    """
    kinds = {
        "missing weights": missing,
        "unknown weights": unknown,
        "weights of another shape or type": misshapen,
    }
    found = [f"{what}: {len(names)} ({', '.join(names[:2])})" for what, those in kinds.items() if (names := [*those])]
    if found:
        raise UserError(
            f"{source} does not hold one whole encoder: {', '.join(found)}; expected {expected}; download or "
            "export it again"
        )


def misshapen(weights: Mapping[str, Tensor], expected: Mapping[str, torch.Size]) -> list[str]:
    """Return the weights that are not numbers in the shape that is expected, each with what it is."""
    found = []
    for name, value in sorted(weights.items()):
        if value.shape != expected[name]:
            found.append(f"{name} {tuple(value.shape)}, not {tuple(expected[name])}")
        elif not value.is_floating_point():
            found.append(f"{name} in {value.dtype}")
    return found


def refuse_not_finite(source: str, weights: Mapping[str, Tensor]) -> None:
    """Refuse weights of which values are NaN or infinite."""
    bad = sorted(name for name, value in weights.items() if not torch.isfinite(value).all())
    if bad:
        raise UserError(
            f"{source} has NaN or infinite values in {len(bad)} of {len(weights)} weights: {', '.join(bad)}; take a "
            "checkpoint from before they came about"
        )
