"""wav2vec 2.0 with transformers' modules, state dict and checkpoints, but a forward pass of our own.

Shapes: N rows, T samples, S frames, C channels of the convolutions, M width of the transformer.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    HubertModel,
    PretrainedConfig,
    PreTrainedModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForPreTraining,
    Wav2Vec2Model,
)

from nonverbal.errors import UserError
from nonverbal.models.blocks import through
from nonverbal.models.convolutions import (
    conv1d_group_norm,
    gelu_conv1d,
    plain_conv_features,
    same_conv1d,
    waveform_conv1d,
)
from nonverbal.models.drawn import drawn_from
from nonverbal.models.functional import attention, compute_dtype, dropout, in_heads, joined

Counts = TypeVar("Counts", int, np.ndarray, Tensor)

Encoder: TypeAlias = Wav2Vec2Model | HubertModel
"""Convolutions and transformer, which have the same modules and names in both classes."""

Attend: TypeAlias = Callable[[Any, Tensor], Tensor]
"""Computes the output ``(N, S, M)`` of a block's attention module for its input."""


@dataclass(frozen=True)
class EncoderArchitecture:
    """Shape of an encoder. Defaults: wav2vec 2.0 base (Baevski et al., 2020, section 5.2), the same as HuBERT base."""

    layout: Literal["base", "large"] = "base"
    """base: group norm in the first convolution, LayerNorm after each block. large: LayerNorm in every convolution and
    before each block."""
    hidden_size: int = 768
    """Width of the transformer."""
    layers: int = 12
    """Number of transformer blocks."""
    heads: int = 12
    """Number of attention heads. voc2vec's paper says 8; every released base checkpoint has 12."""
    ffn_size: int = 3072
    """Width of the feed-forward layers."""
    conv_channels: int = 512
    """Channels of each of the seven convolutions (kernels 10, 3, 3, 3, 3, 2, 2, strides 5, 2, 2, 2, 2, 2, 2)."""
    position_kernel: int = 128
    """Kernel width of the positional convolution, in frames."""
    position_groups: int = 16
    """Number of groups of that convolution."""

    def __post_init__(self) -> None:
        """Refuse sizes that are not divisible as required."""
        self._check_divides("hidden_size", "heads")
        self._check_divides("hidden_size", "position_groups")

    def normalises(self, asked: bool | None) -> bool:
        """Whether to normalise waveforms to zero mean and unit variance: ``asked``, or else fairseq's default."""
        return self.layout == "large" if asked is None else asked

    def _check_divides(self, whole: str, part: str) -> None:
        size, parts = getattr(self, whole), getattr(self, part)
        if parts < 1 or size % parts:
            raise UserError(f"architecture.{whole} must be a multiple of {part}, but they are {size} and {parts}")


@dataclass(frozen=True)
class Architecture(EncoderArchitecture):
    """Shape of a wav2vec 2.0. Defaults: base (Baevski et al., 2020, section 5.2)."""

    codebooks: int = 2
    """Number of codebooks of the quantiser."""
    codes: int = 320
    """Number of codes in each codebook."""
    code_size: int = 256
    """Width of a quantised frame, all codebooks together."""
    projection_size: int = 256
    """Width of the vectors by which context and quantised frames are compared."""

    def __post_init__(self) -> None:
        """Refuse sizes that are not divisible as required."""
        super().__post_init__()
        self._check_divides("code_size", "codebooks")


@dataclass(frozen=True)
class EncoderDropouts:
    """Dropout of an encoder in training. Defaults: fairseq's wav2vec 2.0 base and HuBERT base."""

    hidden: float = 0.1
    """Share of the values dropped after attention, after the feed-forward layers, and before the first block."""
    attention: float = 0.1
    """Share of the attention weights dropped."""
    activation: float = 0.0
    """Share of the values dropped inside the feed-forward layers."""
    features: float = 0.1
    """Share of the values of frames dropped before frames are masked."""
    layer: float = 0.05
    """Share of the transformer blocks skipped, drawn once per step."""

    def __post_init__(self) -> None:
        """Refuse shares outside [0, 1)."""
        for name, value in self.__dict__.items():
            if not 0 <= value < 1:
                raise UserError(f"dropouts.{name} must be at least 0 and below 1, but is {value}")


@dataclass(frozen=True)
class Dropouts(EncoderDropouts):
    """Dropout of a wav2vec 2.0 in training. Defaults: fairseq's base."""

    quantiser: float = 0.1
    """Share of the values of frames dropped before frames are quantised."""


NO_DROPOUT = Dropouts(hidden=0, attention=0, features=0, quantiser=0, layer=0)


def new_model(architecture: Architecture, normalise: bool | None, seed: int) -> tuple[Wav2Vec2ForPreTraining, bool]:
    """Return a new model in float32, and whether its waveforms are normalised to zero mean and unit variance.

    Args:
        architecture: its shape.
        normalise: see ``normalises``.
        seed: of the weights.
    """
    with drawn_from(seed):
        model = Wav2Vec2ForPreTraining(config_of(architecture))
    return model, architecture.normalises(normalise)


