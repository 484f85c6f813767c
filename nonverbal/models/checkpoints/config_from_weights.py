"""Infers the architecture of a wav2vec 2.0 model from the shapes of its weights."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from transformers import Wav2Vec2Config

from nonverbal.errors import UserError
from nonverbal.models.checkpoints.fairseq_settings import Settings
from nonverbal.models.checkpoints.weight_names import FIRST, Layout

KERNELS = [10, 3, 3, 3, 3, 2, 2]
"""Kernels of the convolutions. Strides cannot be inferred from weights, so other kernels are refused."""

GUESSED = "strides, activations and the place of LayerNorm"
"""Properties that cannot be inferred from weights. Unless a file contains them, they are those of all released models.
"""


def config_of_weights(
    source: str, weights: Mapping[str, Tensor], layout: Layout, heads: int | None, settings: Settings
) -> tuple[Wav2Vec2Config, tuple[str, ...]]:
    """Infer the architecture from shapes and settings. Returns it with notes on what was assumed without either.

    Raises:
        UserError: it is another architecture, settings and shapes contradict each other, or both are insufficient.
    """
    options = _sizes(source, weights, layout)
    for key, value in settings.options.items():
        if key in options and options[key] != value:
            raise another(source, f"{key} {value} in its configuration, and {options[key]} in its weights")
    options |= settings.options
    if "conv_stride" not in options and options["conv_kernel"] != KERNELS:
        raise another(source, f"convolutions with kernels {options['conv_kernel']}")
    silent = "" if settings.there else f"{GUESSED} are assumed to be those of all released models"
    notes = (f"{silent}, because the file does not say",) if silent else ()
    if "num_attention_heads" not in options:
        options["num_attention_heads"] = heads or _heads(source, options["hidden_size"])
        if heads is None:
            found = f"{options['num_attention_heads']} attention heads are assumed ({options['hidden_size']} / 64)"
            notes = (f"{f'{found}, and {silent}' if silent else found}, because the file does not say",)
    return Wav2Vec2Config(**options, **_head(source, weights)), notes


def _heads(source: str, width: int) -> int:
    if width % 64:
        raise UserError(
            f"{source} does not say how many attention heads it has, and its width ({width}) is not a multiple of 64; "
            "use a file with its configuration"
        )
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


def _head(source: str, weights: Mapping[str, Tensor]) -> dict[str, int]:
    if not {"quantizer.codevectors", "project_q.weight"} <= weights.keys():
        return {}
    try:
        _, codes, size = weights["quantizer.codevectors"].shape
        out, total = weights["project_q.weight"].shape
        groups = total // size
        return {
            "num_codevector_groups": groups,
            "num_codevectors_per_group": codes // groups,
            "codevector_dim": total,
            "proj_codevector_dim": out,
        }
    except (ValueError, ZeroDivisionError) as error:
        raise another(source, f"a quantizer of other shapes ({error})") from error


def _count(weights: Mapping[str, Tensor], prefix: str) -> int:
    return len({name.removeprefix(prefix).split(".")[1] for name in weights if name.startswith(f"{prefix}.")})


def another(source: str, found: str) -> UserError:
    """Return an error that says which other architecture a checkpoint has."""
    return UserError(
        f"{source} has another architecture: found {found}; expected an encoder of wav2vec 2.0 or HuBERT, with "
        f"weights such as {FIRST['fairseq']} (fairseq), {FIRST['fairseq2']} (fairseq2) or {FIRST['transformers']}"
    )
