from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scored import write_scored

from nonverbal.evaluation.results import comparisons, rankings, results
from nonverbal.evaluation.score_tables import (
    classes_table,
    comparisons_table,
    print_scores,
    probabilities_table,
    ranking_table,
    scores_table,
    untestable,
)
from nonverbal.tasks.measurements import read_measurements
from nonverbal.tasks.scores import read_scores

# Five speakers with a clip of each class, in two folds.
CLIPS: dict[str, Any] = {
    "labels": list("ab" * 5),
    "folds": list("0000001111"),
    "groups": list("ssttuuvvww"),
    "speakers": list("ssttuuvvww"),
}
GOOD, BAD = list("abababaaab"), list("aaabababba")


def test_a_table_by_hand(tmp_path: Path) -> None:
    """Recalls of 5/5 and 4/5, and of 3/5 and 3/5; the logits of UAR without one speaker spread as computed here."""
    write_scored(tmp_path, "good", **CLIPS, predicted=GOOD)
    write_scored(
        tmp_path,
        "bad",
        **CLIPS,
        predicted=["a", "a", "b", "b", "a", "b", "a", "b", "b", "a"],
        pretraining="transductive",
    )
    (task,) = results(read_measurements([tmp_path]))
    table = scores_table(task)
    assert table.title == "made: linear head, 2 classes, by hand"
    assert table.columns == [
        "model",
        "UAR",
        "interval",
        "accuracy",
        "F1 true",
        "F1 seen",
        "UAR by fold",
        "layer",
        "pretraining",
    ]
    # Without v all is right, whose logit is infinite: the plain scale's error, over value x (1 - value).
    deleted = np.array([7 / 8] * 4 + [1])
    error = np.sqrt(4 / 5 * ((deleted - deleted.mean()) ** 2).sum()) / (0.9 * 0.1)
    reach = 2.7764451052 * error  # Student's t of 4 degrees of freedom at .975
    low, high = 1 / (1 + np.exp(-(np.log(9) + np.array([-reach, reach]))))
    f1 = (2 * 5 / 11 + 2 * 4 / 9) / 2
    interval = f"[{low:.3f}, {high:.3f}]".replace("0.", ".")
    f1_text, spread = (f"{f1:.3f}".replace("0.", "."), ".875±.125")
    assert table.rows[0] == ["good", ".900", interval, ".900", f1_text, f1_text, spread, "1×2", "held out"]
    assert table.rows[1][:2] + table.rows[1][-1:] == ["bad", ".600", "transductive"]
    assert table.notes[0].startswith("10 clips of 5 speakers; chance UAR .500; ")
    assert table.notes[1] == (
        "interval: .95 over speakers (jackknife t), for these trained models; it does not cover other training sets"
    )
    assert "over 2 folds" in table.notes[2]


def test_the_first_choice_is_counted(tmp_path: Path) -> None:
    for name, chosen in {"x": {"layer": 10, "C": 0.1}, "y": {"layer": 9}}.items():
        write_scored(tmp_path, name, **CLIPS, predicted=GOOD, chosen=chosen)
    write_scored(tmp_path / "svm", "z", **CLIPS, predicted=GOOD, probe="svm", chosen={"C": 1e-4})
    write_scored(tmp_path / "svm", "w", **CLIPS, predicted=GOOD, probe="svm", chosen={"kernel": "rbf"})
    write_scored(tmp_path / "none", "v", **CLIPS, predicted=GOOD, probe="fixed", chosen={})

    def shown(*folders: str) -> tuple[list[str], list[list[str]]]:
        (task,) = results(read_measurements([tmp_path / folder for folder in folders]))
        table = scores_table(task)
        return table.columns, [[*row[:2], row[-2]] for row in table.rows]

    columns, rows = shown("scores.jsonl")
    assert "layer" in columns
    assert rows == [["x", ".900", "10×2"], ["y", ".900", "9×2"]]
    columns, rows = shown("scores.jsonl", "svm", "none")
    assert columns[:2] + columns[-2:] == ["model", "head", "chosen", "pretraining"]
    assert rows == [
        ["x", "linear", "layer 10×2"],
        ["y", "linear", "layer 9×2"],
        ["z", "svm", "C 0.0001×2"],
        ["w", "svm", "kernel rbf×2"],
        ["v", "fixed", ""],
    ]
    columns, rows = shown("none")
    assert columns[-2:] == ["UAR by fold", "pretraining"]


