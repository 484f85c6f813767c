"""Hidden states of several clips in one padded batch, each as if its clip were alone.

Padding changes nothing if (a) a norm over time uses only a row's own steps, (b) no frame attends to frames beyond its
row, and (c) no convolution over frames reads anything but zeros there. transformers ensures (b), and (c) for a single
convolution; the rest is done here.

Shapes: N rows, T samples, S frames, M width.
"""

import contextlib
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from nonverbal.evaluation.encoders.base import Batching
from nonverbal.families.hidden_states import layers_of
from nonverbal.models.convolutions import own_group_norm
from nonverbal.models.wav2vec2 import frames_of

PADDED = ("wav2vec2", "hubert", "wavlm", "unispeech-sat", "data2vec-audio")
"""``model_type`` of transformers' encoders for which ``padded_states`` prevents effects of padding."""


def batching_of(config: Any) -> Batching:
    """Return which waveforms a model with this configuration reads at once without changing their states.

    A released Audio Mamba (``padding: official``) pads clips to the windows of the longest, so its results depend on
    it.
    """
    exact = config.model_type in PADDED or getattr(config, "padding", None) == "masked"
    return "any" if exact else "equal"


def padded_states(model: Any, rows: Sequence[Tensor]) -> list[list[Tensor]]:
    """Return the hidden states of each row, ``(1, S, M)`` for each layer; layer 0 is the first block's input.

    Args:
        model: a model of transformers, in evaluation mode, whose ``batching_of`` is ``any``.
        rows: waveforms ``(T,)`` as the model reads them, of any length.
    """
    lengths = torch.tensor([len(row) for row in rows], device=rows[0].device)
    waveforms = nn.utils.rnn.pad_sequence(list(rows), batch_first=True)
    mask = torch.arange(waveforms.shape[1], device=waveforms.device) < lengths[:, None]
    with torch.inference_mode(), each_row_alone(model, lengths):
        output = model(waveforms, attention_mask=mask.long(), output_hidden_states=True, return_dict=True)
    states = layers_of(output)
    own = getattr(output, "frame_mask", None)
    counts = _frames(model, lengths) if own is None else own.sum(1)
    return [[state[i : i + 1, :count] for state in states] for i, count in enumerate(counts.tolist())]


@contextlib.contextmanager
def each_row_alone(model: Any, lengths: Tensor) -> Iterator[None]:
    """Within the block, let a model like wav2vec 2.0 treat each row of a padded batch as if it were alone.

    Its group norm uses only a row's own steps, and the stacked convolutions of data2vec's positions read zeros beyond
    them.

    Args:
        model: any model; one without such parts is not changed.
        lengths: number of samples of each row, ``(N,)``.
    """
    with contextlib.ExitStack() as stack:
        for norm in _group_norms(model):
            steps = frames_of(lengths, model.config.conv_kernel[:1], model.config.conv_stride[:1])
            norm.forward = partial(own_group_norm, norm, steps=steps.tolist())  # type: ignore[method-assign]
            stack.callback(delattr, norm, "forward")
        positions = getattr(getattr(model, "encoder", None), "pos_conv_embed", None)
        for layer in getattr(positions, "layers", ()):
            stack.callback(layer.register_forward_hook(partial(_zeros_beyond, _frames(model, lengths))).remove)
        yield


def _group_norms(model: Any) -> Iterator[nn.GroupNorm]:
    """Yield the group norms of the convolutions over samples: only the first convolution may have one."""
    for layer in getattr(getattr(model, "feature_extractor", None), "conv_layers", ())[:1]:
        if isinstance(norm := getattr(layer, "layer_norm", None), nn.GroupNorm):
            yield norm


def _frames(model: Any, lengths: Tensor) -> Tensor:
    return frames_of(lengths, model.config.conv_kernel, model.config.conv_stride)


def _zeros_beyond(frames: Tensor, layer: nn.Module, inputs: Any, hidden: Tensor) -> Tensor:
    # (N, M, S)
    own = torch.arange(hidden.shape[2], device=hidden.device) < frames[:, None]
    return hidden * own[:, None]
