"""Analyses on the page and as figures: what is drawn, where, and under which names."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from made_analyses import apart
from patience import HANGS
from report_inputs import HOSTILE, write_map_of, write_tables

from nonverbal.errors import UserError
from nonverbal.evaluation.analyses.base import write_analysis
from nonverbal.evaluation.analyses.confusion import Confusions, ConfusionSettings
from nonverbal.evaluation.analyses.decisions import Decisions, DecisionsSettings
from nonverbal.evaluation.analyses.kinds import KINDS
from nonverbal.report.analyses import DRAW, drawings
from nonverbal.report.collect import collect
from nonverbal.report.drawing import Box, Dot, Drawing, Line, Words, svg
from nonverbal.report.page import render
from nonverbal.report.sheets import GAP, check_figure, sheet, write_figure


def decided(folder: Path) -> Decisions:
    write_tables(folder, [HOSTILE, "y", "z"], [HOSTILE, "b"])
    names = [HOSTILE, "y", "z"]
    return Decisions.make(DecisionsSettings(scores=[folder], systems=names, out=folder / "x.decisions.json"))


def test_every_kind_is_drawn() -> None:
    assert DRAW.keys() == KINDS.keys()


def test_a_page_has_a_section_for_each_analysis(tmp_path: Path) -> None:
    made = decided(tmp_path)
    write_analysis(tmp_path / "x.decisions.json", made)
    write_analysis(tmp_path / "x.distances.json", apart())
    confusions = Confusions.make(ConfusionSettings(scores=[tmp_path / "scores.jsonl"], out=tmp_path / "x"))
    write_analysis(tmp_path / "x.confusion.json", confusions)
    write_map_of(tmp_path / "x.map.json", 24)
    page = collect([tmp_path], "t", "c")
    assert [section.name for section in page.analyses] == ["confusion", "decisions", "distances"]
    assert len(page.maps) == 1
    names = [drawing.name for drawing in page.drawings]
    assert len(set(names)) == len(names)
    assert [len(section.drawings) for section in page.analyses] == [3, 4, 2]
    html = render(page)
    assert HOSTILE not in html.replace(html[html.index("<style>") : html.index("</style>")], "")
    assert "y decides differently from" in html
    assert all(f'<section id="{section.anchor}">' in html for section in page.analyses)
    assert "3 analyses" in html
    for section in page.analyses:
        for table in section.tables:
            assert table in page.tables
            assert all(len(row) == len(table.columns) for row in table.rows)


@pytest.mark.processes
def test_reading_analyses_needs_no_torch() -> None:
    code = "import sys; import nonverbal.report.collect; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=HANGS, check=False)
    assert done.stdout == "False\n", done.stderr


def test_mismatch_is_drawn_where_it_is(tmp_path: Path) -> None:
    made = decided(tmp_path)
    mismatch, right, *matrices = drawings(made, "a")
    assert [drawing.name for drawing in matrices] == ["a-matrix-0", "a-matrix-1"]
    dots = [mark for mark in mismatch.marks if isinstance(mark, Dot) and mark.title]
    # A row for all clips and one a class, a dot a system in each.
    values = [one.differ.value for one in made.others]
    values += [one.by_class[name].value for name in made.classes for one in made.others]
    assert np.corrcoef([dot.x for dot in dots], values)[0, 1] > 0.9999
    bars = [mark for mark in right.marks if isinstance(mark, Box) and mark.title]
    parts = [p for one in made.others for p in (one.first_right, one.other_right, one.neither_right)]
    np.testing.assert_allclose([bar.width / 420 for bar in bars], [part.value if part else 0 for part in parts])


def test_systems_that_never_differ_have_no_right_side_drawn(tmp_path: Path) -> None:
    write_tables(tmp_path, ["x"])
    write_tables(tmp_path, ["x"], probe="svm")
    settings = DecisionsSettings(scores=[tmp_path], systems=["x, linear", "x, svm"], out=tmp_path / "o")
    assert [drawing.name for drawing in drawings(Decisions.make(settings), "a")] == ["a-mismatch", "a-matrix-0"]


def test_histograms_and_agreement_are_drawn_where_they_are() -> None:
    made = apart()
    histogram, agreement = drawings(made, "a")
    lines = [mark for mark in histogram.marks if isinstance(mark, Line) and len(mark.points) == 10]
    middles = (np.array(made.edges[1:]) + made.edges[:-1]) / 2
    for line, one in zip(lines, made.others, strict=True):
        x, y = np.array(line.points).T
        assert np.corrcoef(x, middles)[0, 1] > 0.9999
        assert np.corrcoef(y, one.shares)[0, 1] < -0.9999
    dots = [mark for mark in agreement.marks if isinstance(mark, Dot) and mark.title]
    known = [value for one in made.others for value in one.agreement if value is not None]
    assert np.corrcoef([dot.y for dot in dots], known)[0, 1] < -0.9999
    assert any(isinstance(mark, Words) and mark.text == "threshold 0.95" for mark in histogram.marks)
    assert len(drawings(apart(decisions=""), "a")) == 1


def test_drawings_are_set_side_by_side() -> None:
    one = Drawing("a", "t", "A.", 500, 100, [Dot(1, 2, 3), Line([(0, 0), (4, 5)])])
    two = Drawing("b", "u", "B.", 300, 200, [Words(1, 2, "w")])
    both = sheet([one, two, one])
    assert (both.width, both.height, both.description) == (500 + GAP + 300, 200 + GAP + 100, "A. B. A.")
    assert both.marks[2] == Words(501 + GAP, 2, "w")
    assert both.marks[3:] == [Dot(1, 202 + GAP, 3), Line([(0, 200 + GAP), (4, 205 + GAP)])]
    assert sheet([one]) is one


def test_a_figure_is_svg_or_png(tmp_path: Path) -> None:
    drawn = drawings(apart(), "a")
    for end in (".svg", ".png"):
        check_figure(tmp_path / f"x{end}")
        write_figure(drawn, tmp_path / f"x{end}")
    assert (tmp_path / "x.svg").read_text(encoding="utf-8") == svg(sheet(drawn), alone=True)
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    for wrong in (tmp_path / "x.pdf", tmp_path / "nowhere" / "x.png"):
        with pytest.raises(UserError, match="--figure must be a file that ends in .svg or .png"):
            check_figure(wrong)
