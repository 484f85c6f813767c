import json
from pathlib import Path

import pytest
from scored import write_scored

from nonverbal.errors import UserError
from nonverbal.evaluation.results import results
from nonverbal.evaluation.score_tables import scores_table
from nonverbal.tasks.measurements import measurements_of, read_measurements
from nonverbal.tasks.scores import read_scores

LABELS, FOLDS, GROUPS = list("abab"), list("0011"), list("stuv")


def test_folders_stand_for_the_files_in_them(tmp_path: Path) -> None:
    first = write_scored(tmp_path / "x" / "probe", "m", LABELS, list("abba"), FOLDS, GROUPS)
    write_scored(tmp_path / "y" / "probe", "n", LABELS, LABELS, FOLDS, GROUPS)
    write_scored(tmp_path / "x" / "probe", "m", LABELS, LABELS, FOLDS, GROUPS, seed=1)
    read = read_measurements([tmp_path, first])
    assert [(one.row, one.scores[0].seed, len(one.scores)) for one in read] == [
        (("m", "linear"), 0, 2),
        (("m", "linear"), 1, 2),
        (("n", "linear"), 0, 2),
    ]
    assert [one.predictions.predicted.tolist() for one in read] == [[0, 1, 1, 0], [0, 1, 0, 1], [0, 1, 0, 1]]
    assert len({one.table for one in read}) == 1
    assert measurements_of(read_scores(first), first)[0].scores == read[0].scores
    (tmp_path / "nothing").mkdir()
    with pytest.raises(UserError, match=r"there is no scores.jsonl in .*nothing; give the folder that was --out"):
        read_measurements([tmp_path / "nothing"])


def test_what_two_files_hold_alike_counts_once(tmp_path: Path) -> None:
    files = [write_scored(tmp_path / name, "m", LABELS, LABELS, FOLDS, GROUPS) for name in "xy"]
    assert len(read_measurements(files)) == 1
    other = write_scored(tmp_path / "z", "m", LABELS, list("bbbb"), FOLDS, GROUPS)
    found = read_measurements([*files, other])
    # y says what x says; z says something else.
    assert [(one.row, one.file) for one in found] == [
        (("m", "linear, in x"), files[0]),
        (("m", "linear, in z"), other),
    ]
    assert [one.predictions.predicted.tolist() for one in found] == [[0, 1, 0, 1], [1, 1, 1, 1]]
    assert found[0].table == found[1].table
    (task,) = results(found)
    noted = "HEAD, in FOLDER: files hold different scores"
    assert sum(note.startswith(noted) for note in scores_table(task).notes) == 1
    (alone,) = results(read_measurements([other]))
    assert not any(note.startswith(noted) for note in scores_table(alone).notes)


def test_a_null_makes_no_other_measurement(tmp_path: Path) -> None:
    null = {"p": 0.005, "draws": 199, "mean": 0.5, "exceeding": 0, "what": "labels"}
    plain = write_scored(tmp_path / "plain", "m", LABELS, LABELS, FOLDS, GROUPS)
    with_null = write_scored(tmp_path / "null", "m", LABELS, LABELS, FOLDS, GROUPS, null=null, launch="0" * 12)
    for files in ([plain, with_null], [with_null, plain]):
        (one,) = read_measurements(files)
        assert (one.row, one.scores[0].null, one.file) == (("m", "linear"), null, with_null)


def test_the_seeds_of_a_file_that_is_contradicted_stay_together(tmp_path: Path) -> None:
    for seed in (0, 1):
        first = write_scored(tmp_path / "x", "m", LABELS, LABELS, FOLDS, GROUPS, seed=seed)
    second = write_scored(tmp_path / "y/deep", "m", LABELS, list("bbbb"), FOLDS, GROUPS)
    third = write_scored(tmp_path / "z", "m", LABELS, LABELS, FOLDS, GROUPS, seed=2)
    found = {(one.row[1], one.scores[0].seed) for one in read_measurements([first, second, third])}
    assert found == {("linear, in x", 0), ("linear, in x", 1), ("linear, in y/deep", 0), ("linear, in z", 2)}
    agreeing = {(one.row[1], one.scores[0].seed) for one in read_measurements([first, third])}
    assert agreeing == {("linear", 0), ("linear", 1), ("linear", 2)}


def test_files_of_one_folder_are_told_apart_by_their_names(tmp_path: Path) -> None:
    file = write_scored(tmp_path / "x", "m", LABELS, LABELS, FOLDS, GROUPS)
    other = write_scored(tmp_path / "y", "m", LABELS, list("bbbb"), FOLDS, GROUPS)
    (tmp_path / "x/older.jsonl").write_text(other.read_text().replace("predictions/", "../y/predictions/"))
    found = read_measurements([file, tmp_path / "x/older.jsonl"])
    assert [one.row[1] for one in found] == ["linear, in x/scores.jsonl", "linear, in x/older.jsonl"]


def test_scores_without_their_predictions(tmp_path: Path) -> None:
    file = write_scored(tmp_path, "m", LABELS, LABELS, FOLDS, GROUPS)
    (tmp_path / read_scores(file)[0].predictions).unlink()
    with pytest.raises(UserError, match="cannot read the predictions .*predictions/m-.*; write the scores and their"):
        read_measurements([file])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"predicted": "b"}, "in fold 0 it has 2 clips and an accuracy of 0.5000, the scores have 2 and 1.0000"),
        ({"fold": "1"}, "in fold 0 it has 1 clips"),
        ({"fold": "9", "clip": "new"}, "in fold 0 it has 1 clips"),
    ],
)
def test_predictions_of_another_run(tmp_path: Path, change: dict[str, str], message: str) -> None:
    file = write_scored(tmp_path, "m", LABELS, LABELS, FOLDS, GROUPS)
    path = tmp_path / read_scores(file)[0].predictions
    first, *rest = path.read_text().splitlines()
    path.write_text("\n".join([json.dumps(json.loads(first) | change), *rest]) + "\n")
    with pytest.raises(UserError, match=f"does not belong to the scores in .*scores.jsonl: {message}"):
        read_measurements([file])


def test_predictions_of_folds_without_scores(tmp_path: Path) -> None:
    file = write_scored(tmp_path, "m", LABELS, LABELS, FOLDS, GROUPS)
    file.write_text(file.read_text().splitlines()[0] + "\n")
    with pytest.raises(UserError, match="has clips of folds 1, for which .*scores.jsonl has no scores"):
        read_measurements([file])


def test_a_torn_line_of_scores_is_named(tmp_path: Path) -> None:
    file = write_scored(tmp_path, "m", LABELS, LABELS, FOLDS, GROUPS)
    file.write_text(file.read_text()[:-20])
    with pytest.raises(UserError, match=r"scores.jsonl, line 2: not a JSON object"):
        read_measurements([file])


def test_a_file_without_scores_is_named(tmp_path: Path) -> None:
    (tmp_path / "scores.jsonl").touch()
    with pytest.raises(UserError, match="scores.jsonl: no scores in it"):
        read_measurements([tmp_path / "scores.jsonl"])
