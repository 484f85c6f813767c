import dataclasses
import json
from pathlib import Path

import pytest

from nonverbal.errors import UserError
from nonverbal.tasks.scores import Score, read_scores, summarise, write_scores


def score(model: str = "m", fold: str = "0", uar: float = 0.5, **changes: object) -> Score:
    metrics = {"uar": uar, "accuracy": uar, "f1": uar}
    row = Score(
        model,
        "key",
        "c",
        "sha",
        ["a", "b"],
        "p",
        "linear",
        0,
        fold,
        metrics,
        {"layer": 1, "C": 0.1},
        8,
        2,
        2,
        "held out",
        "f",
    )
    return dataclasses.replace(row, **changes)  # type: ignore[arg-type]


def test_scores_are_read_as_they_were_written(tmp_path: Path) -> None:
    scores = [score(fold="0"), score(fold="1", uar=0.75)]
    write_scores(tmp_path / "scores.jsonl", scores)
    assert read_scores(tmp_path / "scores.jsonl") == scores
    assert json.loads((tmp_path / "scores.jsonl").read_text().splitlines()[0])["protocol"] == "p"


def test_a_linear_probe_of_rows_without_details_is_the_logistic_regression_that_it_was(tmp_path: Path) -> None:
    path = tmp_path / "scores.jsonl"
    write_scores(path, [score("x"), score("x", probe="logistic"), score("y")])
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows[:2]:
        del row["details"]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    old, logistic, new = read_scores(path)
    assert (old.probe, logistic.probe, new.probe) == ("logistic, not to its optimum", "logistic", "linear")
    assert len({old.task, logistic.task, new.task}) == 3


def test_a_measurement_made_again_replaces_its_rows_alone(tmp_path: Path) -> None:
    path = tmp_path / "scores.jsonl"
    others = [score("other"), score(protocol="q"), score(seed=1), score(corpus="d"), score(data_sha256="another")]
    write_scores(path, [*others, score(fold="0"), score(fold="1"), score(fold="2")])
    write_scores(path, [score(fold="0", uar=0.9), score(fold="1", uar=0.8)])
    assert read_scores(path) == [*others, score(fold="0", uar=0.9), score(fold="1", uar=0.8)]


def test_summaries_are_means_and_population_deviations() -> None:
    rows = [score("x", "0", 0.5), score("x", "1", 0.7), score("y", "0", 0.1), score("y", "1", 0.1)]
    first, second = summarise(rows)
    assert (first.model, first.folds, first.mean["uar"]) == ("x", 2, pytest.approx(0.6))
    assert first.std["uar"] == pytest.approx(0.1)
    assert (second.mean["f1"], second.std["f1"]) == (pytest.approx(0.1), pytest.approx(0))


@pytest.mark.parametrize("change", [{"protocol": "q"}, {"classes": ["a", "c"]}, {"data_sha256": "other"}])
def test_numbers_of_two_protocols_share_no_column(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="`scores` must be of one protocol"):
        summarise([score("x"), score("y", **change)])


@pytest.mark.parametrize(("line", "reason"), [("{", "not a JSON object"), ("{}", "missing or unknown"), ("3", "int")])
def test_a_damaged_row_is_named(tmp_path: Path, line: str, reason: str) -> None:
    path = tmp_path / "scores.jsonl"
    write_scores(path, [score()])
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(UserError, match=f"scores.jsonl, line 2: .*{reason}"):
        read_scores(path)


def test_scores_without_curves_and_merges_are_read_and_kept(tmp_path: Path) -> None:
    """A file as it was written before scores had these, to which rows are added."""
    path = tmp_path / "scores.jsonl"
    old = dataclasses.asdict(score("old"))
    del old["inner_uar"], old["merged"], old["launch"]
    path.write_text(json.dumps(old) + "\n")
    assert read_scores(path) == [score("old")]
    new = score("new", inner_uar=[0.25, 0.5])
    write_scores(path, [new])
    assert read_scores(path) == [score("old"), new]
    write_scores(path, [score("old", uar=0.7)])
    assert read_scores(path) == [new, score("old", uar=0.7)]


def test_merged_labels_make_another_measurement(tmp_path: Path) -> None:
    path = tmp_path / "scores.jsonl"
    rows = [score(), score(merged={"exc": "a"})]
    for row in rows:
        write_scores(path, [row])
    assert read_scores(path) == rows
    with pytest.raises(ValueError, match="`scores` must be of one protocol"):
        summarise(rows)


ODD = ["para\u2028graph", "next\x85line", "form\x0cfeed", "file\x1cend", "two\nlines", "mac\rline"]


@pytest.mark.parametrize("label", ODD)
def test_labels_that_break_lines_are_read_again(tmp_path: Path, label: str) -> None:
    path = tmp_path / "scores.jsonl"
    for uar in (0.5, 0.75):
        write_scores(path, [score(label, uar=uar, classes=["a", label])])
    assert read_scores(path) == [score(label, uar=0.75, classes=["a", label])]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"merged": None}, "merged is 'None'"),
        ({"merged": []}, r"merged is '\[\]'"),
        ({"inner_uar": None}, "inner_uar is 'None'"),
        ({"inner_uar": [[0.5], 0.5]}, "a metric or inner_uar is not a number"),
        ({"metrics": {"uar": "high"}}, "a metric or inner_uar is not a number"),
        ({"classes": [1, 2]}, "a class is not a text"),
        ({"seed": True}, "seed is 'True'"),
    ],
)
def test_a_value_of_another_kind_is_named(tmp_path: Path, change: dict[str, object], named: str) -> None:
    row = dataclasses.asdict(score()) | change
    (tmp_path / "scores.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(UserError, match=f"scores.jsonl, line 1: not a score; {named}"):
        read_scores(tmp_path / "scores.jsonl")
