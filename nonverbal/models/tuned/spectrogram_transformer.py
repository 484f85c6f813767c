"""AST, the Audio Spectrogram Transformer (Gong et al., 2021): patches of a log-mel spectrogram of 10.24 s.

A frame is the mean over the bands of one time, as in ``nonverbal.evaluation.encoders.spectrogram_transformer``.

Shapes: N rows, T samples, B bands of patches, P times in the window, S times in the clip, M width.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nonverbal.batch import Batch
from nonverbal.models.functional import dropout
from nonverbal.models.parts import Part
from nonverbal.models.spectrograms import HOP, SAMPLE_RATE, WINDOW, ast_log_mel, spectral_frames
from nonverbal.models.tuned.base import Hidden, at_least
from nonverbal.models.tuned.spectral import Maps, TunedSpectralEncoder
from nonverbal.models.wav2vec2 import Counts

FIRST = 2
"""Number of tokens before those of patches: the class token and the distillation token."""

DROPOUT_KEYS: Mapping[str, str] = {
    "hidden_dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
}
"""Dropout settings, mapped to the keys of the configuration."""


class TunedSpectrogramTransformer(TunedSpectralEncoder):
    """An AST. Only the frames of the clip are returned."""

    dropout_keys = DROPOUT_KEYS
    adaptable = ("query", "value")
    shortest = WINDOW

    @property
    def longest(self) -> float:
        """Length of the window, in seconds."""
        return float(self.config.max_length * HOP / SAMPLE_RATE)

    def frames(self, lengths: Counts) -> Counts:
        """Return the number of times whose patches lie within a row, at least one."""
        patches = (spectral_frames(lengths) - self.config.patch_size) // self.config.time_stride + 1
        count: Counts = at_least(patches, 1)
        return count

    def forward(self, batch: Batch) -> Hidden:
        """Return all hidden states of a batch."""
        self.check_length(batch)
        count = self.frames(batch.waveforms.shape[1])
        hidden = self._embedded(ast_log_mel(batch.waveforms, batch.lengths, self.extractor), batch, count)
        states = self.run(_maps, self.model.encoder.layer, self.model.layernorm, hidden, batch)
        # (N, 2 + B x P, M) -> (N, B, P, M) -> (N, P, M) -> (N, S, M)
        own = [self._in_bands(state[:, FIRST:]).mean(1)[:, :count] for state in states]
        return Hidden(own, self.valid(batch, count))

    def plain_part(self, name: str) -> Part:
        """Return the part of a parameter; the patch embedding counts as ``conv``."""
        if name.startswith("embeddings.patch_embeddings."):
            return Part("conv", self.layers)
        if found := re.match(r"encoder\.layer\.(\d+)\.", name):
            return Part("transformer", self.layers - 1 - int(found[1]))
        return Part("transformer", 0 if name.startswith("layernorm.") else self.layers)

    def save_reading(self, folder: Path) -> None:
        """Write the feature extractor."""
        self.extractor.save_pretrained(folder)

    def _in_bands(self, patches: Tensor) -> Tensor:
        """Return ``(N, B x P, M)`` as ``(N, B, P, M)``."""
        config = self.config
        bands = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1
        return patches.view(len(patches), bands, -1, self.width)

    def _embedded(self, features: Tensor, batch: Batch, count: int) -> Tensor:
        """Return embedded patches ``(N, 2 + B x P, M)`` of spectrograms; masks cover the first ``count`` times."""
        module = self.model.embeddings
        patches = self._in_bands(module.patch_embeddings(features))
        patches = torch.cat([self.hide(patches[:, :, :count], batch), patches[:, :, count:]], 2)
        rows = len(patches)
        tokens = (module.cls_token.expand(rows, -1, -1), module.distillation_token.expand(rows, -1, -1))
        hidden = torch.cat([*tokens, patches.flatten(1, 2)], 1) + module.position_embeddings
        return dropout(hidden, self.shares().hidden)


def _maps(block: Any) -> Maps:
    attention = block.attention.attention
    return Maps(
        block.layernorm_before,
        attention.query,
        attention.key,
        attention.value,
        block.attention.output.dense,
        block.layernorm_after,
        block.intermediate.dense,
        block.intermediate.intermediate_act_fn,
        block.output.dense,
        attention.num_attention_heads,
    )
