import csv
import json
from pathlib import Path

import numpy as np
import pytest
from scored import write_scored
from transcribed import SAID, TEXTS, write_transcribed

from evaluate import scores
from nonverbal.errors import UserError
from nonverbal.evaluation.score_tables import print_scores
from nonverbal.evaluation.text_results import text_results, text_table
from nonverbal.tasks.measurements import read_text_measurements
from nonverbal.tasks.scores import read_scores
from nonverbal.tasks.statistics.intervals import rate_t


def test_rates_are_of_all_folds_with_an_interval_over_speakers(tmp_path: Path) -> None:
    """4 of 8 words wrong: 1 of 3 of the first speaker's, 2 of 3 of the second's, 1 of 2 of the third's."""
    write_transcribed(tmp_path)
    (result,) = text_results(read_text_measurements([tmp_path]))
    assert (result.clips, result.words, result.units, result.unit) == (6, 8, 3, "speakers")
    (model,) = result.models
    interval = rate_t(np.array([1, 2, 1]), np.array([3, 3, 2]))
    assert model.pooled["wer"] == (0.5, interval.low, interval.high)
    assert model.pooled["cer"].value == pytest.approx((1 + 1 + 4 + 4) / sum(map(len, TEXTS)))
    # Fold 0 has the first two speakers.
    assert model.fold_mean["wer"] == pytest.approx((3 / 6 + 1 / 2) / 2)


def test_seeds_are_averaged(tmp_path: Path) -> None:
    write_transcribed(tmp_path)
    write_transcribed(tmp_path, said=TEXTS, seed=1)
    (result,) = text_results(read_text_measurements([tmp_path]))
    assert result.models[0].pooled["wer"].value == 0.25
    assert result.words == 8


def test_a_recogniser_without_errors_has_no_interval(tmp_path: Path) -> None:
    write_transcribed(tmp_path, said=TEXTS)
    (result,) = text_results(read_text_measurements([tmp_path]))
    assert result.models[0].pooled["wer"] == (0.0, None, None)
    assert text_table(result).rows[0][2:6] == [".000", "-", ".000", "-"]


def test_recognisers_of_other_clips_share_no_table(tmp_path: Path) -> None:
    write_transcribed(tmp_path, "one")
    write_transcribed(tmp_path, "two", SAID[:4], TEXTS[:4])
    with pytest.raises(UserError, match="two-0.jsonl and .*one-0.jsonl are of one corpus and protocol, but of diff"):
        text_results(read_text_measurements([tmp_path]))
    write_transcribed(tmp_path, "two", SAID, ["ONE", "TWO THREE", "FOUR", "FIVE SIX", "ONE", "TEN"])
    with pytest.raises(UserError, match="two-0.jsonl: clip c5 has a different text"):
        text_results(read_text_measurements([tmp_path]))


def test_the_titles_of_results_on_other_shards_name_them(tmp_path: Path) -> None:
    write_transcribed(tmp_path / "one", data_sha256="1a2b3c4d5e")
    assert [text_table(one).title for one in text_results(read_text_measurements([tmp_path / "one"]))] == [
        "made: texts, by hand"
    ]
    write_transcribed(tmp_path / "two", data_sha256="5e4d3c2b1a")
    found = text_results(read_text_measurements([tmp_path / "one", tmp_path / "two"]))
    assert [text_table(result).title for result in found] == [
        "made: texts, by hand, shards 1a2b3c4d",
        "made: texts, by hand, shards 5e4d3c2b",
    ]


def test_tables_of_texts_and_of_classes_stand_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_transcribed(tmp_path / "texts", lets_through=["none known"])
    write_transcribed(tmp_path / "texts", "other", TEXTS)
    write_scored(tmp_path / "classes", "m", list("abab"), list("abba"), list("0011"), list("stuv"))
    files = {name: tmp_path / f"scores.{name}" for name in ("latex", "csv", "json")}
    scores.main([str(tmp_path), *(part for name, path in files.items() for part in (f"--{name}", str(path)))])
    out = capsys.readouterr().out
    assert "made: linear head, 2 classes" in out
    assert "made: texts, by hand" in out
    assert "6 clips of 3 speakers, 8 words, " in out
    assert "possible leakage: none known" in out
    rows = list(csv.DictReader(files["csv"].open(encoding="utf-8")))
    assert [(row["model"], row["uar"], row["wer"]) for row in rows] == [
        ("m", "0.5", ""),
        ("m", "", "0.5"),
        ("other", "", "0.0"),
    ]
    everything = json.loads(files["json"].read_text())
    assert [row["wer"] for row in everything["texts"]] == [0.5, 0.0]
    assert r"texts, by hand" in files["latex"].read_text()
    print_scores(read_scores(file), file)
    assert "made: texts, by hand" in capsys.readouterr().out
