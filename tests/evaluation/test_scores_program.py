import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from labelled_tones import tones
from scored import write_scored

from evaluate import probe, scores
from nonverbal.data.index import ShardFolder
from nonverbal.errors import UserError

LABELS, SPEAKERS = list("ab" * 12), [f"s{clip // 2}" for clip in range(24)]
FOLDS = [str(clip // 2 % 3) for clip in range(24)]


def write(folder: Path, models: str = "xy", **changes: str) -> None:
    for number, name in enumerate(models):
        random = np.random.default_rng(number)
        predicted = np.where(random.random(24) < 0.8, LABELS, "a").tolist()
        values = random.dirichlet([1, 1], 24)
        write_scored(folder, name, LABELS, predicted, FOLDS, SPEAKERS, SPEAKERS, values, **changes)


def test_tables_are_shown_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "first")
    write(tmp_path / "second", corpus="other")
    files = {name: tmp_path / f"scores.{name}" for name in ("latex", "csv", "json")}
    options = [part for name, file in files.items() for part in (f"--{name}", str(file))]
    scores.main([str(tmp_path / "first"), str(tmp_path / "second" / "scores.jsonl"), "--classes", *options])
    out = capsys.readouterr().out
    titles = [line.strip() for line in out.splitlines() if "by hand" in line]
    of_task = ["", ": recall by class", ": class probabilities", ": comparisons"]
    assert titles == [
        *(f"{corpus}: linear head, 2 classes, by hand{what}" for corpus in ("made", "other") for what in of_task),
        "by hand: UAR over corpora",
    ]
    assert all(f"wrote {file}" in out for file in files.values())
    assert files["latex"].read_text().count(r"\begin{table}") == len(titles)
    rows = list(csv.DictReader(files["csv"].open(encoding="utf-8")))
    assert [(row["corpus"], row["model"]) for row in rows] == [
        (corpus, model) for corpus in ("made", "other") for model in "xy"
    ]
    everything = json.loads(files["json"].read_text())
    assert [task["corpus"] for task in everything["tasks"]] == ["made", "other"]
    first = everything["tasks"][0]
    assert float(rows[0]["uar"]) == first["models"][0]["pooled"]["uar"]["value"]
    assert first["units"] == 12
    assert first["models"][0]["recalls"].keys() == {"a", "b"}
    assert [(one["first"], one["second"]) for one in first["comparisons"]] == [("x", "y")]
    assert everything["rankings"][0]["corpora"] == ["made", "other"]
    assert (everything["interval"], everything["calibration_bins"]) == ({"method": "jackknife t", "level": 0.95}, 15)


def test_the_bootstrap_and_one_baseline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, "xyz")
    scores.main([str(tmp_path), "--bootstrap", "--against", "z", "--json", str(tmp_path / "x.json")])
    assert "percentile bootstrap" in capsys.readouterr().out
    everything = json.loads((tmp_path / "x.json").read_text())
    assert everything["interval"]["method"] == "percentile bootstrap"
    assert [(one["first"], one["second"]) for one in everything["tasks"][0]["comparisons"]] == [("x", "z"), ("y", "z")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--against", "q"], "--against must be one of the models x, y, but is 'q'"),
        (["--csv", "nowhere/x.csv"], "--csv: there is no folder nowhere"),
        (["--paths", "nowhere"], "cannot read the scores nowhere"),
    ],
)
def test_what_cannot_be_done_is_said(tmp_path: Path, options: list[str], message: str) -> None:
    write(tmp_path)
    paths = [] if "--paths" in options else [str(tmp_path)]
    with pytest.raises(UserError, match=message):
        scores.main([*paths, *options])


def test_what_probe_writes_is_read(
    labelled_shards: Callable[..., ShardFolder], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Folds by recording divide speakers; intervals are over speakers all the same."""
    shards, out = labelled_shards(tones()), tmp_path / "out"
    folders = ["--data", str(shards.folder), "--out", str(out), "--cache", str(tmp_path / "cache")]
    probe.main([*folders, "--encoders", "logmel", "--folds", "3", "--group", "recording"])
    assert "24 clips of 6 speakers" in capsys.readouterr().out
    scores.main([str(out), "--json", str(tmp_path / "x.json")])
    (task,) = json.loads((tmp_path / "x.json").read_text())["tasks"]
    assert (task["units"], task["unit"], task["clips"]) == (6, "speakers", {"high": 12, "low": 12})
    assert task["models"][0]["probabilities"]["auc"] == 1
