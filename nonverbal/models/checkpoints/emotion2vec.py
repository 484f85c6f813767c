"""emotion2vec as FunASR distributes it, a folder with ``config.yaml`` and a pickle, computed by FunASR's own class.

FunASR itself would run code from the folder: it unpickles the weights, and evaluates the text of the convolutions as
Python. Here weights are read without running anything, only a fixed list of keys is used from the plain YAML of the
configuration, and FunASR's class gets values that were built here.

Shapes: N clips, T samples, S frames, M width.
"""

import contextlib
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig

from nonverbal.errors import UserError
from nonverbal.models.checkpoints.fairseq_settings import conv_layers
from nonverbal.models.checkpoints.hugging_face import check_whole, misshapen, refuse_not_finite
from nonverbal.models.checkpoints.weight_files import hold
from nonverbal.recipes import yaml_of

CONFIG = "config.yaml"

MODEL: dict[str, type] = {
    **dict.fromkeys(("depth", "embed_dim", "num_heads"), int),
    **dict.fromkeys(("norm_eps", "mlp_ratio"), float),
    **dict.fromkeys(("norm_affine", "layer_norm_first", "end_of_block_targets", "normalize"), bool),
}
"""Keys of ``model_conf`` that affect frames, and the types of their values."""

AUDIO: dict[str, type] = {
    **dict.fromkeys(("prenet_depth", "num_extra_tokens", "num_alibi_heads", "model_depth"), int),
    **dict.fromkeys(("conv_pos_width", "conv_pos_groups", "conv_pos_depth"), int),
    **dict.fromkeys(("extractor_mode", "feature_encoder_spec"), str),
    "alibi_scale": float,
    **dict.fromkeys(("use_alibi_encoder", "learned_alibi", "learned_alibi_scale", "conv_pos_pre_ln"), bool),
    **dict.fromkeys(("learned_alibi_scale_per_head", "learned_alibi_scale_per_layer"), bool),
}
"""Keys of its ``modalities.audio`` that affect frames, and the types of their values."""

OF_TRAINING: dict[str, Any] = {
    **dict.fromkeys(("encoder_dropout", "attention_dropout", "activation_dropout", "post_mlp_drop"), 0.0),
    **dict.fromkeys(("dropout_input", "layerdrop", "start_drop_path_rate", "end_drop_path_rate"), 0.0),
}
OF_AUDIOS_TRAINING: dict[str, Any] = {
    **dict.fromkeys(("prenet_layerdrop", "prenet_dropout", "start_drop_path_rate", "end_drop_path_rate"), 0.0),
    **{"local_grad_mult": 1.0, "init_extra_token_zero": True, "decoder": None},
}
"""Other keys that FunASR's class requires, but a frozen encoder does not use."""

EXTRACTORS = ("default", "layer_norm")
"""Norms of the convolutions: a group norm after the first, or layer norms after all."""

LARGEST = 100_000
"""Largest accepted size in a configuration; no emotion2vec has a larger one."""

FIRST = "modality_encoders.AUDIO.local_encoder.conv_layers.0.0.weight"
SPARE = "modality_encoders.AUDIO.decoder."
PARTS = ("modality_encoders.", "blocks.", "norm.")
"""Prefixes of the encoder's names of weights; those of ``SPARE`` belong to pretraining."""


class Emotion2vecConfig(PretrainedConfig):  # type: ignore[misc]
    """The content of ``config.yaml`` as the argument ``model_conf`` of FunASR's class."""

    model_type = "emotion2vec"

    def __init__(self, model_conf: dict[str, Any] | None = None, **more: Any) -> None:
        super().__init__(**more)
        self.model_conf = model_conf or {}

    @property
    def num_hidden_layers(self) -> int:
        """Number of transformer blocks: FunASR's ``prenet_depth`` plus ``depth``."""
        return int(self.model_conf["modalities"]["audio"]["prenet_depth"] + self.model_conf["depth"])


class Emotion2vec(nn.Module):
    """FunASR's module, with the hidden states of all its blocks."""

    def __init__(self, config: Emotion2vecConfig) -> None:
        """Build it with random weights.

        Raises:
            UserError: FunASR cannot build a model from the configuration.
        """
        super().__init__()
        self.config = config
        try:
            self.inner = _class()(model_conf=config.model_conf, vocab_size=-1)
        except (
            ArithmeticError,
            AttributeError,
            KeyError,
            RuntimeError,
            TypeError,
            ValueError,
            AssertionError,
        ) as error:
            raise UserError(f"FunASR cannot build a model from this {CONFIG}: {error}; download it again") from error

    def forward(self, waveforms: Tensor) -> list[Tensor]:
        """Return hidden states ``(N, S, M)`` for ``(N, T)``: the input of the first block, then the output of each."""
        audio = self.inner.modality_encoders["AUDIO"]
        blocks = [*audio.context_encoder.blocks, *self.inner.blocks]
        states: list[Tensor] = []
        with contextlib.ExitStack() as hooks:
            first = blocks[0].register_forward_pre_hook(lambda _, given: states.append(given[0]))
            hooks.callback(first.remove)
            for block in blocks:
                hooks.callback(block.register_forward_hook(lambda _, given, found: states.append(found[0])).remove)
            last = self.inner.extract_features(waveforms)["x"]
        extra = audio.modality_cfg.num_extra_tokens
        return [*(state[:, extra:] for state in states[:-1]), last]


