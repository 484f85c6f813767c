"""The names of wav2vec 2.0's weights in fairseq, fairseq2 and transformers, in one table for all directions.

All three store the same tensors in the same shapes.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Format = Literal["fairseq", "fairseq2", "transformers"]


@dataclass(frozen=True)
class Layout:
    """Properties of a model on which the name of a weight may depend."""

    group_norm: bool
    """Group norm in the first convolution, rather than LayerNorm in each."""
    pre_norm: bool
    """LayerNorm before each part of a block, rather than after it."""


@dataclass(frozen=True)
class Row:
    """The name of a weight or module in each format. ``{i}`` is a layer's number; what follows a module is kept."""

    fairseq: str
    fairseq2: str
    transformers: str
    group_norm: bool | None = None
    """Value of the layout's ``group_norm`` for which the row applies; None: both."""
    pre_norm: bool | None = None
    """Value of the layout's ``pre_norm`` for which the row applies; None: both."""

    def fits(self, layout: Layout) -> bool:
        """Whether models of this layout have the row."""
        return self.group_norm in (None, layout.group_norm) and self.pre_norm in (None, layout.pre_norm)


_CONV = "feature_extractor.conv_layers"
_BLOCK, _OUR_BLOCK = "encoder.layers.{i}", "wav2vec2.encoder.layers.{i}"
_POSITION = "wav2vec2.encoder.pos_conv_embed.conv"

TABLE = (
    Row(f"{_CONV}.{{i}}.0", "encoder_frontend.feature_extractor.layers.{i}.conv", f"wav2vec2.{_CONV}.{{i}}.conv"),
    Row(
        f"{_CONV}.{{i}}.2.1",
        "encoder_frontend.feature_extractor.layers.{i}.layer_norm",
        f"wav2vec2.{_CONV}.{{i}}.layer_norm",
        group_norm=False,
    ),
    Row(
        f"{_CONV}.0.2",
        "encoder_frontend.feature_extractor.layers.0.group_norm",
        f"wav2vec2.{_CONV}.0.layer_norm",
        group_norm=True,
    ),
    Row("layer_norm", "encoder_frontend.post_extract_layer_norm", "wav2vec2.feature_projection.layer_norm"),
    Row("post_extract_proj", "encoder_frontend.model_dim_proj", "wav2vec2.feature_projection.projection"),
    Row("mask_emb", "masker.temporal_mask_embed", "wav2vec2.masked_spec_embed"),
    Row(
        "encoder.pos_conv.0.weight_g",
        "encoder_frontend.pos_encoder.conv.weight_g",
        f"{_POSITION}.parametrizations.weight.original0",
    ),
    Row(
        "encoder.pos_conv.0.weight_v",
        "encoder_frontend.pos_encoder.conv.weight_v",
        f"{_POSITION}.parametrizations.weight.original1",
    ),
    Row("encoder.pos_conv.0.bias", "encoder_frontend.pos_encoder.conv.bias", f"{_POSITION}.bias"),
    # In fairseq2 its name depends on where it is applied: before the blocks, or after them.
    Row("encoder.layer_norm", "encoder_frontend.layer_norm", "wav2vec2.encoder.layer_norm", pre_norm=False),
    Row("encoder.layer_norm", "encoder.layer_norm", "wav2vec2.encoder.layer_norm", pre_norm=True),
    Row(f"{_BLOCK}.self_attn.q_proj", f"{_BLOCK}.self_attn.q_proj", f"{_OUR_BLOCK}.attention.q_proj"),
    Row(f"{_BLOCK}.self_attn.k_proj", f"{_BLOCK}.self_attn.k_proj", f"{_OUR_BLOCK}.attention.k_proj"),
    Row(f"{_BLOCK}.self_attn.v_proj", f"{_BLOCK}.self_attn.v_proj", f"{_OUR_BLOCK}.attention.v_proj"),
    Row(f"{_BLOCK}.self_attn.out_proj", f"{_BLOCK}.self_attn.output_proj", f"{_OUR_BLOCK}.attention.out_proj"),
    Row(f"{_BLOCK}.self_attn_layer_norm", f"{_BLOCK}.self_attn_layer_norm", f"{_OUR_BLOCK}.layer_norm"),
    Row(f"{_BLOCK}.fc1", f"{_BLOCK}.ffn.inner_proj", f"{_OUR_BLOCK}.feed_forward.intermediate_dense"),
    Row(f"{_BLOCK}.fc2", f"{_BLOCK}.ffn.output_proj", f"{_OUR_BLOCK}.feed_forward.output_dense"),
    Row(f"{_BLOCK}.final_layer_norm", f"{_BLOCK}.ffn_layer_norm", f"{_OUR_BLOCK}.final_layer_norm"),
    Row("quantizer.vars", "quantizer.entries", "quantizer.codevectors"),
    Row("quantizer.weight_proj", "quantizer.entry_proj", "quantizer.weight_proj"),
    Row("project_q", "final_target_proj", "project_q"),
    Row("final_proj", "final_proj", "project_hid"),
)

FIRST: dict[Format, str] = {
    "fairseq": f"{_CONV}.0.0.weight",
    "fairseq2": "encoder_frontend.feature_extractor.layers.0.conv.weight",
    "transformers": f"{_CONV}.0.conv.weight",
}
"""Name of a weight that every encoder has, by which its format and the prefix of its names are recognised."""

NO_COUNTERPART = "quantizer.num_updates"
"""fairseq2 counts updates in the model, for its Gumbel temperature; the others use the count of the run."""


def encoders(names: Iterable[str]) -> list[tuple[Format, str]]:
    """Return the format of each encoder among the names, and the prefix of its names."""
    return [
        (format_, name.removesuffix(first))
        for name in names
        for format_, first in FIRST.items()
        if name == first or name.endswith(f".{first}")
    ]


def layout_of(names: Iterable[str], source: Format, pre_norm: bool | None) -> Layout:
    """Infer the layout from names without prefix; if they do not show it, from ``pre_norm``, or else by convention."""
    present = set(names)
    group = {
        "fairseq": f"{_CONV}.0.2.weight",
        "fairseq2": "encoder_frontend.feature_extractor.layers.0.group_norm.weight",
    }
    # In transformers both norms have the same name, but a norm that only the first convolution has is a group norm.
    group_norm = (
        group[source] in present if source != "transformers" else f"wav2vec2.{_CONV}.1.layer_norm.weight" not in present
    )
    if source == "fairseq2":
        pre_norm = "encoder.layer_norm.weight" in present
    return Layout(group_norm, not group_norm if pre_norm is None else pre_norm)


def translate(name: str, source: Format, target: Format, layout: Layout) -> str | None:
    """Return a weight's name in another format; None if it is not in the table."""
    for row in TABLE:
        if not row.fits(layout):
            continue
        pattern = re.escape(getattr(row, source)).replace(r"\{i\}", r"(?P<i>\d+)")
        if found := re.fullmatch(rf"{pattern}(?P<rest>|\.weight|\.bias)", name):
            number = found.groupdict().get("i", "")
            return str(getattr(row, target)).replace("{i}", number) + found["rest"]
    return None


def renamed(weights: Mapping[str, Tensor], source: Format, target: Format, layout: Layout) -> dict[str, Tensor]:
    """Return weights by the names of another format; weights unknown there are left out."""
    names = {name: translate(name, source, target, layout) for name in weights}
    return {new: weights[old] for old, new in names.items() if new is not None}
