"""``nonverbal report``, from paths to files."""

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
