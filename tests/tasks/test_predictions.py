import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nonverbal.errors import UserError
from nonverbal.tasks.predictions import read_predictions, write_predictions

ROW = {"clip": "ä", "label": "a", "predicted": "b", "group": "s", "fold": "0"}


def row(**changes: Any) -> dict[str, Any]:
    return ROW | {"speaker": "s", "recording": "r", "probabilities": {"a": 0.25, "b": 0.75}} | changes


def test_predictions_are_one_row_a_clip(tmp_path: Path) -> None:
    path = tmp_path / "predictions" / "x.jsonl"
    write_predictions(path, [row(), row(clip="a", predicted="a", fold="1", speaker=None)])
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        row(),
        row(clip="a", predicted="a", fold="1", speaker=None),
    ]
    read = read_predictions(path, ["a", "b"])
    assert (read.clips, read.labels.tolist(), read.predicted.tolist()) == (["a", "ä"], [0, 0], [0, 1])
    assert (read.folds.tolist(), read.speakers, read.recordings) == (["1", "0"], [None, "s"], ["r", "r"])
    assert read.gives == "probabilities"
    np.testing.assert_array_equal(read.values, [[0.25, 0.75]] * 2)


def test_values_are_in_the_order_of_the_classes(tmp_path: Path) -> None:
    write_predictions(tmp_path / "x", [ROW | {"decision_values": {"b": 3, "a": -1}}])
    read = read_predictions(tmp_path / "x", ["a", "b"])
    assert read.gives == "decision_values"
    np.testing.assert_array_equal(read.values, [[-1, 3]])


def test_files_of_before_are_read(tmp_path: Path) -> None:
    """Without speakers, recordings and values."""
    write_predictions(tmp_path / "x", [ROW])
    read = read_predictions(tmp_path / "x", ["a", "b"])
    assert (read.speakers, read.recordings, read.gives, read.values) == ([None], [None], None, None)


WRONG = [
    ("{", "x.jsonl, line 2: not a JSON object"),
    ("[]", "x.jsonl, line 2: not a prediction"),
    (json.dumps({"clip": "z"}), "x.jsonl, line 2: not a prediction: clip, label, predicted, group, fold"),
    (json.dumps(row()), "x.jsonl: clip ä has two rows; write the scores and their predictions again"),
    (json.dumps(row(clip="z", predicted="q")), "x.jsonl: predicted 'q' is not a class of the scores"),
    (json.dumps(row(clip="z", probabilities={"a": 1})), "x.jsonl: a row has no probabilities of every class"),
    (json.dumps(row(clip="z", probabilities={"a": 1, "b": 1})), "x.jsonl: probabilities of clip z must sum to 1"),
    (json.dumps(row(clip="z", probabilities={"a": float("nan"), "b": 1})), "probabilities of clip z must"),
]


@pytest.mark.parametrize(("line", "message"), WRONG)
def test_a_damaged_row_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "x.jsonl"
    write_predictions(path, [row()])
    path.write_text(path.read_text() + line)
    with pytest.raises(UserError, match=message):
        read_predictions(path, ["a", "b"])


def test_a_missing_file_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read the predictions .*x: No such file or directory; write the scores"):
        read_predictions(tmp_path / "x", ["a"])
