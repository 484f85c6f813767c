"""``nonverbal report``, from paths to files."""

import errno
import os
from pathlib import Path

import pytest
from report_inputs import write_run, write_tables

from evaluate import report
from nonverbal.errors import UserError


def test_everything_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tables(tmp_path / "in" / "scores")
    write_run(tmp_path / "in" / "run", tmp_path / "shards")
    out = {name: tmp_path / f"out.{name}" for name in ("html", "markdown", "latex")}
    options = ["--markdown", str(out["markdown"]), "--latex", str(out["latex"]), "--figures", str(tmp_path / "figures")]
    report.main([str(tmp_path / "in"), "--out", str(out["html"]), "--title", "Ours", *options])
    html, markdown = out["html"].read_text(encoding="utf-8"), out["markdown"].read_text(encoding="utf-8")
    assert "<h1>Ours</h1>" in html
    assert f"nonverbal report {tmp_path / 'in'} --out" in html
    assert "### made: linear head, 2 classes, by hand\n\n| model | UAR | interval |" in markdown
    assert out["latex"].read_text(encoding="utf-8").count(r"\begin{table}") == markdown.count("### ")
    names = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert len(names) == 2 * html.count("<svg ")
    assert {name.rpartition(".")[2] for name in names} == {"svg", "png"}
    assert "open it in any browser" in capsys.readouterr().out


def test_runs_alone_make_a_page(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", tmp_path / "shards")
    report.main([str(run), "--out", str(tmp_path / "x.html")])
    assert "0 tables of scores" in " ".join((tmp_path / "x.html").read_text(encoding="utf-8").split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "there is no nowhere; give score files"),
        (["."], "contains no scores.jsonl, pretraining run or analysis"),
        (["in", "--against", "q"], "--against must be one of the models x, y, but is 'q'"),
        (["in", "--markdown", "nowhere/x.md"], "--markdown: there is no folder nowhere"),
        (["in", "--out", "in"], "--out must be a file, such as in/report.html, but in is a folder"),
    ],
)
def test_errors_say_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    write_tables(tmp_path / "in")
    monkeypatch.chdir(tmp_path / "empty" if arguments == ["."] else tmp_path)
    with pytest.raises(UserError, match=message):
        report.main([*arguments, *([] if "--out" in arguments else ["--out", "x.html"])])


def test_a_run_that_has_only_begun_is_left_out_of_a_page_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that was killed before its first checkpoint, and goes on, has an empty file until its first row."""
    write_tables(tmp_path / "in" / "scores")
    begun = write_run(tmp_path / "in" / "begun", tmp_path / "shards")
    write_run(tmp_path / "in" / "run", tmp_path / "shards")
    (begun / "metrics.jsonl").write_text("")
    report.main([str(tmp_path / "in"), "--out", str(tmp_path / "x.html")])
    said = f"nonverbal: {begun / 'metrics.jsonl'} holds no row of training yet, so the run is left out of the page\n"
    assert capsys.readouterr().err == said
    assert "<h2>run" in (tmp_path / "x.html").read_text(encoding="utf-8")
    with pytest.raises(UserError, match="holds no row of training yet"):
        report.main([str(begun), "--out", str(tmp_path / "y.html")])


def test_a_page_that_could_not_be_written_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tables(tmp_path / "in")
    out = tmp_path / "x.html"
    out.write_text("before")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=f"no space is left for {out}; make room, and run the same command again$"):
        report.main([str(tmp_path / "in"), "--out", str(out)])
    assert out.read_text() == "before"


def test_scores_of_one_task_on_other_shards_are_told_apart_by_them(tmp_path: Path) -> None:
    write_tables(tmp_path / "in" / "one", data_sha256="1234567890ab")
    write_tables(tmp_path / "in" / "two", data_sha256="abcdef012345")
    report.main([str(tmp_path / "in"), "--out", str(tmp_path / "x.html"), "--markdown", str(tmp_path / "x.md")])
    html, tables = ((tmp_path / name).read_text(encoding="utf-8") for name in ("x.html", "x.md"))
    for sha256 in ("12345678", "abcdef01"):
        assert f"2 classes, shards {sha256}" in html
        assert f"### made: linear head, 2 classes, by hand, shards {sha256}\n" in tables
