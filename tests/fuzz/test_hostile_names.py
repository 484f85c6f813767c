"""What fuzzing found in names too long for a file system, in JSON nested too deeply, and in rows that differ."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from report_inputs import write_tables
from runs_targets import make_trained, read_trained
from safetensors.numpy import save_file
from studied import corpus, model, record, step
from tables_targets import make_passport

from nonverbal.data.audit.fold_lists import read_lists
from nonverbal.data.corpora.readers import read_json
from nonverbal.data.corpora.tables import json_rows
from nonverbal.errors import UserError
from nonverbal.evaluation.embeddings import _whole
from nonverbal.evaluation.pieces import Piece
from nonverbal.evaluation.studies import TableShape
from nonverbal.evaluation.study_cells import corpus_values, score_cells
from nonverbal.release.contents import contents_of
from nonverbal.release.passport import read_passport
from nonverbal.release.text_checks import texts_of
from nonverbal.report.origins import origins
from nonverbal.shipped import find_file
from nonverbal.stages.studying.costs import _read as read_costs
from nonverbal.stages.studying.kept import Done
from nonverbal.stages.studying.kept import _read as read_kept
from nonverbal.tasks.labels_seen import labels_seen_by
from nonverbal.tasks.measurements import read_measurements
from nonverbal.tasks.scores import read_scores, summarise

LONG = "x" * 5000
"""No file system has such a name, and ``pathlib`` raises where it looks for it."""

DEEP = "[" * 100_000


@pytest.mark.parametrize("name", [LONG, f"{LONG}/a.yaml"])
def test_a_recipe_of_a_name_too_long_is_one_that_is_not_there(name: str) -> None:
    with pytest.raises(UserError, match="no file 'x+.*' here or among the shipped ones"):
        find_file(name)


def test_a_run_of_a_name_too_long_has_no_launches(tmp_path: Path) -> None:
    (measured,) = read_measurements([write_tables(tmp_path, "x")])
    for score in measured.scores:
        score.details["run"] = LONG
    assert origins([measured])[0].launches == []


@pytest.mark.parametrize(("key", "said"), [("init", "The training started from x+,"), ("data", "The shards x+ of")])
def test_a_start_or_data_of_a_name_too_long_is_missing(tmp_path: Path, key: str, said: str) -> None:
    make_trained(tmp_path)
    (tmp_path / "second/recipe.yaml").write_text(f"family: [wav2vec2]\n{key}: {LONG}\n")
    (tmp_path / "second/data.json").write_text(json.dumps({LONG: "0"}))
    missing = read_trained(tmp_path)[1]  # type: ignore[index]
    assert any(re.search(said, one) for one in missing)


def test_outputs_of_a_name_too_long_have_no_cells(tmp_path: Path) -> None:
    study = record([corpus("mine", shards=LONG)], [model("x")], [step("probe.mine.x", out=LONG)], {})
    assert corpus_values(study, tmp_path) == {}
    assert score_cells(study, tmp_path, TableShape("", steps=["probe"], metrics=["uar"]), ["probe"]) == []


@pytest.mark.parametrize(
    ("held", "metadata"),
    [
        ({"clips": np.arange(3)}, {"encoder": "key"}),
        ({"clips": np.int64(1)}, {"encoder": "key"}),
        ({"clips": np.ones((2, 1), dtype=np.int64)}, {"encoder": "key"}),
        ({"clips": np.arange(2)}, {"encoder": "other"}),
        ({"clips": np.arange(2)}, None),
        ({"one": np.arange(2)}, {"encoder": "key"}),
        ({"9" * 5000: np.arange(2)}, {"encoder": "key"}),
    ],
)
def test_a_piece_of_embeddings_of_another_kind_is_computed_again(
    tmp_path: Path, held: dict[str, np.ndarray], metadata: dict[str, str] | None
) -> None:
    piece = Piece(0, (0, 1), ((0,), (1,)))
    save_file({"clips": np.arange(2)}, tmp_path / "a.safetensors", {"encoder": "key"})
    assert _whole(tmp_path / "a.safetensors", piece, "key")
    save_file({name: np.asarray(value) for name, value in held.items()}, tmp_path / "a.safetensors", metadata)
    assert not _whole(tmp_path / "a.safetensors", piece, "key")
    (tmp_path / "a.safetensors").write_bytes(b"\xff" * 20)
    assert not _whole(tmp_path / "a.safetensors", piece, "key")


def test_a_summary_is_of_the_metrics_that_all_folds_have(tmp_path: Path) -> None:
    scores = read_scores(write_tables(tmp_path, "x"))
    assert summarise(scores)[0].mean.keys() == scores[0].metrics.keys()
    del scores[1].metrics["f1"]
    scores[2].metrics["more"] = 0.5
    assert summarise(scores)[0].mean.keys() == scores[0].metrics.keys() - {"f1"}


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("heard.json", lambda path: labels_seen_by(path.parent)),
        ("a.json", lambda path: read_kept(Done, path)),
        ("folds.json", read_lists),
        ("a.json", lambda path: read_json(path.parent, path.name)),
        ("a.jsonl", lambda path: list(json_rows(path.read_text(), path))),
    ],
)
def test_json_nested_too_deeply_is_refused(tmp_path: Path, name: str, read: Callable[[Path], object]) -> None:
    (tmp_path / name).write_text(DEEP)
    with pytest.raises(UserError, match=name):
        read(tmp_path / name)


def test_a_rate_nested_too_deeply_is_skipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rates.jsonl").write_text(DEEP)
    assert read_costs(tmp_path / "rates.jsonl") == []
    assert "line 1: skipped" in capsys.readouterr().err


def test_a_release_with_json_nested_too_deeply_is_looked_at(tmp_path: Path) -> None:
    make_passport(tmp_path)
    (tmp_path / "config.json").write_text(DEEP)
    found = contents_of(tmp_path)
    assert found.json("config.json") is None
    assert [text for file, text, _ in texts_of(found) if file == "config.json"] == [DEEP]
    (tmp_path / "passport.json").write_text(json.dumps(3) + DEEP)
    with pytest.raises(UserError, match=r"passport.json"):
        read_passport(tmp_path)


def test_a_weight_beyond_floating_point_is_one_that_is_not_known(tmp_path: Path) -> None:
    from nonverbal.release.trained import trained

    make_trained(tmp_path)
    run = tmp_path / "first"
    assert [corpus.weight for corpus in trained(run, [tmp_path / "shards"]).corpora] == [2.0]
    path = run / "recipe.yaml"
    path.write_text(path.read_text().replace("made: 2.0", f"made: {10**400}"))
    assert [corpus.weight for corpus in trained(run, [tmp_path / "shards"]).corpora] == [None]
