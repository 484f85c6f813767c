"""Pretraining runs on the page."""

import json
from pathlib import Path

import pytest
from report_inputs import write_run, write_tables

from nonverbal.errors import UserError
from nonverbal.report.collect import found
from nonverbal.report.drawing import Line
from nonverbal.report.run_charts import POINTS
from nonverbal.report.runs import run_section


def test_a_run_shows_its_curves_and_what_it_cost(tmp_path: Path) -> None:
    section = run_section(0, write_run(tmp_path / "run", tmp_path / "shards"))
    (curve,) = section.drawings
    assert curve.title == "loss per target"
    assert "train from 8.9 to 5; validation from 4.5 to 4.5" in curve.description
    facts = dict(section.facts)
    assert facts["steps measured"] == "40"
    # 40 steps of 2 batches of 90 s are 2 hours, at 60 s a second 2 minutes.
    assert facts["audio in training"] == "2 h, counted as full batches of 180 s"
    assert facts["time in training"] == "about 2 min, from the two values above"
    assert facts["waiting for data"] == "25.0% of the time (median)"
    assert section.launches[0].command == "train.py --out 'a b'"
    assert [Path(path).name for path, _ in section.files] == ["recipe.yaml", "metrics.jsonl", "data.json"]


def test_the_ledger_of_the_same_data_is_shown(tmp_path: Path) -> None:
    section = run_section(0, write_run(tmp_path / "run", tmp_path / "shards"))
    (ledger,) = section.ledgers
    assert ledger.rows == [["made", "CC0-1.0", "9", "8", "7", "6", "1", "0.50", "too_short 1; odd 1"]]
    (tmp_path / "shards" / "index.json").write_text("[]")
    section = run_section(0, tmp_path / "run")
    assert section.ledgers == []
    assert "the data have changed since the run was trained" in section.missing[0]


def test_a_ledger_is_found_beside_the_run_wherever_one_stands(tmp_path: Path) -> None:
    run = write_run(tmp_path / "runs" / "one", tmp_path / "shards")
    data = json.loads((run / "data.json").read_text())
    (run / "data.json").write_text(json.dumps({"shards": next(iter(data.values())), "gone": "0"}))
    section = run_section(0, run)
    assert [table.title for table in section.ledgers] == ["Ledger of shards"]
    assert section.missing == ["gone: the folder of shards does not exist, so its ledger is not shown"]


def test_a_long_curve_is_thinned_and_keeps_its_end(tmp_path: Path) -> None:
    section = run_section(0, write_run(tmp_path / "run", tmp_path / "shards", steps=3 * POINTS + 2))
    lines = [mark for mark in section.drawings[0].marks if isinstance(mark, Line) and mark.role == "accent"]
    train = max((line.points for line in lines), key=len)
    assert POINTS / 2 < len(train) <= POINTS + 1
    assert train[-1][0] == pytest.approx(440 - 18)


def test_folders_of_runs_and_scores_are_told_apart(tmp_path: Path) -> None:
    run = write_run(tmp_path / "runs" / "one", tmp_path / "shards")
    scores = write_tables(tmp_path / "tuned")
    fold = tmp_path / "tuned" / "seed-0" / "fold-0"
    fold.mkdir(parents=True)
    (fold / "metrics.jsonl").write_bytes((run / "metrics.jsonl").read_bytes())
    (fold / "recipe.yaml").write_text("data: []\nlabels: null\n")
    assert found([tmp_path, run, scores]) == ([scores], [run], [])


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("recipe.yaml", "family: [", "recipe.yaml cannot be read"),
        ("recipe.yaml", "[1]", "recipe.yaml contains list; expected dict"),
        ("data.json", "{", "data.json cannot be read"),
        ("environment.json", "{}", "environment.json contains dict; expected list"),
        ("metrics.jsonl", "x\n", "not a JSON object"),
    ],
)
def test_a_damaged_run_is_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    run = write_run(tmp_path / "run", tmp_path / "shards")
    (run / name).write_text(text)
    with pytest.raises(UserError, match=message):
        run_section(0, run)
