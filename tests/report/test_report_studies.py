from pathlib import Path

import pytest
from report_inputs import HOSTILE, write_run, write_tables
from studied import FigureShape, TableShape, corpus, left_out, model, record, step, write_step, write_study

from nonverbal.errors import UserError
from nonverbal.evaluation.analyses.base import write_analysis
from nonverbal.evaluation.analyses.maps import SoundMap
from nonverbal.report.collect import collect
from nonverbal.report.page import Page, render
from nonverbal.report.studies import study_section


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A study with scores, a map, what an earlier run of it left, and what was left out."""
    folder = tmp_path / "studies" / "first"
    write_step(folder, "probe.vivae.wavlm", "hub/wavlm", 1, corpus="vivae")
    write_step(folder / "past", "probe.vivae.wavlm-01234567", "hub/wavlm", 5, corpus="vivae", protocol="of before")
    write_analysis(folder / "map.vivae.map.json", a_map())
    steps = [
        step("probe.vivae.wavlm", "probe", shows=["Table IV"]),
        step("map.vivae", "analyze", out="map.vivae.map.json", seconds=3600.0),
        left_out("map.cnvve", HOSTILE, "analyze"),
    ]
    corpora = [corpus("vivae", "VIVAE"), corpus("cnvve", "CNVVE", present=False, why=HOSTILE, note="950 or 921")]
    tables = {"Table IV": TableShape("Sets", steps=["probe"], metrics=["uar"])}
    figures = {"Figure 1": FigureShape("A map", ["map"]), "Figure 2": FigureShape("Nothing", [])}
    write_study(folder, record(corpora, [model("wavlm", "wavlm")], steps, tables, figures))
    return folder


def a_map() -> SoundMap:
    clips = [f"c{clip}" for clip in range(12)]
    places = [float(clip) for clip in range(12)]
    return SoundMap("m", "key", 1, "none seen", "sha", 2, 0.5, 0.1, 0.4, clips, list("ab" * 6), clips, places, places)


def page_of(*paths: Path) -> Page:
    return collect(paths, "Title", "nonverbal report")


def test_a_study_comes_first_with_its_tables(folder: Path) -> None:
    page = page_of(folder)
    (study,) = page.studies
    assert [part.name for part in study.parts] == ["Table IV"]
    assert page.tables[0] is study.parts[0].tables[0]
    assert study.summary == "2 of 3 steps done, in 62 min altogether; 1 of 2 corpora, 1 of 1 models"
    html = render(page)
    assert html.index(f'<section id="{study.anchor}">') < html.index(f'<section id="{page.sections[0].anchor}">')
    assert f'<a href="#{study.anchor}">' in html
    assert "to know" in html
    assert HOSTILE not in html


def test_a_figure_is_a_link_to_its_section_or_says_why_there_is_none(folder: Path) -> None:
    page = page_of(folder)
    first, second = page.studies[0].figures
    assert [link.anchor for link in first.links] == [page.maps[0].anchor]
    assert first.missing == [f"left out, {HOSTILE}: map.cnvve"]
    assert (second.links, second.missing) == ([], ["no step shows it"])
    assert f'<a href="#{page.maps[0].anchor}">{page.maps[0].heading}</a>' in render(page)


def test_what_was_left_out_and_every_command_are_there(folder: Path) -> None:
    (study,) = page_of(folder).studies
    assert study.left_out is not None
    assert study.left_out.rows[0] == ["corpus", "cnvve", HOSTILE, "950 or 921"]
    assert study.left_out.rows[1] == ["steps", "map.cnvve", f"left out, {HOSTILE}", "-"]
    assert study.steps.rows[0][:6] == ["probe.vivae.wavlm", "Table IV", "done", "90", "2.0", "01234567"]
    assert study.steps.rows[2][2:6] == ["left out", "-", "-", "-"]
    assert study.commands[0] == ("probe.vivae.wavlm", "nonverbal probe --out 'a b/probe.vivae.wavlm'")


@pytest.mark.parametrize("given", ["first", "."])
def test_of_a_study_only_what_its_steps_made_is_shown(folder: Path, given: str) -> None:
    """Also where its folder is found in another, beside what is in no study."""
    write_tables(folder.parent / "alone", protocol="alone")
    page = page_of(folder.parent / given)
    protocols = {section.protocol for section in page.sections}
    assert protocols == ({"by hand"} if given == "first" else {"by hand", "alone"})


def test_a_study_of_which_nothing_is_done_has_a_page(tmp_path: Path) -> None:
    write_study(tmp_path, record([], [], [left_out("probe.x", "no corpus")], {}))
    page = page_of(tmp_path)
    assert (len(page.studies), page.sections, page.runs) == (1, [], [])
    assert "0 of 1 steps done" in render(page)


def test_a_study_with_a_pretraining_run_shows_it(tmp_path: Path) -> None:
    write_run(tmp_path / "pretrain", tmp_path / "shards" / "sounds")
    write_run(tmp_path / "past" / "pretrain-01234567", tmp_path / "shards" / "old")
    write_study(tmp_path, record([], [], [step("pretrain", "pretrain")], {}))
    assert [run.heading for run in page_of(tmp_path).runs] == ["pretrain"]


def test_a_damaged_record_is_named(folder: Path) -> None:
    (folder / "study.json").write_text("{}")
    with pytest.raises(UserError, match=r"study\.json"):
        study_section(0, folder / "study.json", {})
