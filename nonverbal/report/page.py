"""The page as one HTML file, which needs no other file and no network. Every text in it is escaped."""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from nonverbal.evaluation.tables import Table, is_numeric
from nonverbal.report.analyses import AnalysisSection
from nonverbal.report.drawing import LIGHT, Drawing, svg
from nonverbal.report.maps import MapSection
from nonverbal.report.origins import shared_launches
from nonverbal.report.runs import RunSection
from nonverbal.report.sections import Section
from nonverbal.report.sounds import Sounds
from nonverbal.report.studies import StudySection
from nonverbal.report.switched import switched_svg
from nonverbal.system import version_of
from nonverbal.tasks.contamination import HELD_OUT, LABELS_SEEN, TRANSDUCTIVE

TEMPLATES = Path(__file__).with_name("templates")


@dataclass(frozen=True)
class Page:
    """The content of a report."""

    title: str
    studies: list[StudySection]
    sections: list[Section]
    runs: list[RunSection]
    maps: list[MapSection]
    analyses: list[AnalysisSection]
    rankings: list[Table]
    command: str
    """The command that made the page."""
    sounds: Sounds
    """Sounds of the listed clips."""

    @property
    def tables(self) -> list[Table]:
        """All tables, in order."""
        of_parts = [table for section in self.sections for part in section.parts for table in part.tables]
        of_analyses = [table for section in self.analyses for table in section.tables]
        of_studies = [table for study in self.studies for table in study.tables]
        return [
            *of_studies,
            *self.rankings,
            *of_parts,
            *of_analyses,
            *(table for run in self.runs for table in run.ledgers),
        ]

    @property
    def drawings(self) -> list[Drawing]:
        """All drawings, in order."""
        of_parts = [drawing for section in self.sections for part in section.parts for drawing in part.drawings]
        of_maps = [drawing for section in self.maps for drawing in section.drawings]
        of_analyses = [drawing for section in self.analyses for drawing in section.drawings]
        return [*of_parts, *of_analyses, *of_maps, *(drawing for run in self.runs for drawing in run.drawings)]


def render(page: Page) -> str:
    """Return a page as HTML."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "svg": lambda drawing: Markup(svg(drawing)),
        "switched": lambda drawings: Markup(switched_svg(drawings)),
        "status": status,
        "numeric": numeric,
        "shared": shared_launches,
    }
    style, script = ((TEMPLATES / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    return environment.get_template("page.html.j2").render(
        page=page,
        version=version_of("nonverbal"),
        style=Markup(style),
        script=Markup(script),
        script_hash=Markup(base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()),
        sounds=Markup(in_script(page.sounds.by_clip)),
        roles=list(LIGHT),
    )


def status(column: str, cell: str) -> str:
    """Return the CSS class of a cell with a leak status; empty for other cells."""
    if column != "pretraining":
        return ""
    if cell.startswith((TRANSDUCTIVE, LABELS_SEEN)):
        return "heard"
    return "unheard" if cell.startswith(HELD_OUT) else "unknown"


def numeric(table: Table) -> Sequence[bool]:
    """Return for each column of a table whether it is set as numbers."""
    return [place >= table.texts and is_numeric(table, place) for place in range(len(table.columns))]


def in_script(content: object) -> str:
    """Return JSON for a ``<script type="application/json">``, in which nothing can end the element."""
    return json.dumps(content).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
