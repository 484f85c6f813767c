"""Self-supervised pretraining and honest evaluation for human sounds that are not words."""

from os import PathLike
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # imports take seconds, so they are made only when they are needed
    from nonverbal.evaluation.hearing import ClipEncoder

__version__ = "0.1.0"


def load_encoder(source: str | PathLike[str], seed: int = 0) -> "ClipEncoder":
    """Load an encoder that is called with waveforms and returns embeddings, frames and masks.

    Each clip, of any length, is encoded as if it were alone, whatever the others. A clip that is too long for the
    encoder is divided into equal windows.

    >>> import numpy as np
    >>> import nonverbal
    >>> encoder = nonverbal.load_encoder("logmel")
    >>> heard = encoder([np.zeros(16_000, np.float32), np.zeros(8_000, np.float32)])
    >>> heard.embeddings.shape, heard.frames.shape, heard.masks.sum(1).tolist()
    ((2, 1, 160), (2, 1, 101, 80), [101, 51])

    Args:
        source: a folder or ``ORGANISATION/NAME`` of the Hugging Face Hub, a run, or a name that ``nonverbal encoders``
            lists; with the prefix ``initialised:``, weights are random. Code beside a checkpoint is never run.
        seed: of the weights of ``initialised:``.

    Raises:
        nonverbal.errors.UserError: it cannot be loaded completely, or makes no frames.
    """
    from nonverbal.evaluation.hearing import ClipEncoder

    return ClipEncoder(str(source), seed)