def is_emotion2vec(folder: Path) -> bool:
    """Whether a folder has FunASR's layout, for any of its models."""
    return (folder / CONFIG).is_file() and not (folder / "config.json").exists()


def read_settings(folder: Path) -> Emotion2vecConfig:
    """Return the settings in a folder's ``config.yaml``.

    Raises:
        UserError: it cannot be read, belongs to another model, or has a value that is not supported here.
    """
    path = folder / CONFIG
    try:
        given = yaml_of(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({' '.join(str(error).split())[:160]}); download it again") from error
    if not isinstance(given, Mapping) or given.get("model") != "Emotion2vec":
        raise UserError(f"{path} is not the configuration of an emotion2vec: expected model: Emotion2vec")
    model = _taken(path, given, "model_conf", MODEL)
    audio = _taken(path, given["model_conf"].get("modalities"), "audio", AUDIO)
    if audio["learned_alibi"]:
        raise UserError(f"{path}: learned_alibi is true, which FunASR does not support; give another encoder")
    if audio["extractor_mode"] not in EXTRACTORS:
        raise UserError(
            f"{path}: extractor_mode is {audio['extractor_mode'][:60]!r}; expected {' or '.join(EXTRACTORS)}"
        )
    # FunASR passes the text to eval. So it is parsed here without running it, and written anew in one spelling.
    audio["feature_encoder_spec"] = str(conv_layers(str(path), audio["feature_encoder_spec"]))
    return Emotion2vecConfig({**model, **OF_TRAINING, "modalities": {"audio": {**audio, **OF_AUDIOS_TRAINING}}})


def read_emotion2vec(folder: Path) -> Emotion2vec:
    """Load a folder's model, with all its weights.

    Raises:
        UserError: FunASR is not installed, or the folder does not hold a complete model.
    """
    model = Emotion2vec(read_settings(folder))
    path = _file(folder)
    held = hold(path, _beginnings)
    if held.encoder is None:
        raise UserError(f"{path} holds no emotion2vec: expected weights named {FIRST}; download it again")
    given = {name.removeprefix(held.encoder): value for name, value in held.weights.items()}
    weights = {name: value for name, value in given.items() if name.startswith(PARTS) and not name.startswith(SPARE)}
    expected = {name: value.shape for name, value in model.inner.state_dict().items()}
    missing, unknown = sorted(expected.keys() - weights.keys()), sorted(weights.keys() - expected.keys())
    strange = misshapen({name: weights[name] for name in weights.keys() & expected.keys()}, expected)
    check_whole(str(path), missing, unknown, strange, f"the model that {CONFIG} describes")
    refuse_not_finite(str(path), weights)
    model.inner.load_state_dict(weights)
    return model


def new_emotion2vec(folder: Path, seed: int) -> Emotion2vec:
    """Return a model of a folder's configuration with random weights, drawn as in FunASR.

    Raises:
        UserError: FunASR is not installed, or the configuration cannot be read.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Emotion2vec(read_settings(folder))


def _class() -> Any:
    # The package imports all of its models, and prints for each what else it would need.
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        from funasr.models.emotion2vec.model import Emotion2vec

    return Emotion2vec


def _taken(path: Path, above: Any, name: str, kinds: Mapping[str, type]) -> dict[str, Any]:
    """Return the keys of a group that are used, each with a value of its type."""
    group = above.get(name) if isinstance(above, Mapping) else None
    if not isinstance(group, Mapping):
        raise UserError(f"{path} has no group {name}; download it again")
    taken = {}
    for key, kind in kinds.items():
        value = group.get(key)
        # YAML reads 1e-05 as text.
        taken[key] = _number(value) if kind is float else value
        sized = kind is not int or (type(value) is int and 0 <= value <= LARGEST)
        if type(taken[key]) is not kind or not sized:
            raise UserError(f"{path}: {name}.{key} is {str(value)[:60]!r}; expected {kind.__name__}; download it again")
    return taken


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _file(folder: Path) -> Path:
    """Return the file of weights: ``model.pt``, or the only ``.pt``."""
    found = sorted(folder.glob("*.pt"))
    named = [path for path in found if path.name == "model.pt"] or found
    if len(named) != 1:
        raise UserError(
            f"{folder} holds {len(found)} files of weights (*.pt); expected model.pt, or one file; download it again"
        )
    return named[0]


def _beginnings(names: Iterable[str]) -> list[str]:
    return [name.removesuffix(FIRST) for name in names if name.endswith(FIRST)]
