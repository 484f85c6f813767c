"""Translates fairseq's configuration of a model to transformers' settings."""

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from transformers import Wav2Vec2Config

from nonverbal.errors import UserError
from nonverbal.models.checkpoints.config_keys import FAIRSEQ_ACTIVATIONS, check_fairseq, check_kinds, unknown_to_fairseq
from nonverbal.models.checkpoints.config_keys import FAIRSEQ_ONLY as ONLY
from nonverbal.models.checkpoints.config_keys import FAIRSEQ_USED as USED
from nonverbal.models.checkpoints.pickles import find, subtree

SIZES = {
    "encoder_layers": "num_hidden_layers",
    "encoder_embed_dim": "hidden_size",
    "encoder_ffn_embed_dim": "intermediate_size",
    "encoder_attention_heads": "num_attention_heads",
    "conv_pos": "num_conv_pos_embeddings",
    "conv_pos_groups": "num_conv_pos_embedding_groups",
    "conv_bias": "conv_bias",
    "layer_norm_first": "do_stable_layer_norm",
}
"""fairseq's names of settings, mapped to those of transformers, for settings with the same values."""

EXTRACTOR = {"default": "group", "layer_norm": "layer"}
"""fairseq's names of the norm in the convolutions, mapped to those of transformers."""

MOST_LAYERS = 100
"""Largest number of convolutions for which the text in a file is evaluated."""


@dataclass(frozen=True)
class Settings:
    """Settings in a file for the encoder in it."""

    options: dict[str, Any] = field(default_factory=dict)
    """The corresponding settings of transformers."""
    normalise: bool | None = None
    """Whether waveforms are normalised to zero mean and unit variance; None if the file does not say."""
    there: bool = False
    """Whether the file has any configuration."""
    notes: tuple[str, ...] = ()
    """Notes on settings that are unknown here."""


def settings_of(source: str, tree: Any) -> Settings:
    """Return the settings in the configuration of a file of fairseq (``cfg`` or ``args``).

    Raises:
        UserError: they describe another model.
    """
    whole = {key: tree.get(key) for key in ("cfg", "args")} if isinstance(tree, Mapping) else {}
    # In a recogniser's file, the encoder's configuration is inside that of the whole model.
    own = subtree(whole, "w2v_args") or {}
    found = {key: find(own, key) if find(own, key) is not None else find(whole, key) for key in (*USED, *ONLY)}
    given = {key: value for key, value in found.items() if value is not None}
    check_fairseq(source, given)
    defaults = Wav2Vec2Config().to_dict()
    check_kinds(source, given, {"normalize": False, **{ours: defaults[theirs] for ours, theirs in SIZES.items()}})
    options = {theirs: given[ours] for ours, theirs in SIZES.items() if ours in given}
    if "activation_fn" in given:
        options["hidden_act"] = FAIRSEQ_ACTIVATIONS[given["activation_fn"]]
    if "extractor_mode" in given:
        options["feat_extract_norm"] = EXTRACTOR[given["extractor_mode"]]
    if "conv_feature_layers" in given:
        layers = conv_layers(source, str(given["conv_feature_layers"]))
        options["conv_dim"], options["conv_kernel"], options["conv_stride"] = map(list, zip(*layers, strict=True))
    normalise = given.get("normalize")
    return Settings(
        options, None if normalise is None else bool(normalise), bool(given), _unknown(subtree(own or whole, "model"))
    )


def _unknown(model: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Return a note on settings of a fork of fairseq."""
    if model is None or "extractor_mode" not in model:
        return ()
    strange = unknown_to_fairseq(model)
    return (f"settings that fairseq does not have are ignored: {', '.join(strange)}",) if strange else ()


def conv_layers(source: str, text: str) -> list[tuple[int, int, int]]:
    """Parse convolutions (channels, kernel, stride) in a text such as ``[(512, 10, 5)] + [(512, 3, 2)] * 4``.

    Raises:
        UserError: the text is anything else.
    """
    try:
        layers = _worked_out(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        layers = None
    if not isinstance(layers, list) or not layers or not all(_is_layer(layer) for layer in layers):
        raise UserError(f"{source}: conv_feature_layers is {text[:80]!r}; expected [(channels, kernel, stride), ...]")
    return layers


def _is_layer(layer: Any) -> bool:
    return isinstance(layer, tuple) and len(layer) == 3 and all(type(n) is int and n > 0 for n in layer)


def _worked_out(node: ast.expr) -> Any:
    """Evaluate lists and tuples of numbers with + and *; nothing is called."""
    match node:
        case ast.Constant(value=int()):
            return node.value
        case ast.List():
            return [_worked_out(part) for part in node.elts]
        case ast.Tuple():
            return tuple(_worked_out(part) for part in node.elts)
        case ast.BinOp(op=ast.Add()):
            return _worked_out(node.left) + _worked_out(node.right)
        case ast.BinOp(op=ast.Mult(), right=ast.Constant(value=int(times))) if times <= MOST_LAYERS:
            return _worked_out(node.left) * times
    raise ValueError(ast.dump(node)[:80])