def export(model: PreTrainedModel, weights: Mapping[str, Tensor], normalise: bool, folder: Path) -> None:
    """Write ``weights``, configuration and feature extractor in Hugging Face format, for ``from_pretrained``."""
    model.save_pretrained(folder, state_dict=dict(weights))
    save_extractor(model.config, normalise, folder)


def save_extractor(config: Any, normalise: bool, folder: Path) -> None:
    """Write the feature extractor for an encoder of this configuration."""
    Wav2Vec2FeatureExtractor(
        feature_size=1,
        sampling_rate=16_000,
        do_normalize=normalise,
        # transformers' group norm includes padding; such models were trained without an attention mask.
        return_attention_mask=getattr(config, "feat_extract_norm", "layer") == "layer",
    ).save_pretrained(folder)


def frames_of(samples: Counts, kernels: Sequence[int], strides: Sequence[int]) -> Counts:
    """Return the number of frames of rows of ``samples`` samples."""
    for kernel, stride in zip(kernels, strides, strict=True):
        samples = (samples - kernel) // stride + 1
    return samples


def frame_size(kernels: Sequence[int], strides: Sequence[int]) -> tuple[int, int]:
    """Return the receptive field of a frame, and the hop from the start of one frame to the next, in samples."""
    window, hop = 1, 1
    for kernel, stride in zip(kernels, strides, strict=True):
        window, hop = window + (kernel - 1) * hop, hop * stride
    return window, hop


def normalised(waveforms: Tensor, lengths: Tensor) -> Tensor:
    """Return ``(N, T)`` with zero mean and unit variance over each row's length, and zeros in the padding.

    As in transformers' ``Wav2Vec2FeatureExtractor.zero_mean_unit_var_norm`` (population variance, + 1e-7).
    """
    valid = torch.arange(waveforms.shape[1], device=waveforms.device) < lengths[:, None]
    counts = lengths[:, None].to(waveforms.dtype)
    mean = (waveforms * valid).sum(1, keepdim=True) / counts
    centred = (waveforms - mean) * valid
    variance = centred.square().sum(1, keepdim=True) / counts
    return centred / torch.sqrt(variance + 1e-7)


