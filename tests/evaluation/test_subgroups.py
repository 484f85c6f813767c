from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from divided import clip

from nonverbal.errors import UserError
from nonverbal.evaluation.subgroups import NOT_STATED, subgroups, subgroups_table, values_of
from nonverbal.tasks.measurements import Measurement
from nonverbal.tasks.predictions import Predictions
from nonverbal.tasks.scores import Score

CLIPS = [
    replace(
        clip(row, speaker=f"s{row // 4}", corpus="xy"[row % 2]),
        attributes={"sex": ["female", "male"][row // 4 % 2], "age": 20 + row} if row < 20 else {},
    )
    for row in range(24)
]
LABELS = np.arange(24) // 2 % 2
"""Each speaker has two clips of each class."""


def _measurement(predicted: np.ndarray, model: str = "m", seed: int = 0, kept: int = 24) -> Measurement:
    """Of the first clips, in the order of their ids."""
    order = sorted(range(kept), key=lambda row: CLIPS[row].id)
    metrics = {"uar": 0.5, "accuracy": 0.5, "f1": 0.5}
    score = Score(
        model, "k", "c", "sha", ["a", "b"], "p", "linear", seed, "0", metrics, {}, 1, kept, 2, "held out", "f"
    )
    groups = [str(CLIPS[row].speaker) for row in order]
    own = Predictions(
        path=None,  # type: ignore[arg-type]
        clips=[CLIPS[row].id for row in order],
        labels=LABELS[order],
        predicted=predicted[order],
        folds=np.array(["0"] * kept),
        groups=groups,
        speakers=list(groups),
        recordings=[CLIPS[row].recording for row in order],
        gives=None,
        values=None,
    )
    return Measurement([score], Path("scores.jsonl"), own)


def test_subgroups_by_hand() -> None:
    predicted = LABELS.copy()
    predicted[[4, 5]] = 1  # both clips of class a of speaker 1, a man
    predicted[0] = 1  # one of speaker 0, a woman
    rows = subgroups([_measurement(predicted)], CLIPS, "sex")
    assert [(row.value, row.clips, row.units, row.classes) for row in rows] == [
        ("female", 12, 3, 2),
        ("male", 8, 2, 2),
        (NOT_STATED, 4, 1, 2),
    ]
    assert [row.uar.value for row in rows] == pytest.approx([(5 / 6 + 1) / 2, (2 / 4 + 1) / 2, 1])
    assert [row.accuracy.value for row in rows] == pytest.approx([11 / 12, 6 / 8, 1])
    assert rows[1].uar.low is not None
    assert rows[1].uar.low < 0.75 < rows[1].uar.high  # type: ignore[operator]
    assert rows[2].uar.low is None
    table = subgroups_table(rows, "sex", "title")
    assert table.columns[:5] == ["model", "sex", "clips", "groups", "classes"]
    assert table.rows[2] == ["m", NOT_STATED, "4", "1", "2", "1.000", "-", "1.000", "-"]


def test_subgroups_of_all_clips_are_the_whole() -> None:
    random = np.random.default_rng(0)
    seeds = [_measurement(random.integers(0, 2, 24), seed=seed) for seed in (0, 1)]
    others = [_measurement(random.integers(0, 2, 24), "n", seed=seed) for seed in (0, 1)]
    rows = subgroups([*seeds, *others], CLIPS, "corpus")
    assert [(row.model, row.value, row.clips) for row in rows] == [
        (model, corpus, 12) for model in "mn" for corpus in "xy"
    ]
    for model, own in (("m", seeds), ("n", others)):
        right = np.mean([m.predictions.labels == m.predictions.predicted for m in own])
        assert np.mean([row.accuracy.value for row in rows if row.model == model]) == pytest.approx(right)


def test_a_seed_that_tests_none_of_a_subgroup_counts_nothing() -> None:
    """Hold-outs of several seeds test other clips; the second has none of the last speaker."""
    predicted = LABELS.copy()
    rows = subgroups([_measurement(predicted), _measurement(predicted, seed=1, kept=20)], CLIPS, "sex")
    assert rows[2].uar.value == 1


def test_numbers_of_many_values_are_cut_at_quartiles() -> None:
    assert sorted(set(values_of(CLIPS, "age"))) == [
        "20 to 24.75",
        "24.75 to 29.5",
        "29.5 to 34.25",
        "34.25 to 39",
        NOT_STATED,
    ]
    few = [replace(one, attributes={"take": row % 3}) for row, one in enumerate(CLIPS)]
    assert set(values_of(few, "take")) == {"0", "1", "2"}
    tens = [replace(one, attributes={"take": 10 * (row % 3 + 8)}) for row, one in enumerate(CLIPS)]
    assert [row.value for row in subgroups([_measurement(LABELS)], tens, "take")] == ["80", "90", "100"]


def test_what_no_clip_says_is_refused() -> None:
    with pytest.raises(
        UserError, match="no clip has the attribute accent; --by takes attributes that clips have: age, sex, corpus, "
    ):
        values_of(CLIPS, "accent")
