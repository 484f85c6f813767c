"""Sections of a page for analyses, and the drawings of each kind of analysis."""

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
"""Functions that return the drawings of an analysis, by its kind; the second argument is the prefix of their names."""


@dataclass(frozen=True)
class AnalysisSection:
    """An analysis other than a map; maps have sections of their own, which play clips."""

    anchor: str
    heading: str
    name: str
    """Name of the kind of analysis."""
    summary: list[str]
    """Paragraphs."""
    tables: list[Table]
    drawings: list[Drawing]
    origin: tuple[str, str]
    """The file and its SHA-256."""

    @property
    def file(self) -> str:
        """Name of the file, which distinguishes sections with the same heading."""
        return Path(self.origin[0]).name


def analysis_section(number: int, path: Path) -> AnalysisSection:
    """Return the section for an analysis.

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
    """Return the drawings of an analysis, with names that begin with ``anchor``."""
    return DRAW[made.NAME](made, anchor)
