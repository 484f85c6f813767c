"""Charts of scores, against values computed by hand."""

import numpy as np
import pytest

from nonverbal.evaluation.results import Estimate
from nonverbal.report.drawing import Area, Box, Dot, Drawing, Line, Words
from nonverbal.report.score_charts import (
    Lane,
    calibration_chart,
    confusion_chart,
    folds_chart,
    layers_chart,
    recalls_chart,
    weights_chart,
)


def dots(drawing: Drawing) -> list[Dot]:
    return [mark for mark in drawing.marks if isinstance(mark, Dot)]


def texts(drawing: Drawing) -> list[str]:
    return [mark.text for mark in drawing.marks if isinstance(mark, Words)]


def test_every_fold_has_its_dot_and_the_whole_its_interval() -> None:
    lanes = [Lane("m", Estimate(0.5, 0.25, 0.75), [0.0, 0.5, 1.0]), Lane("n", Estimate(0.25, None, None), [0.25])]
    drawing = folds_chart("x", "UAR", lanes, 0.5)
    ends = [dots(drawing)[0].x, dots(drawing)[2].x]
    width = ends[1] - ends[0]
    shares = [(dot.x - ends[0]) / width for dot in dots(drawing)]
    assert shares == pytest.approx([0, 0.5, 1, 0.5, 0.25, 0.25])
    (interval,) = [mark for mark in drawing.marks if isinstance(mark, Line) and mark.width == 2.2]
    assert [(x - ends[0]) / width for x, _ in interval.points] == pytest.approx([0.25, 0.75])
    assert ".500  [.250, .750]" in texts(drawing)
    assert "n .250" in drawing.description


def test_rates_above_one_are_not_cut() -> None:
    drawing = folds_chart("x", "WER", [Lane("m", Estimate(1.5, 1.0, 2.0), [2.5])], None)
    assert max(dot.x for dot in dots(drawing)) < drawing.width
    assert "chance" not in " ".join(texts(drawing))


def test_confusions_are_shaded_by_row() -> None:
    drawing = confusion_chart("x", "m", ["a", "b"], np.array([[3, 1], [0, 0]]))
    boxes = [mark for mark in drawing.marks if isinstance(mark, Box)]
    assert [box.title for box in boxes] == [
        "true class a, predicted class a: 3 clips, 75%",
        "true class a, predicted class b: 1 clips, 25%",
        "true class b, predicted class a: 0 clips, 0%",
        "true class b, predicted class b: 0 clips, 0%",
    ]
    assert [box.opacity for box in boxes] == pytest.approx([0.06 + 0.9 * share for share in (0.75, 0.25, 0, 0)])


def test_a_class_without_clips_has_no_recall() -> None:
    drawing = recalls_chart("x", ["a", "b"], {"m": [0.5, float("nan")], "n": [1.0, 0.0]})
    assert [mark.title for mark in drawing.marks if isinstance(mark, Box)] == [
        "m: recall of a .500",
        "n: recall of a 1.000",
        "n: recall of b .000",
    ]
    assert "nan" not in drawing.description


def test_layers_say_how_often_each_was_chosen() -> None:
    inner = np.array([[0.2, 0.6, 0.4], [0.4, 0.8, 0.2], [0.3, 0.4, 0.9]])
    drawing = layers_chart("x", "m", inner, [1, 1, 2], 0.5, "series0")
    assert [dot.title.partition(",")[0] for dot in dots(drawing)] == [
        "layer 1: chosen in 2 of 3 folds",
        "layer 2: chosen in 1 of 3 folds",
    ]
    assert {"2×", "1×"} <= set(texts(drawing))
    assert ".300, .600, .500. Chosen" in drawing.description
    (area,) = [mark for mark in drawing.marks if isinstance(mark, Area)]
    assert len(area.points) == 6


def test_weights_are_means_over_folds() -> None:
    drawing = weights_chart("x", "m", np.array([[0.2, 0.8], [0.4, 0.6]]), "series0")
    low, high = [mark for mark in drawing.marks if isinstance(mark, Box)]
    assert high.height / low.height == pytest.approx(0.7 / 0.3)
    assert len(dots(drawing)) == 4


def test_weights_are_of_the_layers_that_they_say() -> None:
    drawing = weights_chart("x", "m", np.array([[0.2, 0.8]]), "series0", first=1)
    boxes = [mark for mark in drawing.marks if isinstance(mark, Box)]
    assert [box.title for box in boxes] == ["layer 1: mean weight .200", "layer 2: mean weight .800"]
    assert {"1", "2"} <= set(texts(drawing))
    assert "layers 1 to 2" in drawing.description


def test_calibrated_probabilities_lie_on_the_diagonal() -> None:
    said = np.array([0.25, 0.75])
    drawing = calibration_chart("x", "m", (np.array([0.2, 0.8]), said, said), 0.0, "series0")
    (diagonal,) = [mark for mark in drawing.marks if isinstance(mark, Line) and mark.dashes]
    (x0, y0), (x1, y1) = diagonal.points
    for dot in dots(drawing):
        assert (dot.x - x0) / (x1 - x0) == pytest.approx((dot.y - y0) / (y1 - y0))
    assert dots(drawing)[1].radius > dots(drawing)[0].radius