def conv_features(encoder: Encoder, waveforms: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Return the output ``(N, S, C)`` of the convolutions for waveforms ``(N, T)``, before its LayerNorm.

    Args:
        encoder: has the convolutions.
        waveforms: ``(N, T)``.
        lengths: ``(N,)`` samples. A group norm uses only these, as if each row were alone; all samples if None.
    """
    layers = encoder.feature_extractor.conv_layers
    config, first = encoder.config, layers[0].conv
    stride, norm = first.stride[0], getattr(layers[0], "layer_norm", None)
    steps = None if lengths is None else frames_of(lengths, config.conv_kernel[:1], config.conv_stride[:1])
    if config.feat_extract_activation != "gelu":
        return plain_conv_features(layers, waveforms, steps)
    waveforms = waveforms.to(compute_dtype(waveforms))
    if isinstance(norm, nn.GroupNorm):
        hidden = conv1d_group_norm(waveforms, first.weight, stride, norm, steps)
    else:
        bias = first.weight.new_zeros(len(first.weight)) if first.bias is None else first.bias
        hidden = layers[0].layer_norm(waveform_conv1d(waveforms, first.weight, bias, stride))
    for layer in layers[1:]:
        hidden = gelu_conv1d(hidden, layer.conv.weight, layer.conv.bias, layer.conv.stride[0])
        if hasattr(layer, "layer_norm"):
            hidden = layer.layer_norm(hidden)
    return F.gelu(hidden)


def projected_features(encoder: Encoder, conv: Tensor) -> Tensor:
    """Return the input of the projection to the transformer's width: ``(N, S, C)``, usually after a LayerNorm."""
    has_norm = getattr(encoder.config, "feat_proj_layer_norm", True)
    return cast(Tensor, encoder.feature_projection.layer_norm(conv)) if has_norm else conv


def transformer(
    model: Encoder, hidden: Tensor, valid: Tensor | None, kept: Sequence[bool], dropouts: EncoderDropouts
) -> Tensor:
    """Return the context ``(N, S, M)``; see ``layer_states``."""
    for state in layer_states(model, hidden, valid, kept, dropouts):  # noqa: B007
        # Keep only the last layer, so that the others are freed.
        pass
    return state


def layer_states(
    model: Encoder,
    hidden: Tensor,
    valid: Tensor | None,
    kept: Sequence[bool],
    dropouts: EncoderDropouts,
    recompute: bool = False,
    attend: Attend | None = None,
) -> Iterator[Tensor]:
    """Yield the input ``(N, S, M)`` of the first block, then the output of each; the last is the context.

    Args:
        model: has the transformer.
        hidden: ``(N, S, M)``, the projected and masked frames.
        valid: ``(N, S)`` bool, False for padding; None without padding.
        kept: for each block, whether it runs or is skipped.
        dropouts: used if the model is in training mode.
        recompute: see ``blocks.through``.
        attend: replaces the attention of a block; takes its module and ``(N, S, M)``.
    """
    encoder, pre_norm = model.encoder, is_pre_norm(model.config)
    dropouts = dropouts if model.training else NO_DROPOUT
    hidden = _own(hidden, valid)
    hidden = hidden + _positions(encoder.pos_conv_embed, hidden, valid)
    if not pre_norm:
        hidden = encoder.layer_norm(hidden)
    hidden = dropout(hidden, dropouts.hidden)
    # (N, S) -> (N, 1, 1, S): every frame attends to the valid ones
    attended = None if valid is None else valid[:, None, None, :]
    attend = attend or partial(_attention, attended=attended, dropouts=dropouts)
    run = partial(_pre_norm if pre_norm else _post_norm, attend=attend, dropouts=dropouts)
    states = through(encoder.layers, run, hidden, kept, recompute)
    yield from islice(states, len(encoder.layers))
    yield cast(Tensor, encoder.layer_norm(next(states)) if pre_norm else next(states))


def is_pre_norm(config: PretrainedConfig) -> bool:
    """Whether LayerNorm comes before the parts of a block and once after all blocks; not the case in data2vec."""
    return bool(getattr(config, "do_stable_layer_norm", False))


def _own(hidden: Tensor, valid: Tensor | None) -> Tensor:
    """Return ``(N, S, M)`` with zeros in the padding."""
    return hidden if valid is None else hidden * valid[..., None]


def _positions(module: Any, hidden: Tensor, valid: Tensor | None) -> Tensor:
    if not hasattr(module, "layers"):
        return _convolved(module, hidden)
    # data2vec's stack of convolutions; each must read zeros in the padding.
    for layer in module.layers:
        hidden = _own(_convolved(layer, hidden), valid)
    return hidden


def _convolved(module: Any, hidden: Tensor) -> Tensor:
    # With padding, a kernel of even width gives one frame too many.
    hidden = same_conv1d(hidden, module.conv)[:, : hidden.shape[1]]
    norm = getattr(module, "layer_norm", None)
    return cast(Tensor, module.activation(hidden if norm is None else norm(hidden)))


def _post_norm(layer: Any, hidden: Tensor, attend: Attend, dropouts: EncoderDropouts) -> Tensor:
    attended = dropout(attend(layer.attention, hidden), dropouts.hidden)
    hidden = layer.layer_norm(hidden + attended)
    return cast(Tensor, layer.final_layer_norm(hidden + _feed_forward(layer.feed_forward, hidden, dropouts)))


def _pre_norm(layer: Any, hidden: Tensor, attend: Attend, dropouts: EncoderDropouts) -> Tensor:
    hidden = hidden + dropout(attend(layer.attention, layer.layer_norm(hidden)), dropouts.hidden)
    return hidden + _feed_forward(layer.feed_forward, layer.final_layer_norm(hidden), dropouts)


def _attention(module: Any, hidden: Tensor, attended: Tensor | None, dropouts: EncoderDropouts) -> Tensor:
    query, key, value = (
        in_heads(projection(hidden), module.num_heads) for projection in (module.q_proj, module.k_proj, module.v_proj)
    )
    context = attention(query, key, value, attended, dropouts.attention)
    return cast(Tensor, module.out_proj(joined(context)))


def _feed_forward(module: Any, hidden: Tensor, dropouts: EncoderDropouts) -> Tensor:
    hidden = dropout(module.intermediate_act_fn(module.intermediate_dense(hidden)), dropouts.activation)
    return dropout(module.output_dense(hidden), dropouts.hidden)


def config_of(shape: Architecture) -> Wav2Vec2Config:
    """Return the configuration of a new model of this shape."""
    return Wav2Vec2Config(
        **encoder_options(shape),
        num_codevector_groups=shape.codebooks,
        num_codevectors_per_group=shape.codes,
        codevector_dim=shape.code_size,
        proj_codevector_dim=shape.projection_size,
    )


def encoder_options(shape: EncoderArchitecture) -> dict[str, Any]:
    """Return the options that transformers' configurations of wav2vec 2.0 and HuBERT share, for this shape."""
    large = shape.layout == "large"
    return {
        "hidden_size": shape.hidden_size,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "intermediate_size": shape.ffn_size,
        "feat_extract_norm": "layer" if large else "group",
        "do_stable_layer_norm": large,
        "conv_bias": large,
        "conv_dim": (shape.conv_channels,) * 7,
        "num_conv_pos_embeddings": shape.position_kernel,
        "num_conv_pos_embedding_groups": shape.position_groups,
    }
