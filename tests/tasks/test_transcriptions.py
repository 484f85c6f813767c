import json
from pathlib import Path
from typing import Any

import pytest
from scored import write_scored
from transcribed import SAID, TEXTS, write_transcribed

from nonverbal.errors import UserError
from nonverbal.tasks.measurements import read_measurements, read_text_measurements, text_measurements_of
from nonverbal.tasks.scores import read_scores


def test_transcriptions_are_read_beside_decisions(tmp_path: Path) -> None:
    file = write_transcribed(tmp_path / "texts")
    write_scored(tmp_path / "classes", "m", list("abab"), list("abab"), list("0011"), list("stuv"))
    (read,) = read_text_measurements([tmp_path])
    assert (read.row, len(read.scores)) == (("m", "fine-tuned"), 2)
    own = read.transcriptions
    assert (own.texts, own.predicted) == (TEXTS, SAID)
    assert own.edits.word_errors.tolist() == [0, 1, 1, 1, 0, 1]
    assert own.edits.words.tolist() == [1, 2, 1, 2, 1, 1]
    assert len(read_measurements([tmp_path])) == 1
    assert read_measurements([tmp_path / "texts"]) == []
    assert text_measurements_of(read_scores(file), file)[0].scores == read.scores


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"predicted_text": "TWO"},
            "in fold 0 it has 4 clips and a word error rate of 0.6667, the scores have 4 and 0.5",
        ),
        ({"fold": "1"}, "in fold 0 it has 3 clips"),
        ({"predicted_text": None}, "line 1: not a prediction: clip, text, predicted_text, group, fold"),
        ({"text": " "}, "the text of clip c0 has no words"),
        ({"clip": "c1"}, "clip c1 has two rows"),
    ],
)
def test_transcriptions_that_are_not_of_their_scores(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    file = write_transcribed(tmp_path)
    path = tmp_path / read_scores(file)[0].predictions
    first, *rest = path.read_text().splitlines()
    path.write_text("\n".join([json.dumps(json.loads(first) | change), *rest]) + "\n")
    with pytest.raises(UserError, match=message):
        read_text_measurements([file])
