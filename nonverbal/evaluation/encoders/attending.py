"""Which frames attend to which: the self-attention maps of an encoder, one layer at a time.

A layer's map is ``(H, S, S)``: for 30 s at 50 frames per second and 12 heads, 108 MB in float32, and 2.6 GB for all 12
layers of two encoders. So one pass stores the input of each layer's attention, ``(S, M)``, and maps are computed from
it when they are needed.

Shapes: H heads, S frames, M width.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from nonverbal.errors import UserError
from nonverbal.evaluation.encoders.base import FrameEncoder, refuse_short
from nonverbal.evaluation.encoders.models import ModelEncoder

NAMES = ("attention", "self_attn")
"""Names that a block's self-attention has in transformers' encoders."""


class Attending:
    """The maps of an encoder, computed by transformers' plain (``eager``) attention, the only one that returns them."""

    def __init__(self, encoder: FrameEncoder) -> None:
        """Take an encoder, which uses plain attention from then on: its results are the same up to rounding.

        Raises:
            UserError: it has no self-attention.
        """
        modules = _modules(encoder)
        if not isinstance(encoder, ModelEncoder) or not modules:
            raise UserError(
                f"the encoder {encoder.name} has no self-attention; give one of wav2vec 2.0's kind, Whisper or AST"
            )
        encoder.model.set_attn_implementation("eager")
        self.encoder, self.modules = encoder, modules
        self.layers, self.heads = len(modules), _heads(encoder.model.config)

    def maps(self, waveform: np.ndarray) -> Iterator[Any]:
        """Yield each layer's map ``(H, S, S)``, a float32 tensor, whose rows are what frames attend to.

        Rows sum to 1. If a model pads its input, as Whisper does to 30 s, rows and columns are those of the clip's own
        frames, and each row is divided by its sum over these.

        Args:
            waveform: ``(T,)`` float32 in [-1, 1], 16 kHz, at most ``max_seconds`` of the encoder.
        """
        refuse_short(self.encoder.name, len(waveform), self.encoder.shortest)
        for module, (given, named) in zip(self.modules, self._read(waveform), strict=True):
            yield self._own(module, given, named, len(waveform))

    def _read(self, waveform: np.ndarray) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        """Return the inputs of each layer's attention, from one pass."""
        read: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        hooks = [
            module.register_forward_pre_hook(lambda _, given, named: read.append((given, named)), with_kwargs=True)
            for module in self.modules
        ]
        try:
            self.encoder.states(self.encoder.inputs(waveform)[None])
        finally:
            for hook in hooks:
                hook.remove()
        return read

    def _own(self, module: Any, given: tuple[Any, ...], named: dict[str, Any], samples: int) -> Any:
        """Return a layer's map restricted to a clip's own frames."""
        import torch

        with torch.inference_mode():
            whole = self._map(module, given, named)
            own = self.encoder.own_tokens(whole.shape[-1], samples)
            part = whole[:, own][:, :, own]
            return part / part.sum(-1, keepdim=True).clamp_min(torch.finfo(part.dtype).tiny)

    def _map(self, module: Any, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Return the map of all tokens, ``(H, S, S)``."""
        if hasattr(module, "gru_rel_pos_linear"):
            from nonverbal.models.tuned.wavlm import relative_maps

            return relative_maps(module, given[0], self.modules[0])[0]
        return module(*given, **named)[1][0]


def _modules(encoder: FrameEncoder) -> list[Any]:
    """Return the self-attention of each block; empty for an encoder without such blocks."""
    stack = getattr(getattr(encoder, "model", None), "encoder", getattr(encoder, "model", None))
    blocks = getattr(stack, "layers", getattr(stack, "layer", ()))
    found = [_attention(block) for block in blocks]
    return [module for module in found if module is not None]


def _attention(block: Any) -> Any:
    """Return a block's self-attention, without the layers that follow it; None if it has none."""
    module = next((getattr(block, name) for name in NAMES if hasattr(block, name)), None)
    return getattr(module, "attention", module)


def _heads(config: Any) -> int:
    return int(config.encoder_attention_heads if config.model_type == "whisper" else config.num_attention_heads)
