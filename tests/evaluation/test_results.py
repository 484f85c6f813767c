from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scored import write_scored

from nonverbal.errors import UserError
from nonverbal.evaluation.results import TaskResult, comparisons, rankings, recalls, results
from nonverbal.tasks.measurements import read_measurements
from nonverbal.tasks.statistics.comparisons import swap_test
from nonverbal.tasks.statistics.confusions import confusion_counts
from nonverbal.tasks.statistics.intervals import bootstrap, jackknife_t


def drawn(seed: int, classes: str = "abc", clips: int = 60, groups: int = 12) -> dict[str, Any]:
    """Decisions that are right half of the time, by speakers that are groups, in three folds."""
    random = np.random.default_rng(seed)
    labels = np.array(list(classes))[np.arange(clips) % len(classes)]
    guesses = random.choice(list(classes), clips)
    speakers = [f"s{clip * groups // clips}" for clip in range(clips)]
    return {
        "labels": labels.tolist(),
        "predicted": np.where(random.random(clips) < 0.5, labels, guesses).tolist(),
        "folds": [str(int(speaker[1:]) % 3) for speaker in speakers],
        "groups": speakers,
        "speakers": speakers,
    }


def read(folder: Path, percentile: bool = False) -> list[TaskResult]:
    return results(read_measurements([folder]), percentile)


def test_numbers_are_those_of_scikit_learn(tmp_path: Path) -> None:
    from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, recall_score

    clips = drawn(0) | {"classes": list("abcd")}
    clips["predicted"][0] = "d"  # predicted, and never true
    write_scored(tmp_path, "m", **clips)
    ((model,),) = (task.models for task in read(tmp_path))
    labels, predicted = clips["labels"], clips["predicted"]
    found = {name: estimate.value for name, estimate in model.pooled.items()}
    assert found == pytest.approx(
        {
            "uar": balanced_accuracy_score(labels, predicted),
            "accuracy": accuracy_score(labels, predicted),
            "f1_true": f1_score(labels, predicted, labels=list("abc"), average="macro"),
            "f1_seen": f1_score(labels, predicted, average="macro"),
        }
    )
    assert found["f1_seen"] < found["f1_true"]
    by_fold = [
        f1_score(
            *([column[i] for i in range(60) if clips["folds"][i] == fold] for column in (labels, predicted)),
            average="macro",
        )
        for fold in "012"
    ]
    assert (model.fold_mean["f1_seen"], model.fold_std["f1_seen"]) == pytest.approx((np.mean(by_fold), np.std(by_fold)))
    expected = recall_score(labels, predicted, labels=list("abc"), average=None)
    by_class = recalls(model)
    assert [by_class[name].value for name in "abc"] == pytest.approx(expected)
    assert np.isnan(by_class["d"].value)


def test_probabilities_are_judged_as_scikit_learn_does(tmp_path: Path) -> None:
    from sklearn.metrics import brier_score_loss, roc_auc_score

    clips, random = drawn(1, "ab"), np.random.default_rng(1)
    values = random.dirichlet([1, 1], 60)
    write_scored(tmp_path, "probabilities", **clips, values=values)
    write_scored(tmp_path, "decisions", **clips, values=4 * values - 1, gives="decision_values")
    write_scored(tmp_path, "none", **clips)
    first, second, third = read(tmp_path)[0].models
    auc = roc_auc_score(clips["labels"], values[:, 1])
    brier = 2 * brier_score_loss([label == "b" for label in clips["labels"]], values[:, 1])
    assert first.probabilities["auc"] == pytest.approx(auc)
    assert first.probabilities["brier"] == pytest.approx(brier)
    assert 0 < first.probabilities["calibration_error"] < 1
    assert second.probabilities == pytest.approx({"auc": auc})
    assert third.probabilities == {}


def test_intervals_are_over_speakers(tmp_path: Path) -> None:
    """Under folds that divide speakers too, and where one older file does not know them."""
    clips = drawn(2)
    numbers = [f"c{clip}" for clip in range(60)]
    write_scored(tmp_path, "older", **clips | {"groups": numbers, "speakers": None})
    write_scored(tmp_path, "newer", **clips | {"groups": numbers})
    (task,) = read(tmp_path)
    assert (task.units, task.unit) == (12, "speakers")
    counts = confusion_counts(clips["labels"], clips["predicted"], clips["speakers"], list("abc"))
    expected = jackknife_t(counts)
    for model in task.models:
        assert model.pooled["uar"] == pytest.approx((expected.value, expected.low, expected.high))
    percentile = bootstrap(counts)
    assert read(tmp_path, True)[0].models[0].pooled["uar"] == pytest.approx(
        (percentile.value, percentile.low, percentile.high), abs=0.01
    )


@pytest.mark.parametrize(
    ("groups", "speakers", "units", "unit"),
    [
        (list("aabbcc"), None, 3, "groups"),
        (list("123456"), None, 6, "clips"),
        (list("aabbcc"), list("stuvwx"), 3, "groups"),  # sessions of two speakers
        (list("123456"), [*"sstt", None, None], 4, "groups"),
        (list("123456"), [None] * 6, 6, "recordings"),
        (list("aabbcc"), list("ssttuu"), 3, "speakers"),
    ],
)
def test_what_a_unit_is(
    tmp_path: Path, groups: list[str], speakers: list[str | None] | None, units: int, unit: str
) -> None:
    write_scored(tmp_path, "m", list("ababab"), list("abbbab"), list("000111"), groups, speakers)
    (task,) = read(tmp_path)
    assert (task.units, task.unit) == (units, unit)


