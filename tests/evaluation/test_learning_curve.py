from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from labelled_tones import tones

from nonverbal.data.index import ShardFolder
from nonverbal.errors import UserError
from nonverbal.evaluation.learning_curve import curve_table, curve_tasks, learning_curve, plot_curve
from nonverbal.evaluation.probing import compare
from nonverbal.tasks.protocols import Protocol
from nonverbal.tasks.scores import Score, read_scores
from nonverbal.tasks.task import Task, task_of


def test_more_clips_teach_more(
    labelled_shards: Callable[..., ShardFolder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = task_of(labelled_shards(tones(12, takes=4)[:-1]), [], Protocol(3, seeds=(0, 1)))
    random = np.random.default_rng(0)
    features = random.standard_normal((len(task.clips), 2, 12))
    features[:, 1, 0] += 2.0 * np.array([label == "high" for label in task.labels])
    monkeypatch.setattr("nonverbal.evaluation.features.embed", lambda *_: features.astype(np.float32))
    out = tmp_path / "out"
    file = out / "scores.jsonl"

    def score(task: Task) -> list[Score]:
        return compare(task, ["logmel"], [], tmp_path, out)

    points = learning_curve(task, curve_tasks(task, [8, 1, 2, 8]), score, score(task), file)
    assert [point.per_class for point in points] == [1, 2, 8, None]
    assert [point.clips for point in points] == [2, 4, 16, 64]
    assert [point.chosen for point in points][::3] == [0, 6]
    assert points[0].mean < points[-1].mean
    assert points[-1].mean > 0.75
    for point in points:
        own = [row for row in read_scores(file) if row.train_clips == point.clips]
        assert len(own) == point.folds == 6
        assert point.mean == pytest.approx(np.mean([row.metrics["uar"] for row in own]))
        assert point.std == pytest.approx(np.std([row.metrics["uar"] for row in own]))
        assert {row.protocol.partition(", stratified")[2] for row in own} == {
            {1: ", 1 training clip a class", None: ""}.get(
                point.per_class, f", {point.per_class} training clips a class"
            )
        }
    table = curve_table(points, "made")
    assert [row[1:3] for row in table.rows] == [["1", "2"], ["2", "4"], ["8", "16"], ["all", "64"]]
    assert any("nothing is chosen" in note for note in table.notes)
    assert points[0].as_row()["low"] == points[0].uar.low
    drawn = []
    monkeypatch.setattr("nonverbal.evaluation.learning_curve.save", lambda canvas, _: drawn.append(canvas.axes[0]))
    plot_curve(points, ["a $title", "and more"], 0.5, tmp_path / "curve.png")
    line, chance = drawn[0].get_lines()
    np.testing.assert_allclose(line.get_xdata(), [1, 2, 8, 32])
    np.testing.assert_allclose(line.get_ydata(), [point.mean for point in points])
    assert chance.get_ydata()[0] == 0.5


def test_a_curve_is_drawn_to_a_file(tmp_path: Path) -> None:
    from nonverbal.evaluation.learning_curve import Point
    from nonverbal.evaluation.results import Estimate

    points = [Point("m", "linear", n, 2 * (n or 30), Estimate(0.6, None, None), 0.6, 0.1, 3, 3) for n in (1, 10, None)]
    plot_curve(points, ["title"], 0.5, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_sizes_below_one_are_refused(labelled_shards: Callable[..., ShardFolder]) -> None:
    task = task_of(labelled_shards(tones()), [], Protocol(3))
    with pytest.raises(UserError, match="clips per class must be at least 1"):
        curve_tasks(task, [0])
