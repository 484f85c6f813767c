"""The architecture of a wav2vec 2.0 model, read off the shapes of its weights."""

from collections.abc import Mapping

from torch import Tensor
from transformers import Wav2Vec2Config

from nonverbal.errors import UserError
from nonverbal.models.names import FIRST, Layout

KERNELS = [10, 3, 3, 3, 3, 2, 2]
"""Of the convolutions. Strides leave no trace in weights, so those of other kernels are not guessed."""


def config_of_weights(
    source: str, weights: Mapping[str, Tensor], layout: Layout, heads: int | None
) -> tuple[Wav2Vec2Config, tuple[str, ...]]:
    """Infer the architecture from shapes. Only the number of heads leaves no trace in them."""
    conv, block = "wav2vec2.feature_extractor.conv_layers", "wav2vec2.encoder.layers"
    try:
        kernels = [weights[f"{conv}.{i}.conv.weight"] for i in range(_count(weights, conv))]
        position = weights["wav2vec2.encoder.pos_conv_embed.conv.parametrizations.weight.original1"]
        ffn = weights[f"{block}.0.feed_forward.intermediate_dense.weight"]
    except KeyError as error:
        raise another(source, f"no {error.args[0]} (by its name in transformers)") from error
    widths = [kernel.shape[2] for kernel in kernels]
    if widths != KERNELS:
        raise another(source, f"convolutions with kernels {widths}")
    width = position.shape[0]
    notes: tuple[str, ...] = ()
    if heads is None:
        if width % 64:
            raise UserError(
                f"{source} does not say how many attention heads it has, and its width, {width}, is not n x 64"
            )
        heads = width // 64
        notes = (f"{heads} attention heads, as {width} / 64: the file does not say",)
    config = Wav2Vec2Config(
        hidden_size=width,
        num_hidden_layers=_count(weights, block),
        num_attention_heads=int(heads),
        intermediate_size=ffn.shape[0],
        conv_dim=[kernel.shape[0] for kernel in kernels],
        conv_bias=f"{conv}.0.conv.bias" in weights,
        feat_extract_norm="group" if layout.group_norm else "layer",
        do_stable_layer_norm=layout.pre_norm,
        num_conv_pos_embeddings=position.shape[2],
        num_conv_pos_embedding_groups=width // position.shape[1],
        **_head(weights),
    )
    return config, notes


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
