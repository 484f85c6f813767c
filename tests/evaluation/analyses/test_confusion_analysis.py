"""Confusion matrices as an analysis, against scikit-learn and the numbers of the tables."""

from pathlib import Path

import numpy as np
from scored import write_scored
from sklearn.metrics import balanced_accuracy_score, confusion_matrix

from nonverbal.evaluation.analyses.base import read_as, write_analysis
from nonverbal.evaluation.analyses.confusion import Confusions, ConfusionSettings
from nonverbal.evaluation.results import recalls, results
from nonverbal.tasks.measurements import read_measurements


def test_counts_are_scikit_learns_and_recalls_those_of_the_tables(tmp_path: Path) -> None:
    labels = [["a", "b", "c"][n % 3] for n in range(30)]
    predicted = np.where(np.random.default_rng(0).random(30) < 0.6, labels, "a").tolist()
    speakers: list[str | None] = [f"s{n // 3}" for n in range(30)]
    groups, folds = [f"s{n // 3}" for n in range(30)], [str(n // 3 % 2) for n in range(30)]
    file = write_scored(tmp_path, "x", labels, predicted, folds, groups, speakers)
    write_scored(tmp_path, "y", labels, labels, folds, groups, speakers)
    made = Confusions.make(ConfusionSettings(scores=[file], systems=["x"], out=tmp_path / "x.confusion.json"))
    (one,) = made.systems
    np.testing.assert_array_equal(one.counts, confusion_matrix(labels, predicted))
    assert one.uar.value == balanced_accuracy_score(labels, predicted)
    theirs = recalls(results(read_measurements([file]))[0].models[0])
    assert {name: (own.value, own.low, own.high) for name, own in one.recalls.items()} == theirs
    assert [row[5:] for row in made.tables()[0].rows] == [[f"{n:g}" for n in row] for row in one.counts]
    assert f"b for a ({one.counts[1][0] / 10:.0%})" in made.summary()
    write_analysis(tmp_path / "x.confusion.json", made)
    assert read_as(Confusions, tmp_path / "x.confusion.json") == made
    every = Confusions.make(ConfusionSettings(scores=[file], out=tmp_path / "x.confusion.json"))
    assert [system.system for system in every.systems] == ["x", "y"]
    assert "y has a UAR of 1.000" in every.summary()
    assert "takes no clip for another class" in every.summary()
