from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from labelled_tones import tones

from nonverbal.data.index import ShardFolder
from nonverbal.errors import UserError
from nonverbal.evaluation.bias import CELLS, HONEST, bias_tables, bias_tasks, measure_bias
from nonverbal.evaluation.probing import compare
from nonverbal.tasks.protocols import NAMED, Protocol
from nonverbal.tasks.scores import Score, read_scores, summarise
from nonverbal.tasks.task import Task, task_of

Make = Callable[..., ShardFolder]


def test_the_four_ways_share_clips_folds_and_training(labelled_shards: Make) -> None:
    shards = labelled_shards(tones(12))
    task = task_of(shards, [], Protocol(4, refit=False))
    tasks = bias_tasks(task)
    assert list(tasks) == list(CELLS)
    assert [own.protocol for own in tasks.values()] == [
        "random 4-fold, stratified, chosen on the test fold",
        "random 4-fold, stratified",
        "speaker-disjoint 4-fold, stratified, chosen on the test fold",
        "speaker-disjoint 4-fold, stratified",
    ]
    assert all(own.division.protocol.refit for own in tasks.values())
    assert all([len(fold.test) for fold in own.folds[0]] == [12] * 4 for own in tasks.values())
    left_out = bias_tasks(task_of(shards, [], Protocol("leave-one-out")))
    assert [len(own.folds[0]) for own in left_out.values()] == [12] * 4
    assert bias_tasks(task_of(shards, [], NAMED["reno"].protocol))[HONEST].protocol == (
        "speaker-disjoint 5-fold, stratified"
    )
    with pytest.raises(UserError, match="hold-out has no folds: give --folds 5"):
        bias_tasks(task_of(shards, [], Protocol("hold-out")))


def test_the_bias_is_what_speakers_and_choices_add(
    labelled_shards: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Embeddings that know the speaker alone, where each makes one class: random folds see what is not there."""
    random = np.random.default_rng(0)
    sounds = tones(16)[:-1]
    favourite = random.integers(0, 2, 16)
    sounds = [(["high", "low"][int(favourite[row // 4])], *rest) for row, (_, *rest) in enumerate(sounds)]
    task = task_of(labelled_shards(sounds), [], Protocol(4))
    people = 3 * random.standard_normal((16, 3, 40))
    features = np.stack([people[int(str(clip.speaker)[1:])] for clip in task.clips])
    features += 0.3 * random.standard_normal(features.shape)
    monkeypatch.setattr("nonverbal.evaluation.features.embed", lambda *_: features.astype(np.float32))
    out = tmp_path / "out"

    def score(task: Task) -> list[Score]:
        return compare(task, ["logmel"], [], tmp_path, out)

    (bias,) = measure_bias(bias_tasks(task), score, out / "scores.jsonl")
    uar = {cell: found.value for cell, found in bias.uar.items()}
    assert uar[False, "inner"] > 0.7
    assert uar[True, "inner"] < 0.6
    difference = bias.differences["total"]
    assert difference.value == pytest.approx(uar[False, "test"] - uar[True, "inner"])
    assert difference.low < difference.value < difference.high
    assert difference.groups == 16
    assert difference.low > 0
    assert bias.differences["chosen on the test fold"].value == pytest.approx(uar[True, "test"] - uar[True, "inner"])
    assert bias.as_row()["uar"]["none/test"]["value"] == uar[False, "test"]
    ways, differences = bias_tables([bias], "made")
    assert [row[1] for row in ways.rows] == ["random folds", "speaker-disjoint folds"]
    assert [row[1] for row in differences.rows] == list(bias.differences)
    # The scores of all four are kept, and share no column.
    scores = read_scores(out / "scores.jsonl")
    assert len({row.protocol for row in scores}) == 4
    with pytest.raises(ValueError, match="of one protocol"):
        summarise(scores)
