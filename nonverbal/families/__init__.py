"""The families: encoders that can be pretrained, and how checkpoints of each are recognised, read, run and written.

To add a family, add a file here and a line to ``FAMILIES`` (docs/add-a-family.md).
"""

from pathlib import Path

from nonverbal.families import hubert, ssam, wav2vec2
from nonverbal.families.base import Encoders, Family
from nonverbal.models.checkpoints.base import Checkpoint
from nonverbal.models.checkpoints.hugging_face import place_of, read_config
from nonverbal.models.checkpoints.quiet import quiet
from nonverbal.models.checkpoints.weight_files import holds_any

FAMILIES: dict[str, Family] = {family.name: family for family in (wav2vec2.FAMILY, hubert.FAMILY, ssam.FAMILY)}
"""The families by their names in recipes."""


def kinds() -> list[Encoders]:
    """Return the kinds of encoders, each once, because families may share one."""
    found: list[Encoders] = []
    for family in FAMILIES.values():
        if not any(family.encoders is kind for kind in found):
            found.append(family.encoders)
    return found


def formats() -> list[str]:
    """Return the names of all formats in which checkpoints can be written, as ``nonverbal convert`` takes them."""
    return list(dict.fromkeys(["transformers", *(name for kind in kinds() for name in kind.formats)]))


def kind_of(checkpoint: Checkpoint) -> Encoders:
    """Return the kind of encoder of a checkpoint."""
    kind = _by_model_type(checkpoint.config.model_type)
    assert kind is not None, checkpoint.config.model_type
    return kind


def recognised(source: str) -> Encoders:
    """Return the kind of encoder of a source, by the names of weights in a file, or else by ``config.json``.

    If no family recognises the source, this is the first, wav2vec 2.0, whose reader then reports what it found.

    Raises:
        UserError: the source does not exist, or its configuration cannot be read.
    """
    path = place_of(source)
    if path is not None and path.is_file():
        found = _by_names(path)
    else:
        with quiet():
            found = _by_model_type(str(read_config(source, path).get("model_type")))
    return found or kinds()[0]


def read_any(source: str, heads: int | None = None) -> Checkpoint:
    """Read a checkpoint of any family.

    Args:
        source: a folder or Hub id in Hugging Face format, a run, or a file of PyTorch.
        heads: number of attention heads, if the file does not contain it.

    Raises:
        UserError: it cannot be read, contains something that could run code, or has another architecture.
    """
    return recognised(source).read(source, heads)


def _by_model_type(model_type: str) -> Encoders | None:
    return next((kind for kind in kinds() if model_type in kind.model_types), None)


def _by_names(path: Path) -> Encoders | None:
    """Search the file for names of weights, which appear unencoded in files of every format."""
    return next((kind for kind in kinds() if holds_any(path, kind.weight_names)), None)
