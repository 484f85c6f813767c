"""WavLM: a transformer over convolutions, with gated relative positions (Chen et al., 2022, section III.B).

transformers computes attention from the weights of its linear layers without calling them, so adapters on them would
have no effect. Here the linear layers are called.

Shapes: N rows, H heads, S frames, M width.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from nonverbal.batch import Batch
from nonverbal.models.functional import in_heads, joined
from nonverbal.models.tuned.waveforms import TunedWaveformEncoder
from nonverbal.models.wav2vec2 import layer_states


class TunedWavLM(TunedWaveformEncoder):
    """A WavLM. As in transformers, its first block is never skipped, because the others use its relative positions."""

    def kept(self, batch: Batch) -> Sequence[bool]:
        """Return for each block whether it runs in the batch's step."""
        return [True, *super().kept(batch)[1:]]

    def _states(self, hidden: Tensor, valid: Tensor | None, batch: Batch) -> Iterator[Tensor]:
        frames = hidden.shape[1]
        bias = _distance_bias(self.model.encoder.layers[0].attention, frames)
        attend = partial(relative_attention, bias=bias, valid=valid, dropped=self.shares().attention)
        recompute = self.settings.gradient_checkpointing
        return layer_states(self.model, hidden, valid, self.kept(batch), self.dropouts, recompute, attend)


def relative_attention(module: Any, hidden: Tensor, bias: Tensor, valid: Tensor | None, dropped: float) -> Tensor:
    """Return the output ``(N, S, M)`` of a WavLM's attention.

    Args:
        module: transformers' ``WavLMAttention``.
        hidden: ``(N, S, M)``.
        bias: ``(H, S, S)`` for each distance, before the gate.
        valid: ``(N, S)`` bool, True for frames that may be attended to; all if None.
        dropped: share of the attention weights that are dropped.
    """
    # (N, S, M) -> (N, H, S, M / H)
    query, key, value = (
        in_heads(projection(hidden), module.num_heads) for projection in (module.q_proj, module.k_proj, module.v_proj)
    )
    scores = _gate(module, in_heads(hidden, module.num_heads)) * bias
    if valid is not None:
        scores = scores.masked_fill(~valid[:, None, None], float("-inf"))
    context = F.scaled_dot_product_attention(query, key, value, scores.to(query.dtype), dropped)
    return cast(Tensor, module.out_proj(joined(context)))


def relative_maps(module: Any, hidden: Tensor, first: Any) -> Tensor:
    """Return the attention weights ``(N, H, S, S)`` of a WavLM's block; rows sum to 1.

    transformers returns the mean over heads in place of each head.

    Args:
        module: transformers' ``WavLMAttention``.
        hidden: ``(N, S, M)``, its input.
        first: the same module of the first block, which holds the positions for all.
    """
    # (N, S, M) -> (N, H, S, M / H)
    query, key = (in_heads(projection(hidden), module.num_heads) for projection in (module.q_proj, module.k_proj))
    gate = _gate(module, in_heads(hidden, module.num_heads))
    scores = query @ key.transpose(-1, -2) * module.scaling + gate * _distance_bias(first, hidden.shape[1])
    return cast(Tensor, scores.softmax(-1))


def _distance_bias(module: Any, frames: int) -> Tensor:
    """Return ``(H, S, S)`` for each distance; transformers' ``compute_bias`` computes it on the host and copies it."""
    place = torch.arange(frames, device=module.rel_attn_embed.weight.device)
    buckets = module._relative_positions_bucket(place[None] - place[:, None])
    return cast(Tensor, module.rel_attn_embed(buckets).permute(2, 0, 1))


def _gate(module: Any, heads: Tensor) -> Tensor:
    """Return the gate of the relative positions of each frame, ``(N, H, S, 1)``, for ``(N, H, S, M / H)``."""
    # (N, H, S, 8) -> (N, H, S, 2)
    gates = module.gru_rel_pos_linear(heads).unflatten(-1, (2, 4)).sum(-1)
    update, reset = torch.sigmoid(gates).chunk(2, -1)
    return cast(Tensor, update * (reset * module.gru_rel_pos_const - 1.0) + 2.0)
