"""What the objectives of wav2vec 2.0 and HuBERT share: from a batch to the context of its masked frames.

Shapes: N rows, S frames, C convolution channels, M width of the transformer.
"""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from nonverbal.batch import Batch
from nonverbal.models import wav2vec2
from nonverbal.models.blocks import kept_layers
from nonverbal.models.functional import dropout
from nonverbal.models.wav2vec2 import NO_DROPOUT, Encoder, EncoderDropouts


@dataclass(frozen=True)
class Encoded:
    """The output of an encoder for a batch."""

    features: Tensor
    """``(N, S, C)``, the output of the convolutions without masks, after the LayerNorm if there is one."""
    context: Tensor
    """``(N, S, M)``, the output of the transformer for masked frames."""
    penalty: Tensor
    """Scalar: the mean square of the convolutions' output before the LayerNorm, over all frames but padding."""


def encode(
    encoder: Encoder, batch: Batch, normalise: bool, dropouts: EncoderDropouts, conv_gradient_scale: float
) -> Encoded:
    """Run an encoder on a batch whose targets contain the tensors of ``frame_tensors``.

    Args:
        encoder: dropout and layer drop apply in training mode.
        batch: waveforms, lengths and mask.
        normalise: normalise each waveform to zero mean and unit variance first.
        dropouts: shares of dropout.
        conv_gradient_scale: factor on the gradient that reaches the convolutions.
    """
    dropouts = dropouts if encoder.training else NO_DROPOUT
    waveforms = wav2vec2.normalised(batch.waveforms, batch.lengths) if normalise else batch.waveforms
    conv = wav2vec2.conv_features(encoder, waveforms)
    conv = cast(Tensor, _ScaledGradient.apply(conv, conv_gradient_scale))  # type: ignore[no-untyped-call]
    penalty = _own_frames(conv.float().square().mean(-1), batch).mean()
    features = wav2vec2.projected_features(encoder, conv)
    hidden = dropout(encoder.feature_projection.projection(features), dropouts.features)
    mask = batch.targets.tensors["mask"]
    hidden = torch.where(mask[..., None], encoder.masked_spec_embed.to(hidden.dtype), hidden)
    kept = kept_layers(batch, encoder.config.num_hidden_layers, dropouts.layer)
    context = wav2vec2.transformer(encoder, hidden, _valid(encoder, batch, conv.shape[1]), kept, dropouts)
    return Encoded(features, context, penalty)


def masked_frames(frames: Tensor, batch: Batch) -> Tensor:
    """Return the masked frames ``(N x K, ...)`` of the frames ``(N, S, ...)`` of a batch, in the order of rows."""
    # (N, S, ...) -> (N x S, ...) -> (N x K, ...)
    return frames.flatten(0, 1).index_select(0, batch.targets.tensors["masked"])


def _own_frames(values: Tensor, batch: Batch) -> Tensor:
    """Return the values of ``(N, S)`` for all frames but padding."""
    # A row may be shorter by less than one frame.
    own = batch.targets.tensors.get("own")
    return values if own is None else values.flatten().index_select(0, own)


def _valid(encoder: Encoder, batch: Batch, longest: int) -> Tensor | None:
    """Return ``(N, S)`` bool, False for padding; None without padding."""
    if not batch.padded:
        return None
    frames = wav2vec2.frames_of(batch.lengths, encoder.config.conv_kernel, encoder.config.conv_stride)
    return torch.arange(longest, device=frames.device) < frames[:, None]


class _ScaledGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, scale):  # type: ignore[no-untyped-def]
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        return gradient * ctx.scale, None
