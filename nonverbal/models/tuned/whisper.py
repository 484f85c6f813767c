"""The encoder of Whisper (Radford et al., 2022): convolutions over a log-mel spectrogram of 30 s.

Shapes: N rows, T samples, S frames, M width.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import WhisperModel

from nonverbal.batch import Batch
from nonverbal.models.functional import dropout
from nonverbal.models.parts import Part
from nonverbal.models.spectrograms import whisper_log_mel
from nonverbal.models.tuned.base import Hidden
from nonverbal.models.tuned.spectral import Maps, TunedSpectralEncoder
from nonverbal.models.wav2vec2 import Counts

FRAME = 320
"""Samples from one frame to the next: two hops of the spectrogram."""

CONVOLUTIONS = ("conv1.", "conv2.")

DROPOUT_KEYS: Mapping[str, str] = {
    "hidden_dropout": "dropout",
    "attention_dropout": "attention_dropout",
    "activation_dropout": "activation_dropout",
    "layer_drop": "encoder_layerdrop",
}
"""Dropout settings, mapped to the keys of the configuration."""


class TunedWhisper(TunedSpectralEncoder):
    """Whisper's encoder. Only the frames of the clip are returned; the decoder is neither used nor saved."""

    dropout_keys = DROPOUT_KEYS
    # Fixed sines and cosines.
    constant = ("embed_positions.",)
    adaptable = ("q_proj", "v_proj")
    shortest = 1

    @property
    def layers(self) -> int:
        """Blocks."""
        return int(self.config.encoder_layers)

    @property
    def width(self) -> int:
        """Number of values of a frame."""
        return int(self.config.d_model)

    @property
    def longest(self) -> float:
        """Length of the window, in seconds."""
        return float(self.extractor.chunk_length)

    def frames(self, lengths: Counts) -> Counts:
        """Return the number of frames that begin within a row."""
        return -(-lengths // FRAME)

    def forward(self, batch: Batch) -> Hidden:
        """Return all hidden states of a batch."""
        self.check_length(batch)
        model, count = self.model, self.frames(batch.waveforms.shape[1])
        bands, samples = self.extractor.feature_size, self.extractor.n_samples
        features = whisper_log_mel(batch.waveforms, batch.lengths, bands, samples)
        hidden = F.gelu(model.conv2(F.gelu(model.conv1(features)))).transpose(1, 2)
        hidden = torch.cat([self.hide(hidden[:, :count], batch), hidden[:, count:]], 1)
        hidden = dropout(hidden + model.embed_positions.weight, self.shares().hidden)
        states = self.run(_maps, model.layers, model.layer_norm, hidden, batch)
        return Hidden([state[:, :count] for state in states], self.valid(batch, count))

    def plain_part(self, name: str) -> Part:
        """Return the part of a parameter."""
        if name.startswith(CONVOLUTIONS):
            return Part("conv", self.layers)
        if found := re.match(r"layers\.(\d+)\.", name):
            return Part("transformer", self.layers - 1 - int(found[1]))
        return Part("transformer", 0 if name.startswith("layer_norm.") else self.layers)

    def save(self, folder: Path, weights: Mapping[str, Tensor]) -> None:
        """Write a ``WhisperModel`` without the weights of its decoder, which transformers draws when it loads it."""
        with torch.device("meta"):
            whole = WhisperModel(self.config)
        plain = {f"encoder.{name}": value for name, value in self.plain(weights).items()}
        whole.save_pretrained(folder, state_dict=plain)
        self.save_reading(folder)

    def save_reading(self, folder: Path) -> None:
        """Write the feature extractor."""
        self.extractor.save_pretrained(folder)


def _maps(block: Any) -> Maps:
    attention = block.self_attn
    return Maps(
        block.self_attn_layer_norm,
        attention.q_proj,
        attention.k_proj,
        attention.v_proj,
        attention.out_proj,
        block.final_layer_norm,
        block.fc1,
        block.activation_fn,
        block.fc2,
        attention.num_heads,
    )
