"""Audio Mamba: Mamba blocks over patches of a log-mel spectrogram, in consecutive windows of two seconds.

Shapes: N rows, W windows of a row, P patches in time of a window, B patches in frequency (5), M width; a frame is the
B x M values of one time.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nonverbal.batch import Batch
from nonverbal.models import ssam
from nonverbal.models.audio_mamba import BANDS, FRAMES, HOP, N_FFT, PATCH_FRAMES, TIMES
from nonverbal.models.blocks import through
from nonverbal.models.parts import Part, mamba_part
from nonverbal.models.tuned.base import Hidden, TunedEncoder, at_least
from nonverbal.models.wav2vec2 import Counts

NO_KEYS: Mapping[str, str] = {}
"""An Audio Mamba has no dropout."""


class TunedAudioMamba(TunedEncoder):
    """An Audio Mamba. In masked frames, embedded patches are zero, and positions are still added."""

    dropout_keys = NO_KEYS
    adaptable = ("in_proj",)
    unadaptable = ("dt_proj",)

    @property
    def layers(self) -> int:
        """Blocks."""
        return int(self.config.num_hidden_layers)

    @property
    def width(self) -> int:
        """Number of values of a frame."""
        return BANDS * int(self.config.hidden_size)

    @property
    def shortest(self) -> int:
        """Number of samples needed for one frame; shorter clips are padded with their mean."""
        return 1

    def frames(self, lengths: Counts) -> Counts:
        """Return the number of frames of rows of ``lengths`` samples, without padding."""
        spectra = at_least(lengths, N_FFT // 2 + 1) // HOP + 1
        if self.config.padding == "official":
            filled = FRAMES - spectra % FRAMES
            count: Counts = (spectra // FRAMES + 1) * TIMES - TIMES * filled // FRAMES
            return count
        return at_least(spectra // PATCH_FRAMES, 1)

    def forward(self, batch: Batch) -> Hidden:
        """Return all hidden states of a batch."""
        model, longest = self.model, batch.waveforms.shape[1]
        with torch.no_grad():
            cut, held, _ = model.cut(batch.waveforms, batch.lengths, longest)
        frames = self.frames(longest)
        tokens = self._hide(model.patch_embed(cut), batch, frames)
        kept: Sequence[bool] = [True] * self.layers
        residual = model.begun(model.placed(tokens))
        passed = through(model.blocks, _run, residual, kept, self.settings.gradient_checkpointing)
        states = [model.as_frames(state, held)[:, :frames] for state in model.ended(list(passed))]
        return Hidden(states, self.valid(batch, frames))

    def plain_part(self, name: str) -> Part:
        """Return the part of a parameter; the patch embedding counts as ``conv``."""
        return mamba_part(f"audio_mamba.{name}", self.layers)

    def save_reading(self, folder: Path) -> None:
        """Write the feature extractor."""
        ssam.save_extractor(folder)

    def _hide(self, tokens: Tensor, batch: Batch, frames: int) -> Tensor:
        """Mask frames of ``(N x W, P x B, M)``; the masks cover the first ``frames`` of each row."""
        # (N x W, P x B, M) -> (N, W x P, B x M)
        joined = tokens.reshape(len(batch.waveforms), -1, self.width)
        hidden = torch.cat([self.hide(joined[:, :frames], batch), joined[:, frames:]], 1)
        return hidden.reshape(tokens.shape)


def _run(block: Any, residual: Tensor) -> Tensor:
    mixed: Tensor = block(residual)
    return mixed
