"""wav2vec 2.0, HuBERT, UniSpeech-SAT and data2vec: convolutions over samples, with this toolkit's own forward pass.

The modules and the names of weights are those of transformers.

Shapes: N rows, T samples, S frames, M width.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from nonverbal.batch import Batch
from nonverbal.models.functional import dropout
from nonverbal.models.parts import Part, encoder_part
from nonverbal.models.tuned.base import Hidden, TunedEncoder
from nonverbal.models.wav2vec2 import (
    Counts,
    conv_features,
    frame_size,
    frames_of,
    is_pre_norm,
    layer_states,
    normalised,
    projected_features,
    save_extractor,
)

DROPOUT_KEYS: Mapping[str, str] = {
    "hidden_dropout": "hidden_dropout",
    "attention_dropout": "attention_dropout",
    "activation_dropout": "activation_dropout",
    "feature_dropout": "feat_proj_dropout",
    "layer_drop": "layerdrop",
}
"""Dropout settings, mapped to the keys of transformers' configurations."""


class TunedWaveformEncoder(TunedEncoder):
    """A transformer over convolutions."""

    dropout_keys = DROPOUT_KEYS
    mask_embedding = "masked_spec_embed"
    adaptable = ("q_proj", "v_proj")

    @property
    def shortest(self) -> int:
        """Number of samples needed for one frame."""
        return frame_size(self.config.conv_kernel, self.config.conv_stride)[0]

    def frames(self, lengths: Counts) -> Counts:
        """Return the number of frames of rows of ``lengths`` samples."""
        return frames_of(lengths, self.config.conv_kernel, self.config.conv_stride)

    def forward(self, batch: Batch) -> Hidden:
        """Return all hidden states of a batch."""
        waveforms = normalised(batch.waveforms, batch.lengths) if self.normalise else batch.waveforms
        with torch.set_grad_enabled(torch.is_grad_enabled() and self._trains_convolutions()):
            conv = conv_features(self.model, waveforms, batch.lengths if batch.padded else None)
        features = projected_features(self.model, conv)
        hidden = dropout(self.model.feature_projection.projection(features), self.shares().features)
        valid = self.valid(batch, hidden.shape[1])
        return Hidden(list(self._states(self.hide(hidden, batch), valid, batch)), valid)

    def plain_part(self, name: str) -> Part:
        """Return the part of a parameter."""
        return encoder_part(name, self.layers, is_pre_norm(self.config))

    def save_reading(self, folder: Path) -> None:
        """Write the feature extractor."""
        save_extractor(self.config, self.normalise, folder)

    def _states(self, hidden: Tensor, valid: Tensor | None, batch: Batch) -> Iterator[Tensor]:
        recompute = self.settings.gradient_checkpointing
        return layer_states(self.model, hidden, valid, self.kept(batch), self.dropouts, recompute)

    def _trains_convolutions(self) -> bool:
        return any(parameter.requires_grad for parameter in self.model.feature_extractor.parameters())
