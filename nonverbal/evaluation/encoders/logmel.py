"""Log-mel bands: the baseline that any encoder should beat.

Nothing is learned. 80 bands from 50 to 8000 Hz, windows of 25 ms every 10 ms, as SSAM reads them.
"""

import numpy as np

from nonverbal.evaluation.encoders.base import Kind, Size, refuse_short

BANDS = 80


class LogMel:
    """Natural log of 80 mel bands from 50 to 8000 Hz, windows of 25 ms every 10 ms, as one layer of frames."""

    name = kind = "logmel"
    key = f"logmel-{BANDS}-50-8000-400-160-log(x + eps)-2"
    """The last number is increased when the values change, so that a cache does not mix them."""
    layers, dimensions = 1, BANDS
    shortest = 201
    """The samples that are reflected at the ends must exist."""
    max_seconds = 60.0
    one_frame = False

    def frames(self, waveform: np.ndarray) -> np.ndarray:
        """Return ``(1, S, 80)`` float32 of a waveform ``(T,)``, float32 in [-1, 1], 16 kHz."""
        import torch

        from nonverbal.models.audio_mamba import log_mel

        refuse_short(self.name, len(waveform), self.shortest)
        bands, _ = log_mel(torch.from_numpy(waveform)[None], torch.tensor([len(waveform)]))
        frames: np.ndarray = bands.numpy()
        return frames


KINDS = (
    Kind(
        "logmel",
        "80 log-mel bands",
        lambda _: LogMel(),
        shortest=LogMel.shortest,
        max_seconds=LogMel.max_seconds,
        size=Size(BANDS, 1),
        notes=__doc__,
    ),
)
