"""Heads that read something else than the logistic probe, scored as it is."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from labelled_tones import tones

from nonverbal.data.index import ShardFolder
from nonverbal.evaluation.cross_validation import cross_validate
from nonverbal.evaluation.frame_rows import FrameRows
from nonverbal.evaluation.heads.fcn import Fcn
from nonverbal.evaluation.heads.nonlinear import Nonlinear
from nonverbal.evaluation.probing import compare
from nonverbal.tasks.folds import group_folds
from nonverbal.tasks.scores import Score
from nonverbal.tasks.task import make_task

Make = Callable[..., ShardFolder]


def scored(shards: ShardFolder, folder: Path, encoder: str, head: str, null: int = 0) -> list[Score]:
    task = make_task(shards, [], "speaker", 3, [0])
    return compare(task, [encoder], [], folder / "cache", folder / "out", head=head, null=null)


def test_a_head_on_frames_reads_all_layers_of_an_encoder(
    labelled_shards: Make, encoder_folder: Path, tmp_path: Path
) -> None:
    shards = labelled_shards(tones())
    scores = scored(shards, tmp_path, f"initialised:{encoder_folder}", "multilayer:epochs=2,width=8", null=2)
    assert {score.probe for score in scores} == {"multilayer:epochs=2,width=8"}
    assert all(len(score.details["layer_weights"]) == 2 for score in scores)
    assert all(score.details["parameters"] == 16 * 8 + 8 + 3 * 72 + 8 * 2 + 2 + 2 for score in scores)
    assert all(score.null["draws"] == 2 for score in scores)


def test_what_has_one_frame_is_read_whole_by_heads_on_means_and_on_frames(
    labelled_shards: Make, tmp_path: Path
) -> None:
    shards = labelled_shards(tones())
    for name in ("duration", "loudness"):
        (score, *_) = scored(shards, tmp_path, name, "mlp:epochs=1,width=8")
        dim = (score.details["parameters"] - 8 - 8 * 2 - 2) // 8
        (score, *_) = scored(shards, tmp_path, name, "nonlinear:epochs=1,width=8")
        assert score.details["parameters"] == dim * 8 + 8 + 3 * 72 + 8 * 2 + 2
        assert dim >= 1


def test_values_of_one_frame_are_not_halved() -> None:
    random = np.random.default_rng(0)
    labels, groups = ["a", "b"] * 30, [f"s{row // 6}" for row in range(60)]
    features = random.standard_normal((60, 1, 8)).astype(np.float32)
    features[:, 0, 7] += 6 * (np.arange(60) % 2)
    folds = group_folds(labels, groups, 3, 0)

    def uar(one_frame: bool) -> float:
        results = cross_validate(Fcn(), features, labels, groups, folds, 0, one_frame=one_frame)
        return float(np.mean([result.metrics["uar"] for result in results]))

    assert uar(True) > 0.9
    assert uar(False) < 0.75


def test_frames_are_selected_as_rows_of_an_array_are() -> None:
    kept = {clip: np.full((1, clip + 1, 2), clip, np.float16) for clip in range(9)}
    rows = FrameRows(kept, np.array([8, 3, 5, 1]))
    assert len(rows) == 4
    assert [int(frames[0, 0, 0]) for frames in rows] == [8, 3, 5, 1]
    assert [int(frames[0, 0, 0]) for frames in rows[np.array([2, 0])][np.array([1, 1, 0])]] == [8, 8, 5]
    assert rows[1].shape == (1, 4, 2)


def test_frames_in_their_order_are_cross_validated() -> None:
    random = np.random.default_rng(0)
    kept = {clip: random.standard_normal((1, 3, 4)).astype(np.float16) for clip in range(60)}
    for clip, frames in kept.items():
        frames[0, :, clip % 2] += 4
    order = random.permutation(60)
    labels, groups = [f"{clip % 2}" for clip in order], [f"s{clip // 6}" for clip in order]
    folds = group_folds(labels, groups, 3, 0)
    head = Nonlinear(width=32, rate=5e-3, batch=8, epochs=10)
    results = list(cross_validate(head, FrameRows(kept, order), labels, groups, folds, 0))
    assert np.mean([result.metrics["uar"] for result in results]) > 0.9