def test_many_different_numbers_are_shown_by_range_and_median(tmp_path: Path) -> None:
    for seed, epochs in enumerate((4, 9, 5, 12, 6)):
        write_scored(tmp_path, "x", **CLIPS, predicted=GOOD, seed=seed, chosen={"epochs": epochs})
    (task,) = results(read_measurements([tmp_path / "scores.jsonl"]))
    assert scores_table(task).rows[0][-2] == "4 to 12, median 6"


def test_recalls_by_class(tmp_path: Path) -> None:
    write_scored(tmp_path, "good", **CLIPS, predicted=GOOD)
    (task,) = results(read_measurements([tmp_path]))
    table = classes_table(task)
    assert [row[:4] for row in table.rows] == [["good", "a", "5", "1.000"], ["good", "b", "5", ".800"]]
    # All right: the bound of Clopper and Pearson, .025 to the power of 1/5.
    assert table.rows[0][4] == "[.478, 1.000]"


def test_class_probabilities(tmp_path: Path) -> None:
    values = np.array([[0.9, 0.1], [0.1, 0.9]] * 5)
    write_scored(tmp_path, "sure", **CLIPS, predicted=CLIPS["labels"], values=values)
    write_scored(tmp_path, "margins", **CLIPS, predicted=CLIPS["labels"], values=values, gives="decision_values")
    write_scored(tmp_path / "none", "none", **CLIPS, predicted=GOOD)
    (task,) = results(read_measurements([tmp_path / "scores.jsonl"]))
    table = probabilities_table(task)
    assert table is not None
    assert table.columns == ["model", "AUC", "calibration error", "Brier"]
    assert table.rows == [["sure", "1.000", ".100", ".020"], ["margins", "1.000", "-", "-"]]
    assert "15 bins of equal width" in " ".join(table.notes)
    assert probabilities_table(results(read_measurements([tmp_path / "none"]))[0]) is None


def test_comparisons_say_what_cannot_be_tested(tmp_path: Path) -> None:
    write_scored(tmp_path, "good", **CLIPS, predicted=GOOD)
    write_scored(tmp_path, "bad", **CLIPS, predicted=BAD)
    (task,) = results(read_measurements([tmp_path]))
    table = comparisons_table(task, comparisons(task))
    assert table.rows[0][:3] == ["good", "bad", "+.200"]
    assert table.rows[0][5:] == ["not testable", "2, 1, 2"]
    assert table.notes[0].startswith("not testable: over 5 speakers p is at least 2^(1 - 5) = 0.0625, which Holm")
    assert "compares these trained models" in table.notes[-1]
    assert untestable(5, 1, "speakers")
    assert untestable(6, 1, "speakers") == untestable(5, 0, "speakers") == ""
    assert "2 comparisons" in untestable(6, 2, "speakers")


def test_ranks(tmp_path: Path) -> None:
    for corpus in "cd":
        write_scored(tmp_path, "good", **CLIPS, predicted=GOOD, corpus=corpus)
        write_scored(tmp_path, "bad", **CLIPS, predicted=BAD, corpus=corpus)
    (ranking,) = rankings(results(read_measurements([tmp_path])))
    table = ranking_table(ranking)
    assert (table.columns, table.rows) == (
        ["model", "c", "d", "average rank"],
        [["good", ".900", ".900", "1.00"], ["bad", ".700", ".700", "2.00"]],
    )
    assert table.notes[-1] == "no Friedman test: it needs 6 corpora and 3 models that differ somewhere"


def test_scores_are_printed_with_what_a_reader_must_know(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changes = {"pretraining": "transductive (by its authors)", "merged": {"exc": "a"}, "test_classes": 1}
    file = write_scored(tmp_path, "m", **CLIPS, predicted=GOOD, **changes)
    print_scores(read_scores(file), file)
    out = " ".join(capsys.readouterr().out.split())
    for text in ("transductive (by its authors)", "exc counts as a", "some folds lack clips of a class"):
        assert text in out
