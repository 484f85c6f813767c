"""The architecture of a wav2vec 2.0 model, read off the shapes of its weights."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from transformers import Wav2Vec2Config

from nonverbal.errors import UserError
from nonverbal.models.checkpoints.fairseq_settings import Settings
from nonverbal.models.checkpoints.weight_names import FIRST, Layout

KERNELS = [10, 3, 3, 3, 3, 2, 2]
"""Of the convolutions. Strides leave no trace in weights, so those of other kernels are not guessed."""

GUESSED = "strides, activations and the place of LayerNorm"
"""What leaves no trace in weights, and is as in every released model where nothing says it."""


def config_of_weights(
    source: str, weights: Mapping[str, Tensor], layout: Layout, heads: int | None, settings: Settings
) -> tuple[Wav2Vec2Config, tuple[str, ...]]:
    """Infer the architecture from shapes, and the rest from settings. Returns it with what was inferred from neither.

    Raises:
        UserError: it is another, settings and shapes contradict each other, or neither tells.
    """
    options = _sizes(source, weights, layout)
    for key, value in settings.options.items():
        if key in options and options[key] != value:
            raise another(source, f"{key} {value} in its configuration, and {options[key]} in its weights")
    options |= settings.options
    if "conv_stride" not in options and options["conv_kernel"] != KERNELS:
        raise another(source, f"convolutions with kernels {options['conv_kernel']}")
    silent = "" if settings.there else f"{GUESSED} are taken to be as in every released model"
    notes = (f"{silent}: the file does not say",) if silent else ()
    if "num_attention_heads" not in options:
        options["num_attention_heads"] = heads or _heads(source, options["hidden_size"])
        if heads is None:
            found = f"{options['num_attention_heads']} attention heads, as {options['hidden_size']} / 64"
            notes = (f"{found}: the file does not say{f'; {silent} too' if silent else ''}",)
    return Wav2Vec2Config(**options, **_head(weights)), notes


def _heads(source: str, width: int) -> int:
    if width % 64:
        raise UserError(f"{source} does not say how many attention heads it has, and its width, {width}, is not n x 64")
    return width // 64


def _sizes(source: str, weights: Mapping[str, Tensor], layout: Layout) -> dict[str, Any]:
    conv, block = "wav2vec2.feature_extractor.conv_layers", "wav2vec2.encoder.layers"
    try:
        kernels = [weights[f"{conv}.{i}.conv.weight"] for i in range(_count(weights, conv))]
        width, grouped, seen = weights["wav2vec2.encoder.pos_conv_embed.conv.parametrizations.weight.original1"].shape
        return {
            "hidden_size": width,
            "num_hidden_layers": _count(weights, block),
            "intermediate_size": weights[f"{block}.0.feed_forward.intermediate_dense.weight"].shape[0],
            "conv_dim": [kernel.shape[0] for kernel in kernels],
            "conv_kernel": [kernel.shape[2] for kernel in kernels],
            "conv_bias": f"{conv}.0.conv.bias" in weights,
            "feat_extract_norm": "group" if layout.group_norm else "layer",
            "do_stable_layer_norm": layout.pre_norm,
            "num_conv_pos_embeddings": seen,
            "num_conv_pos_embedding_groups": width // grouped,
        }
    except KeyError as error:
        raise another(source, f"no {error.args[0]} (by its name in transformers)") from error
    except (ValueError, IndexError, ZeroDivisionError) as error:
        raise another(source, f"convolutions or layers of other shapes ({error})") from error


def _head(weights: Mapping[str, Tensor]) -> dict[str, int]:
    if not {"quantizer.codevectors", "project_q.weight"} <= weights.keys():
        return {}
    _, codes, size = weights["quantizer.codevectors"].shape
    out, total = weights["project_q.weight"].shape
    groups = total // size
    return {
        "num_codevector_groups": groups,
        "num_codevectors_per_group": codes // groups,
        "codevector_dim": total,
        "proj_codevector_dim": out,
    }


def _count(weights: Mapping[str, Tensor], prefix: str) -> int:
    return len({name.removeprefix(prefix).split(".")[1] for name in weights if name.startswith(f"{prefix}.")})


def another(source: str, found: str) -> UserError:
    """Return the error that a checkpoint is of another architecture, and of what."""
    return UserError(
        f"{source} is of another architecture: found {found}; expected an encoder of wav2vec 2.0 or HuBERT, with "
        f"weights such as {FIRST['fairseq']} (fairseq), {FIRST['fairseq2']} (fairseq2) or {FIRST['transformers']}"
    )
