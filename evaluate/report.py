"""Everything measured in one page: ``nonverbal report PATHS --out report.html``.

By path: ``python evaluate/report.py PATHS --out report.html``. PATHS are score files, pretraining runs, or folders that
hold some; predictions beside scores are read too. The page needs no other file and no network.
"""

import shlex
from dataclasses import dataclass, field
from pathlib import Path

from nonverbal import cli
from nonverbal.config import load, with_paths
from nonverbal.errors import UserError
from nonverbal.files import room_for, write_atomically
from nonverbal.paths import check_folder_of
from nonverbal.report.collect import collect
from nonverbal.report.page import render
from nonverbal.report.write import write_figures, write_tables


@dataclass
class ReportConfig:
    """What is reported, and where the page is written."""

    paths: list[Path]
    """Files of scores, analyses, pretraining runs, or folders, which stand for all of these in them. They may come
    first, without `--paths`."""
    out: Path
    """HTML file to write."""
    title: str = "Scores and runs"
    """Heading of the page."""
    against: str | None = None
    """Model with which all others are compared. Unset: all pairs, which makes it harder for each comparison to be
    significant."""
    data: list[Path] = field(default_factory=list)
    """Folders of shards with the clips that were scored: lists of clips then have players. Clips of corpora that must
    not be redistributed have none."""
    sounds: int = 300
    """Maximum number of clips with sound; with 300 clips, the page takes 5 to 12 MB."""
    markdown: Path | None = None
    """File for the tables in Markdown."""
    latex: Path | None = None
    """File for the tables in LaTeX."""
    figures: Path | None = None
    """Folder for each figure in SVG and PNG."""


def main(argv: list[str]) -> None:
    """Read, draw, and write."""
    settings = load(ReportConfig, with_paths(argv), prog="nonverbal report", description=__doc__)
    for name in ("out", "markdown", "latex"):
        check_folder_of(getattr(settings, name), name)
    if settings.out.is_dir():
        raise UserError(f"--out must be a file, such as {settings.out / 'report.html'}, but {settings.out} is a folder")
    if settings.sounds < 0:
        raise UserError(f"--sounds must be at least 0, but is {settings.sounds}")
    command = shlex.join(["nonverbal", "report", *argv])
    page = collect(settings.paths, settings.title, command, settings.against, settings.data, settings.sounds)
    with room_for(settings.out, continues=False):
        write_tables(page, settings.markdown, settings.latex)
        if settings.figures is not None:
            write_figures(page, settings.figures)
        write_atomically(settings.out, render(page))
    print(f"wrote {settings.out}: open it in any browser")


if __name__ == "__main__":
    cli.run(main)
