"""Writes the tables of a page as Markdown and LaTeX, and its figures as SVG and PNG."""

from pathlib import Path

from nonverbal.evaluation.tables import latex, markdown
from nonverbal.files import write_atomically
from nonverbal.report.drawing import png, svg
from nonverbal.report.page import Page


def write_tables(page: Page, as_markdown: Path | None, as_latex: Path | None) -> None:
    """Write the tables to the given files."""
    for path, write in ((as_markdown, markdown), (as_latex, latex)):
        if path is not None:
            write_atomically(path, write(page.tables))
            print(f"wrote {path}")


def write_figures(page: Page, folder: Path) -> None:
    """Write each drawing to a folder, which is created if missing, as ``NAME.svg`` and ``NAME.png``."""
    folder.mkdir(parents=True, exist_ok=True)
    for drawing in page.drawings:
        write_atomically(folder / f"{drawing.name}.svg", svg(drawing, alone=True))
        png(drawing, folder / f"{drawing.name}.png")
    print(f"wrote {len(page.drawings)} figures to {folder}, each as SVG and PNG")
