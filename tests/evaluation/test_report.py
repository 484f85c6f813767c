import dataclasses

import pytest

from nonverbal.evaluation.report import print_scores
from nonverbal.tasks.scores import Score

ROW = Score(
    "m",
    "key",
    "corpus",
    "sha",
    ["a", "b"],
    "p",
    "linear",
    0,
    "0",
    {"uar": 0.5, "accuracy": 0.5, "f1": 0.5},
    {},
    8,
    2,
    2,
    "held out",
    "f",
)


def _row(fold: int, **changes: object) -> Score:
    return dataclasses.replace(ROW, fold=str(fold), **changes)  # type: ignore[arg-type]


def _columns(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return next(line for line in capsys.readouterr().out.splitlines() if line.lstrip().startswith("model")).split()


@pytest.mark.parametrize(
    ("choices", "shown"),
    [
        ([{"layer": 10, "C": 0.1}, {"layer": 9, "C": 1.0}, {"layer": 10, "C": 1.0}], "9×1, 10×2"),
        ([{"gamma": 0.5}, {"gamma": 1e-4}, {"gamma": 0.5}], "0.0001×1, 0.5×2"),
        ([{"kernel": "rbf"}, {"kernel": "linear"}, {"kernel": "rbf"}], "linear×1, rbf×2"),
    ],
)
def test_the_first_choice_is_counted(
    choices: list[dict[str, float | str]], shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    print_scores([_row(fold, chosen=chosen) for fold, chosen in enumerate(choices)])
    out = capsys.readouterr().out
    assert shown in out
    assert f"macro F1 {next(iter(choices[0]))} " in " ".join(out.split())


def test_a_head_that_chooses_nothing_has_no_column(capsys: pytest.CaptureFixture[str]) -> None:
    print_scores([_row(0), _row(1)])
    assert _columns(capsys) == ["model", "UAR", "accuracy", "macro", "F1", "pretraining"]


def test_statuses_by_authors_are_shown_whole(capsys: pytest.CaptureFixture[str]) -> None:
    print_scores([_row(0, pretraining="transductive (by its authors)"), _row(0, model="n")])
    assert "transductive (by its authors)" in capsys.readouterr().out


def test_merged_labels_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    print_scores([_row(0, merged={"excitement": "happiness"})])
    assert "excitement counts as happiness" in capsys.readouterr().out
