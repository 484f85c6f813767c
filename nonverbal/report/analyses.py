"""Analyses on a page, and in files: which drawings each kind has."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nonverbal.evaluation.analyses.attention import Attention
from nonverbal.evaluation.analyses.base import Analysis
from nonverbal.evaluation.analyses.confusion import Confusions
from nonverbal.evaluation.analyses.decisions import Decisions
from nonverbal.evaluation.analyses.distances import Distances
from nonverbal.evaluation.analyses.kinds import read_analysis
from nonverbal.evaluation.analyses.layers import Layers
from nonverbal.evaluation.analyses.maps import SoundMap
from nonverbal.evaluation.tables import Table
from nonverbal.files import sha256_of
from nonverbal.report.attention_charts import attention_drawings
from nonverbal.report.decision_charts import confusion_drawings, decision_drawings
from nonverbal.report.distance_charts import distance_drawings
from nonverbal.report.drawing import Drawing
from nonverbal.report.layer_charts import layers_drawings
from nonverbal.report.maps import map_drawings
from nonverbal.text import slug

DRAW: dict[str, Callable[[Any, str], list[Drawing]]] = {
    SoundMap.NAME: map_drawings,
    Attention.NAME: attention_drawings,
    Layers.NAME: layers_drawings,
    Confusions.NAME: confusion_drawings,
    Decisions.NAME: decision_drawings,
    Distances.NAME: distance_drawings,
}
"""The drawings of an analysis by its name; what they are called begins with the second argument."""


@dataclass(frozen=True)
class AnalysisSection:
    """An analysis that is no map: maps have sections of their own, in which clips are heard."""

    anchor: str
    heading: str
    name: str
    """Of the kind of analysis."""
    summary: list[str]
    """A paragraph each."""
    tables: list[Table]
    drawings: list[Drawing]
    origin: tuple[str, str]
    """The file and its SHA-256."""

    @property
    def file(self) -> str:
        """The file's name, which tells sections of one heading apart."""
        return Path(self.origin[0]).name


def analysis_section(number: int, path: Path) -> AnalysisSection:
    """Return the section of an analysis.

    Args:
        number: of the section.
        path: of the analysis.

    Raises:
        UserError: it cannot be read.
    """
    made = read_analysis(path)
    anchor = slug(f"analysis-{number}-{path.name.removesuffix('.json')}")
    origin = str(path), sha256_of(path)
    return AnalysisSection(
        anchor, made.heading, made.NAME, made.summary().splitlines(), made.tables(), drawings(made, anchor), origin
    )


def drawings(made: Analysis[Any], anchor: str) -> list[Drawing]:
    """Return the drawings of an analysis, the names of which begin with ``anchor``."""
    return DRAW[made.NAME](made, anchor)
