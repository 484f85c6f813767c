"""Bag of audio words: how often a clip's moments resemble each of 500 moments of the training side, and their changes.

Paper: openXBOW (Schmitt and Schuller, 2017). A frozen encoder cannot compute it: the codebook belongs to the
training side of a fold, since a codebook of all clips is fitted to the test side too. This module computes a clip's
frames: ComParE_2016's 65 low-level descriptors and their deltas (regressions over two frames to either side) every 10
ms. From these, nonverbal probe makes, fold by fold, two codebooks of 500 words, and 500 + 500 counts for each clip.

The spectral variance is in kHz squared, and values beyond the range of 16-bit floats are clipped to it, since frames
are stored in 16 bits. openSMILE is under audEERING's research licence: not for products.
"""

import math

import numpy as np

from nonverbal.evaluation.encoders.base import Kind, Size, refuse_short
from nonverbal.evaluation.encoders.functionals import TERMS, Functionals, Smile, refuse_missing

NAME = "boaw"

DESCRIPTORS = 65
"""Number of low-level descriptors of ComParE_2016; there are as many deltas."""

LARGEST = 65504.0
"""Largest 16-bit float. Only deltas of a pure tone's kurtosis come near it; larger values are the same word."""


class AudioWords:
    """The frames from which bags are made."""

    name = kind = NAME
    layers, dimensions = 1, 2 * DESCRIPTORS
    max_seconds = math.inf
    one_frame = False
    shortest = Functionals.shortest

    def __init__(self) -> None:
        """Start openSMILE.

        Raises:
            UserError: opensmile is not installed.
        """
        refuse_missing(NAME)
        self.smiles = [Smile("ComParE_2016", level) for level in ("LowLevelDescriptors", "LowLevelDescriptors_Deltas")]
        self.key = f"{self.smiles[0].key}-descriptors-and-deltas"
        units = [np.where(["spectralVariance" in name for name in one.names], 1e-6, 1) for one in self.smiles]
        self.units = np.concatenate(units).astype(np.float32)

    def frames(self, waveform: np.ndarray) -> np.ndarray:
        """Return ``(1, S, 130)`` float32 of a waveform ``(T,)``, float32 in [-1, 1], 16 kHz: descriptors, deltas."""
        refuse_short(self.name, len(waveform), self.shortest)
        descriptors, deltas = (smile(waveform) for smile in self.smiles)
        # openSMILE's last deltas lie beyond the last descriptors.
        values = np.concatenate([descriptors, deltas[: len(descriptors)]], axis=1) * self.units
        frames: np.ndarray = values.clip(-LARGEST, LARGEST)[None]
        return frames


KINDS = (
    Kind(
        NAME,
        "bag of audio words over ComParE_2016: 500 of descriptors, 500 of deltas, from each training side",
        lambda _: AudioWords(),
        lambda _: refuse_missing(NAME),
        shortest=Functionals.shortest,
        size=Size(2 * DESCRIPTORS, 1),
        terms=TERMS,
        needs="opensmile",
        notes=__doc__ or "",
    ),
)
