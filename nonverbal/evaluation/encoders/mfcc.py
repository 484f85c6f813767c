"""MFCCs with their derivatives, from which HuBERT's first units are made (Hsu et al., 2021).

Nothing is learned. 13 MFCCs of Kaldi and their first and second derivatives, every 20 ms, like the frames of
an encoder's convolutions, so that nonverbal cluster can use them too.
"""

import numpy as np

from nonverbal.evaluation.encoders.base import Kind, Size, refuse_short

WINDOW = 400
CEPSTRA, BANDS, LIFTER = 13, 23, 22
"""Kaldi's numbers of coefficients and mel bands, and the quefrency at which its lifter is largest."""


class Mfcc:
    """13 MFCCs and their first and second derivatives, every 20 ms: HuBERT's first features (fairseq)."""

    name = kind = "mfcc"
    key = "mfcc-13-deltas-2"
    """The last number is increased when the values change, so that a cache does not mix them."""
    layers, dimensions = 1, 39
    shortest = WINDOW
    max_seconds = 60.0
    one_frame = False

    def frames(self, waveform: np.ndarray) -> np.ndarray:
        """Return ``(1, S, 39)`` float32 of a waveform ``(T,)``, float32 in [-1, 1], 16 kHz."""
        import torch
        from scipy.fft import dct

        from nonverbal.models.spectrograms import kaldi_fbank

        refuse_short(self.name, len(waveform), self.shortest)
        # (T,) -> (S, 23) -> (S, 13), every 10 ms
        bands = kaldi_fbank(torch.from_numpy(waveform)[None], BANDS, exponent=0.85)[0].numpy()
        lifter = 1 + LIFTER / 2 * np.sin(np.pi * np.arange(CEPSTRA) / LIFTER)
        values = dct(bands, norm="ortho")[:, :CEPSTRA] * lifter
        deltas = derivative(values)
        # Every second frame covers the 400 samples of an encoder's frame.
        every = np.concatenate([values, deltas, derivative(deltas)], 1)[None, ::2]
        return np.ascontiguousarray(every, dtype=np.float32)


def derivative(values: np.ndarray) -> np.ndarray:
    """Return the slopes, by frame, of regressions over two frames on either side, ``(S, D)``; the ends are repeated."""
    from scipy.ndimage import correlate1d

    weights = np.array([-2, -1, 0, 1, 2]) / 10
    slopes: np.ndarray = correlate1d(values, weights, axis=0, mode="nearest")
    return slopes


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
