"""Checkpoints of every family, recognised by what they hold."""

from nonverbal.models import ssam
from nonverbal.models.checkpoints import reading as checkpoints

AnyCheckpoint = checkpoints.Checkpoint | ssam.Checkpoint


def read_any(source: str, heads: int | None = None) -> AnyCheckpoint:
    """Read a wav2vec 2.0, a HuBERT or an Audio Mamba.

    Args:
        source: a folder or Hub id in Hugging Face format, a run, or a file of PyTorch.
        heads: number of attention heads of a wav2vec 2.0 whose file does not say it.

    Raises:
        UserError: it cannot be read, holds what could run something, or is of another architecture.
    """
    if ssam.is_audio_mamba(source):
        return ssam.read_checkpoint(source)
    return checkpoints.read_checkpoint(source, heads)