def test_seeds_are_averaged_within_a_unit(tmp_path: Path) -> None:
    clips = [drawn(3), drawn(3) | {"predicted": drawn(4)["predicted"]}]
    for seed, own in enumerate(clips):
        write_scored(tmp_path, "m", **own, seed=seed)
    ((model,),) = (task.models for task in read(tmp_path))
    counts = np.stack([confusion_counts(own["labels"], own["predicted"], own["groups"], list("abc")) for own in clips])
    expected = jackknife_t(counts)
    assert model.counts.shape == (2, 12, 3, 3)
    assert model.pooled["uar"] == pytest.approx((expected.value, expected.low, expected.high))
    assert model.folds == 6


def test_hold_outs_of_several_seeds_test_different_clips(tmp_path: Path) -> None:
    """Each seed's predictions have clips of their own; those of other models must be the same by seed."""
    whole, half = drawn(5), {name: column[:30] for name, column in drawn(5).items()}
    for name in "mn":
        write_scored(tmp_path / "x", name, **whole, seed=0)
        write_scored(tmp_path / "x", name, **half, seed=1)
    (task,) = read(tmp_path / "x")
    assert task.models[0].counts.sum((1, 2, 3)).tolist() == [60, 30]
    write_scored(tmp_path / "x", "other", **whole, seed=1)
    with pytest.raises(UserError, match=r"other.*jsonl and .*m-.*jsonl are of one task .* different clips"):
        read(tmp_path / "x")


def test_one_unit_alone_has_no_interval(tmp_path: Path) -> None:
    write_scored(tmp_path, "m", list("abab"), list("abba"), list("0011"), list("ssss"))
    write_scored(tmp_path, "n", list("abab"), list("abab"), list("0011"), list("ssss"))
    (task,) = read(tmp_path)
    assert task.models[0].pooled["uar"] == (0.5, None, None)
    assert comparisons(task) == []


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (list("abbb"), "clip c2 has a different label"),
        (list("ababa"), "clip c4 is not among"),
        (list("aba"), "different clips"),
    ],
)
def test_models_on_other_clips_share_no_table(tmp_path: Path, labels: list[str], message: str) -> None:
    for name, own in (("m", list("abab")), ("other", labels)):
        write_scored(tmp_path, name, own, own, ["0", "0", "1", "1", "1"][: len(own)], list("stuvw")[: len(own)])
    with pytest.raises(UserError, match=f"predictions/other.*{message}"):
        read(tmp_path)


def test_numbers_of_two_protocols_share_no_table(tmp_path: Path) -> None:
    write_scored(tmp_path, "m", **drawn(6), probe="svm")
    for changes in ({}, {"protocol": "q"}, {"corpus": "d"}, {"merged": {"x": "a"}}):
        write_scored(tmp_path, "m", **drawn(6), **changes)
    write_scored(tmp_path / "with other clips", "m", **drawn(6), data_sha256="other")
    tasks = read(tmp_path)
    assert [len(task.models) for task in tasks] == [2, 1, 1, 1, 1]
    assert [tasks[0].name(model) for model in tasks[0].models] == ["m, svm", "m, linear"]


def test_models_are_compared(tmp_path: Path) -> None:
    for seed, name in enumerate("xyz"):
        write_scored(tmp_path, name, **drawn(0) | {"predicted": drawn(seed)["predicted"]})
    (task,) = read(tmp_path)
    family = comparisons(task)
    assert [(one.first, one.second) for one in family] == [("x", "y"), ("x", "z"), ("y", "z")]
    first, second, _ = task.models
    assert family[0].p == swap_test(first.counts, second.counts)
    assert family[0].difference.value == pytest.approx(first.pooled["uar"].value - second.pooled["uar"].value)
    against = comparisons(task, "y")
    assert [(one.first, one.second) for one in against] == [("x", "y"), ("z", "y")]
    assert against[0].p == family[0].p
    assert against[0].p_holm <= family[0].p_holm


def test_models_are_ranked_over_corpora(tmp_path: Path) -> None:
    for number in range(6):
        for place, name in enumerate("xyz"):
            clips = drawn(number)
            clips["predicted"] = [*clips["labels"][: 60 - 10 * place], *"a" * 10 * place]
            write_scored(tmp_path, name, **clips, corpus=f"corpus {number}")
    write_scored(tmp_path, "alone", **drawn(0), corpus="corpus 0")
    tasks = read(tmp_path)
    (ranking,) = rankings(tasks)
    assert (ranking.models, ranking.ranks.tolist()) == (["x", "y", "z"], [1, 2, 3])
    assert ranking.uar.shape == (6, 3)
    assert ranking.friedman is not None
    assert ranking.friedman[0] == pytest.approx(12)
    assert rankings(tasks[:5])[0].friedman is None
    assert rankings(tasks[:1]) == []
