"""Folds as a file: every clip, the sides that are scored and chosen on, and hashes."""

import csv
import hashlib
import json
from collections import defaultdict

import pytest
from labelled_tones import tones

from evaluate.folds import main
from nonverbal.data.audit.fold_leaks import audit_lists
from nonverbal.data.audit.fold_lists import read_lists
from nonverbal.errors import UserError
from nonverbal.tasks.divisions import plan
from nonverbal.tasks.frozen_folds import COLUMNS, fold_rows, write_folds
from nonverbal.tasks.protocols import NAMED, Protocol
from nonverbal.tasks.task import task_of


@pytest.fixture
def shards(labelled_shards):
    return labelled_shards(tones(speakers=6))


def test_rows_are_the_folds_and_the_inner_folds_that_are_scored(shards):
    task = task_of(shards, [], Protocol(3, seeds=(0, 1)))
    rows = list(fold_rows(task))
    # Each of two seeds and three folds has each of the 24 labelled clips once.
    assert len(rows) == 2 * 3 * 24
    places = {clip.id: place for place, clip in enumerate(task.clips)}
    sides = defaultdict(set)
    for row in rows:
        sides[row["seed"], row["fold"], row["side"], row["inner"]].add(places[row["clip"]])
    for seed, folds in task.folds.items():
        for fold in folds:
            assert sides[seed, fold.name, "test", None] == set(fold.test)
            inner = plan(task.division.protocol, fold, task.labels, task.groups, seed).inner
            for number, one in enumerate(inner):
                assert sides[seed, fold.name, "train", number] == {fold.train[place] for place in one.test}
    assert {row["side"] for row in rows} == {"train", "test"}


def test_a_validation_side_is_one_where_nothing_is_fitted_to_it(shards):
    rows = list(fold_rows(task_of(shards, [], NAMED["cross_lingual"].protocol)))
    by_side = defaultdict(set)
    for row in rows:
        by_side[row["side"]].add(row["speaker"])
        assert row["inner"] is None
    assert by_side.keys() == {"train", "validation", "test"}
    assert not by_side["train"] & by_side["test"]
    assert not by_side["validation"] & (by_side["test"] | by_side["train"])


def test_folds_that_choose_on_the_test_side_have_no_inner_ones(shards):
    rows = list(fold_rows(task_of(shards, [], NAMED["reno"].protocol)))
    assert {(row["side"], row["inner"]) for row in rows} == {("train", None), ("test", None)}


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_the_program_writes_folds_that_others_can_read_and_audit(shards, tmp_path, capsys, ending):
    out = tmp_path / f"folds.{ending}"
    main(["--data", str(shards.folder), "--protocol", "grouped", "--folds", "3", "--out", str(out)])
    assert f"folds: {out}" in capsys.readouterr().out
    about = json.loads((tmp_path / f"folds.{ending}.about.json").read_text())
    assert about["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert about["data_sha256"] == shards.sha256
    assert (about["protocol"], about["classes"]) == ("speaker-disjoint 3-fold, stratified", ["high", "low"])
    if ending == "csv":
        with open(out, newline="") as file:
            rows = list(csv.DictReader(file))
        assert tuple(rows[0]) == COLUMNS
    else:
        rows = [json.loads(line) for line in out.read_text().splitlines()]
    known = {clip.id: clip for clip in shards.clips()}
    assert all(row["sha256"] == known[row["clip"]].sha256 for row in rows)
    result = audit_lists(read_lists(out), shards, ["samples", "recording", "speaker"], None, 1)
    assert len(result.folds) == 3
    assert result.leaks == {}
    assert result.missing == []
    # Written again they are the same.
    before = out.read_bytes()
    main(["--data", str(shards.folder), "--folds", "3", "--out", str(out)])
    assert out.read_bytes() == before


def test_one_name_in_two_formats_has_two_descriptions(shards, tmp_path):
    task = task_of(shards, [], NAMED["reno"].protocol)
    for ending in ("csv", "jsonl"):
        about = write_folds(tmp_path / f"folds.{ending}", task)
        assert about == tmp_path / f"folds.{ending}.about.json"
    for ending in ("csv", "jsonl"):
        said = json.loads((tmp_path / f"folds.{ending}.about.json").read_text())
        assert said["file"] == f"folds.{ending}"
        assert said["sha256"] == hashlib.sha256((tmp_path / said["file"]).read_bytes()).hexdigest()


def test_random_folds_are_found_out(shards, tmp_path):
    out = tmp_path / "folds.csv"
    main(["--data", str(shards.folder), "--protocol", "reno", "--out", str(out)])
    assert audit_lists(read_lists(out), None, ["speaker"], None, 1).leaks == {"speaker": 5}


def test_where_it_is_written_is_checked_first(shards, tmp_path):
    with pytest.raises(UserError, match="--out must end in .csv or .jsonl"):
        main(["--data", str(shards.folder), "--out", str(tmp_path / "folds.txt")])
    with pytest.raises(UserError, match="--out: there is no folder"):
        main(["--data", str(shards.folder), "--out", str(tmp_path / "none" / "folds.csv")])
