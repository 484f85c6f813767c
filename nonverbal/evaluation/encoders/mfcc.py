"""MFCCs with their derivatives: what HuBERT's first units are made of (Hsu et al., 2021).

Nothing is learned. 13 MFCCs of Kaldi and their first and second derivatives, every 20 ms: the frames of an encoder's
convolutions, so that nonverbal cluster takes them too.
"""

import numpy as np

from nonverbal.data.index import SAMPLE_RATE
from nonverbal.evaluation.encoders.base import Kind, Size, refuse_short

WINDOW = 400


class Mfcc:
    """13 MFCCs and their first and second derivatives, every 20 ms: HuBERT's first features (fairseq)."""

    name = kind = "mfcc"
    key = "mfcc-13-deltas"
    layers, dimensions = 1, 39
    shortest = WINDOW
    max_seconds = 60.0
    one_frame = False

    def frames(self, waveform: np.ndarray) -> np.ndarray:
        """Return ``(1, S, 39)`` float32 of a waveform ``(T,)``, float32 in [-1, 1], 16 kHz."""
        import torch
        from torchaudio.compliance.kaldi import mfcc
        from torchaudio.functional import compute_deltas

        refuse_short(self.name, len(waveform), self.shortest)
        # (T,) -> (S, 13) -> (13, S), every 10 ms
        values = mfcc(torch.from_numpy(waveform)[None], sample_frequency=SAMPLE_RATE, use_energy=False).T
        deltas = compute_deltas(values)
        # Every second one covers the 400 samples of an encoder's frame.
        frames: np.ndarray = torch.cat([values, deltas, compute_deltas(deltas)]).T[::2].contiguous()[None].numpy()
        return frames


KINDS = (
    Kind(
        "mfcc",
        "13 MFCCs and their derivatives",
        lambda _: Mfcc(),
        shortest=Mfcc.shortest,
        max_seconds=Mfcc.max_seconds,
        size=Size(39, 1),
        notes=__doc__,
    ),
)
