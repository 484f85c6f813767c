"""The analyses by name, and reading files of any kind of analysis."""

from pathlib import Path
from typing import Any

from nonverbal.errors import UserError
from nonverbal.evaluation.analyses.attention import Attention
from nonverbal.evaluation.analyses.base import Analysis, end_of, read_as
from nonverbal.evaluation.analyses.confusion import Confusions
from nonverbal.evaluation.analyses.decisions import Decisions
from nonverbal.evaluation.analyses.distances import Distances
from nonverbal.evaluation.analyses.layers import Layers
from nonverbal.evaluation.analyses.maps import SoundMap

MADE: tuple[type[Analysis[Any]], ...] = (
    SoundMap,
    Confusions,
    Decisions,
    Distances,
    Attention,
    Layers,
)
KINDS = {kind.NAME: kind for kind in MADE}


def kind_of(path: Path) -> type[Analysis[Any]] | None:
    """Return the kind of analysis that a file's name stands for; None if it stands for none."""
    return next((kind for kind in KINDS.values() if path.name.endswith(end_of(kind.NAME))), None)


def read_analysis(path: Path) -> Analysis[Any]:
    """Read an analysis of the kind that is part of the file's name.

    Raises:
        UserError: the name contains no kind, or the file cannot be read or contains something else.
    """
    kind = kind_of(path)
    if kind is None:
        ends = ", ".join(map(end_of, KINDS))
        raise UserError(f"{path} does not have the name of an analysis, which ends in one of {ends}")
    return read_as(kind, path)
