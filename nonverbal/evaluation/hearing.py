"""An encoder for other programs: it turns waveforms into embeddings and frames, each clip as if it were alone.

Shapes: N clips, T samples, S frames of the longest clip, M values per frame.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nonverbal.data.index import SAMPLE_RATE
from nonverbal.errors import UserError
from nonverbal.evaluation.encoders import load_frame_encoder
from nonverbal.evaluation.encoders.base import refuse_short
from nonverbal.evaluation.pieces import embed_clips


class Heard(NamedTuple):
    """The output of an encoder for clips."""

    embeddings: np.ndarray
    """``(N, layers, 2 M)`` float32: each value's mean over a clip's own frames, then its standard deviation. For an
    encoder that makes one frame per clip, ``(N, layers, M)``."""
    frames: np.ndarray
    """``(N, layers, S, M)`` float32, zero beyond a clip's own frames; layer 0 is the input of the first block."""
    masks: np.ndarray
    """``(N, S)`` bool: whether a frame is one of the clip's own."""


class ClipEncoder:
    """A frozen encoder, which is called with waveforms."""

    sample_rate = SAMPLE_RATE
    """Sample rate of the waveforms in Hz."""

    def __init__(self, source: str | Path, seed: int = 0) -> None:
        """Load it; see ``nonverbal.load_encoder``."""
        self.encoder = load_frame_encoder(str(source), seed)
        self.layers, self.dimensions = self.encoder.layers, self.encoder.dimensions
        self.shortest = self.encoder.shortest
        """Smallest number of samples from which it makes a frame."""

    def __call__(self, waveforms: Sequence[Any], batch_seconds: float | None = None) -> Heard:
        """Return embeddings and all frames of clips of any length; see ``Heard``.

        Args:
            waveforms: ``(T,)`` for each clip, arrays or tensors of floating point in [-1, 1], 16 kHz.
            batch_seconds: largest amount of audio in a batch, including padding; 0: one clip at a time. Unset: 160 on a
                GPU, 0 on a CPU. It only affects the rounding of the results.

        Raises:
            UserError: there are no clips, one of them is not a waveform, or one has fewer samples than ``shortest``.
        """
        clips = self._checked(waveforms)
        embeddings, own = embed_clips(self.encoder, clips, batch_seconds, frames=True, half=False)
        counts = np.array([frames.shape[1] for frames in own])
        frames = np.zeros((len(own), self.layers, counts.max(), own[0].shape[2]), dtype=np.float32)
        for place, clip in enumerate(own):
            frames[place, :, : clip.shape[1]] = clip
        return Heard(embeddings, frames, np.arange(counts.max()) < counts[:, None])

    def embed(self, waveforms: Sequence[Any], batch_seconds: float | None = None) -> np.ndarray:
        """Return only the embeddings, the same as from a call, without storing frames."""
        return embed_clips(self.encoder, self._checked(waveforms), batch_seconds)[0]

    def _checked(self, waveforms: Sequence[Any]) -> list[np.ndarray]:
        clips = [_waveform(waveform, place) for place, waveform in enumerate(waveforms)]
        if not clips:
            raise UserError("there are no waveforms; give a list with at least one")
        for clip in clips:
            refuse_short(self.encoder.name, len(clip), self.shortest)
        return clips


def _waveform(given: Any, place: int) -> np.ndarray:
    array = np.asarray(given.detach().cpu() if hasattr(given, "detach") else given)
    if array.ndim != 1 or array.dtype.kind != "f" or not np.isfinite(array).all():
        raise UserError(
            f"waveform {place} has shape {array.shape} and type {array.dtype}, but must have finite floating-point "
            "samples, of shape (samples,): 16 kHz, one channel, between -1 and 1, in a list"
        )
    return array.astype(np.float32, copy=False)
