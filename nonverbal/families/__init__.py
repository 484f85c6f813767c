"""The families: what can be pretrained, and how checkpoints of each are recognised, read, run and written.

Whoever adds one adds a file here and a line to ``FAMILIES`` (docs/add-a-family.md).
"""

from pathlib import Path

from nonverbal.families import hubert, ssam, wav2vec2
from nonverbal.families.base import Encoders, Family
from nonverbal.models.checkpoints.base import Checkpoint
from nonverbal.models.checkpoints.hugging_face import place_of, read_config
from nonverbal.models.checkpoints.quiet import quiet
from nonverbal.models.checkpoints.weight_files import holds_any

FAMILIES: dict[str, Family] = {family.name: family for family in (wav2vec2.FAMILY, hubert.FAMILY, ssam.FAMILY)}
"""By their names in recipes."""


def kinds() -> list[Encoders]:
    """Return the kinds of encoders, each once: families may share one."""
    found: list[Encoders] = []
    for family in FAMILIES.values():
        if not any(family.encoders is kind for kind in found):
            found.append(family.encoders)
    return found


def formats() -> list[str]:
    """Return the formats in which some kind of checkpoint is written, by the names that ``nonverbal convert`` takes."""
    return list(dict.fromkeys(["transformers", *(name for kind in kinds() for name in kind.formats)]))


def kind_of(checkpoint: Checkpoint) -> Encoders:
    """Return the kind of encoder that a checkpoint is of."""
    kind = _by_model_type(checkpoint.config.model_type)
    assert kind is not None, checkpoint.config.model_type
    return kind


def recognised(source: str) -> Encoders:
    """Return the kind of encoder that a source is of: by a file's names of weights, else by its ``config.json``.

    What nobody recognises is left to the first family, wav2vec 2.0, whose reader says what it found.

    Raises:
        UserError: nothing is there, or its configuration cannot be read.
    """
    path = place_of(source)
    if path is not None and path.is_file():
        found = _by_names(path)
    else:
        with quiet():
            found = _by_model_type(str(read_config(source, path).get("model_type")))
    return found or kinds()[0]


def read_any(source: str, heads: int | None = None) -> Checkpoint:
    """Read a checkpoint of whatever family.

    Args:
        source: a folder or Hub id in Hugging Face format, a run, or a file of PyTorch.
        heads: number of attention heads, where the file does not say it.

    Raises:
        UserError: it cannot be read, holds what could run something, or is of another architecture.
    """
    return recognised(source).read(source, heads)


def _by_model_type(model_type: str) -> Encoders | None:
    return next((kind for kind in kinds() if model_type in kind.model_types), None)


def _by_names(path: Path) -> Encoders | None:
    """Look for names of weights, which stand in files of every format as they are."""
    return next((kind for kind in kinds() if holds_any(path, kind.weight_names)), None)
