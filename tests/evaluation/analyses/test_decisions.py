"""Where systems decide differently, against counts by hand, a plain loop and scikit-learn."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import t as student
from scored import write_scored
from sklearn.metrics import cohen_kappa_score

from nonverbal.errors import UserError
from nonverbal.evaluation.analyses.base import read_as, write_analysis
from nonverbal.evaluation.analyses.decisions import Decisions, DecisionsSettings
from nonverbal.evaluation.analyses.measured import Measured, share


def decide(folder: Path, *systems: str, **settings: Any) -> Decisions:
    given: dict[str, Any] = {"scores": [folder], "systems": list(systems), "out": folder / "x.decisions.json"}
    return Decisions.make(DecisionsSettings(**(given | settings)))


def written(folder: Path, name: str, labels: list[str], predicted: list[str], **changes: Any) -> Path:
    """Write decisions on clips of which every two in turn are of one speaker."""
    speakers: list[str | None] = [f"s{place // 2}" for place in range(len(labels))]
    names = [str(one) for one in speakers]
    folds = [str(place // 2 % 2) for place in range(len(labels))]
    return write_scored(folder, name, labels, predicted, folds, names, speakers, **changes)


def test_differences_are_counted_by_hand(tmp_path: Path) -> None:
    labels = ["a", "a", "a", "a", "b", "b", "b", "b"]
    written(tmp_path, "x", labels, ["a", "a", "b", "b", "b", "b", "a", "b"])
    written(tmp_path, "y", labels, ["a", "b", "a", "b", "b", "b", "b", "a"], classes=["a", "b"])
    made = decide(tmp_path, "x", "y")
    (one,) = made.others
    assert (made.first, one.system, made.units, made.unit, made.seeds) == ("x", "y", 4, "speakers", [0])
    assert one.differ.value == 4 / 8
    # Both decide 3 times for a and 5 times for b: on their own they would agree on (9 + 25) / 64.
    assert one.by_chance == 30 / 64
    assert one.kappa is not None
    assert one.kappa.value == pytest.approx((1 / 2 - 34 / 64) / (30 / 64))
    assert {name: found.value for name, found in one.by_class.items()} == {"a": 2 / 4, "b": 2 / 4}
    # They differ on clips 1, 2, 6 and 7, of which x has 1 and 7 right, and y has 2 and 6.
    rights = [one.first_right, one.other_right, one.neither_right, one.right_where_agreed]
    assert [found and found.value for found in rights] == [2 / 4, 2 / 4, 0, 3 / 4]
    assert [found and found.clips for found in rights] == [4, 4, 4, 4]
    assert one.decisions == [[1, 2], [2, 3]]
    assert made.between_seeds == {}
    assert "y decides differently from x on .500" in made.summary()


def test_shares_are_those_of_a_plain_loop_and_kappa_scikit_learns(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    labels = [["a", "b", "c"][n % 3] for n in range(60)]
    first, other = (
        np.where(random.random(60) < 0.6, labels, random.choice(["a", "b", "c"], 60)).tolist() for _ in "12"
    )
    written(tmp_path, "x", labels, first)
    written(tmp_path, "y", labels, other)
    (one,) = decide(tmp_path, "x", "y").others
    assert one.differ.value == pytest.approx(sum(a != b for a, b in zip(first, other, strict=True)) / 60)
    for name, found in one.by_class.items():
        own = [place for place, label in enumerate(labels) if label == name]
        assert found.value == pytest.approx(sum(first[n] != other[n] for n in own) / len(own))
    apart = [n for n in range(60) if first[n] != other[n]]
    assert one.first_right is not None
    assert one.first_right.value == pytest.approx(sum(first[n] == labels[n] for n in apart) / len(apart))
    assert one.kappa is not None
    assert one.kappa.value == pytest.approx(cohen_kappa_score(first, other))
    assert 1 - (1 - one.differ.value - one.kappa.value) / (1 - one.kappa.value) == pytest.approx(one.by_chance)


def test_intervals_leave_one_speaker_out(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    labels = [["a", "b"][n // 2 % 2] for n in range(40)]
    first, other = (np.where(random.random(40) < 0.7, labels, random.choice(["a", "b"], 40)) for _ in "12")
    written(tmp_path, "x", labels, first.tolist())
    written(tmp_path, "y", labels, other.tolist())
    (one,) = decide(tmp_path, "x", "y").others
    left_out = [np.delete(np.arange(40), [2 * n, 2 * n + 1]) for n in range(20)]
    # Shares on the scale of the logit, kappa on that of Fisher's z.
    shares = np.array([np.mean(first[kept] != other[kept]) for kept in left_out])
    check(one.differ, np.log(shares / (1 - shares)), lambda z: 1 / (1 + np.exp(-z)), lambda p: np.log(p / (1 - p)))
    kappas = np.array([cohen_kappa_score(first[kept], other[kept]) for kept in left_out])
    assert one.kappa is not None
    check(one.kappa, np.arctanh(kappas), np.tanh, np.arctanh)


def check(found: Measured, deleted: np.ndarray, back: Any, forth: Any) -> None:
    groups = len(deleted)
    error = np.sqrt((groups - 1) / groups * ((deleted - deleted.mean()) ** 2).sum())
    reach = student.ppf(0.975, groups - 1) * error
    middle = forth(found.value)
    assert found.low == pytest.approx(back(middle - reach))
    assert found.high == pytest.approx(back(middle + reach))


def test_systems_that_always_agree_have_no_right_or_wrong_side(tmp_path: Path) -> None:
    labels = ["a", "b"] * 4
    for name in "xy":
        written(tmp_path, name, labels, ["a", "b", "b", "a"] * 2)
    (one,) = decide(tmp_path, "x", "y").others
    assert (one.differ.value, one.differ.low) == (0, 0)
    assert (one.first_right, one.other_right, one.neither_right) == (None, None, None)
    assert one.kappa == Measured(1, None, None, 8)
    assert one.right_where_agreed is not None
    assert one.right_where_agreed.value == 0.5


def test_systems_that_decide_for_one_class_have_no_kappa(tmp_path: Path) -> None:
    for name in "xy":
        written(tmp_path, name, ["a", "b"] * 4, ["a"] * 8)
    made = decide(tmp_path, "x", "y")
    assert made.others[0].kappa is None
    assert made.others[0].by_chance == 0
    assert "kappa unknown" in made.summary()


def test_seeds_are_averaged_and_compared_with_each_other(tmp_path: Path) -> None:
    labels = ["a", "b"] * 4
    right, wrong = labels, ["b", "a"] * 4
    half = labels[:4] + wrong[4:]
    for seed, (first, other) in enumerate([(right, half), (right, wrong)]):
        written(tmp_path, "x", labels, first, seed=seed)
        written(tmp_path, "y", labels, other, seed=seed)
    written(tmp_path, "y", labels, right, seed=7)
    made = decide(tmp_path, "x", "y")
    assert made.seeds == [0, 1]
    assert made.others[0].differ.value == pytest.approx((0.5 + 1) / 2)
    assert made.others[0].differ.clips == 8
    assert made.between_seeds == {"x": 0, "y": 0.5}
    assert "A system differs from itself under another seed on: x .000, y .500." in made.summary()


def test_the_first_is_compared_with_each_of_the_others(tmp_path: Path) -> None:
    labels = ["a", "b"] * 4
    for name, predicted in {"x": labels, "y": ["b", "a"] * 4, "z": ["a"] * 8}.items():
        written(tmp_path, name, labels, predicted)
    made = decide(tmp_path, "z", "x", "y")
    assert [(one.system, one.differ.value) for one in made.others] == [("x", 0.5), ("y", 0.5)]
    assert [len(table.rows) for table in made.tables()] == [2, 2, 4]


def test_one_unit_has_no_interval() -> None:
    found = share([(np.array([True, False, False, True]), np.zeros(4, dtype=np.int64))])
    assert found == Measured(0.5, None, None, 4)
    assert share([(np.zeros(0, dtype=bool), np.zeros(0, dtype=np.int64))]) is None


def test_what_is_written_is_read(tmp_path: Path) -> None:
    labels = ["a", "b"] * 4
    for name in "xy":
        written(tmp_path, name, labels, ["a", "b", "b", "a"] * 2)
    made = decide(tmp_path, "x", "y")
    path = tmp_path / "x.decisions.json"
    write_analysis(path, made)
    assert read_as(Decisions, path) == made
    write_analysis(path, replace(made, classes=["a", "b", "c"], clips=made.clips | {"c": 0}))
    with pytest.raises(UserError, match="decisions are not classes by classes"):
        read_as(Decisions, path)


@pytest.mark.parametrize(
    ("systems", "settings", "said"),
    [
        (["y"], {}, "--systems must name at least 2, but names y"),
        (["y", "y, linear"], {}, "--systems must name at least 2"),
        (["x", "q"], {}, "--systems x, q: not all in one table; there are: x, linear . y, linear . x, svm"),
        (["x, svm", "z"], {}, "not all in one table"),
        (["x", "y"], {}, r"--systems x: it has several heads; give one of x, linear \| x, svm, in quotes"),
        (["x, svm", "y"], {"protocol": "nowhere"}, "no scores with --corpus .any. and --protocol nowhere; there are"),
        (["z", "w"], {}, "in 2 tables, whose numbers are not comparable; choose one by --corpus or --protocol"),
        (["s", "y"], {}, r"no seed in common, so their folds differ \(s, linear: 5; y, linear: 0\)"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    tmp_path: Path, systems: list[str], settings: dict[str, Any], said: str
) -> None:
    labels = ["a", "b"] * 4
    for name in "xy":
        written(tmp_path, name, labels, labels)
    written(tmp_path, "x", labels, labels, probe="svm")
    written(tmp_path, "s", labels, labels, seed=5)
    for corpus in ("here", "there"):
        for name in "zw":
            written(tmp_path, name, labels, labels, corpus=corpus)
    with pytest.raises(UserError, match=said):
        decide(tmp_path, *systems, **settings)


def test_a_table_is_chosen_by_corpus(tmp_path: Path) -> None:
    labels = ["a", "b"] * 4
    for corpus in ("here", "there"):
        for name in "zw":
            written(tmp_path, name, labels, labels, corpus=corpus)
    assert decide(tmp_path, "z", "w", corpus="there").corpus == "there"
