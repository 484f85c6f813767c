"""Lists of clips, of decisions made by hand."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nonverbal.report.clips import SHOWN, disputed, wrong_for_all
from nonverbal.tasks.predictions import Predictions

CLASSES = ["a", "b"]


def decided(labels: Sequence[int], predicted: Sequence[int], values: np.ndarray | None = None) -> Predictions:
    clips = [f"c{number:03}" for number in range(len(labels))]
    unknown = [None] * len(clips)
    gives = None if values is None else "probabilities"
    arrays = np.array(labels), np.array(predicted), np.array(["0"] * len(clips))
    return Predictions(Path("x"), clips, *arrays, clips, unknown, unknown, gives, values)


def test_clips_that_all_get_wrong_come_with_the_surest_error_first() -> None:
    labels = [0, 0, 1, 1]
    values = np.array([[0.4, 0.6], [0.1, 0.9], [0.2, 0.8], [0.7, 0.3]])
    models = {"m": decided(labels, [1, 1, 1, 0], values), "n": decided(labels, [1, 1, 0, 0], values)}
    clips, text = wrong_for_all(models, CLASSES)
    assert [clip.id for clip in clips] == ["c001", "c003", "c000"]
    assert clips[1].decisions == [("m", "a", False), ("n", "a", False)]
    assert text.startswith("3 of 4 clips are classified wrongly by all 2 models")
    assert "lowest first" in text


def test_without_probabilities_clips_are_in_their_order() -> None:
    labels = [0] * (SHOWN + 2)
    models = {"m": decided(labels, [1] * len(labels)), "n": decided(labels, [1] * len(labels))}
    clips, text = wrong_for_all(models, CLASSES)
    assert [clip.id for clip in clips] == [f"c{number:03}" for number in range(SHOWN)]
    assert f"{SHOWN} are shown" in text
    assert "lowest first" not in text


def test_disputed_clips_are_counted_for_each_model() -> None:
    labels = [0, 0, 1, 1, 0]
    models = {"m": decided(labels, [0, 0, 1, 0, 1]), "n": decided(labels, [0, 1, 0, 1, 1])}
    clips, text = disputed(models, CLASSES)
    assert [clip.id for clip in clips] == ["c001", "c002", "c003"]
    assert "on 3 of 5 clips (first seeds): only the first is right on 2, only the second on 1." in text
    assert clips[0].label == "a"
