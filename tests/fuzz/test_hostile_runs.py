"""What fuzzing found in folders of runs, arrays, names and pickles: a test for each kind."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpora_targets import make_catalog, make_dataset, read_catalog, read_dataset
from report_inputs import write_tables
from runs_targets import FOLD, make_begun, make_clusters, make_finetuned, read_clusters, read_finetuned
from tables_targets import make_report, read_report
from weights_targets import make_emotion2vec, make_folder, make_legacy, read_emotion2vec, read_encoder, read_file

from nonverbal.data.corpora.metadata import _unpacked_in_place
from nonverbal.data.corpora.names import readable
from nonverbal.errors import UserError
from nonverbal.tasks.measurements import read_measurements

TOO_LARGE = 10**400
"""A whole number that JSON may hold, and floating point may not."""


def changed(path: Path, change: Callable[[Any], Any]) -> None:
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a/b.zip/c.wav", "a/c.wav"),
        ("b.ZIP/c.zip/d.zip", "d.zip"),
        (".zip/a.wav", ".zip/a.wav"),
        ("x" * 500_000 + "/a.wav", "x" * 500_000 + "/a.wav"),
    ],
)
def test_archives_on_a_path_are_left_out_in_time_that_grows_with_its_length(name: str, expected: str) -> None:
    assert _unpacked_in_place(name) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("A.WAV", "A.wav"),
        ("A.WAV.Mp3", "A.wav.mp3"),
        ("A.B.WAV", "A.B.wav"),
        (".WAV", ".wav"),
        ("A.TXT", "A.TXT"),
        (".WAV" * 50_000 + "x", ".WAV" * 50_000 + "x"),
    ],
)
def test_endings_of_names_are_read_in_time_that_grows_with_their_length(name: str, expected: str) -> None:
    assert readable(name) == expected


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda score: score | {"metrics": 3}, "not a score; metrics"),
        (lambda score: score | {"seed": "0"}, "not a score; seed"),
        (lambda score: [], "not a score"),
        (lambda score: {"model": "x"}, "not a score; missing"),
    ],
)
def test_a_fold_whose_score_is_of_another_kind_is_refused(
    tmp_path: Path, change: Callable[[Any], Any], said: str
) -> None:
    make_finetuned(tmp_path)
    changed(tmp_path / FOLD / "fold.json", change)
    with pytest.raises(UserError, match=rf"fold.json: {said}"):
        read_finetuned(tmp_path)


@pytest.mark.parametrize("change", [{"seed": float("inf")}, {"folder": "x" * 5000}, {"folder": "../x"}, {"test": 3}])
def test_folds_that_are_not_there_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    make_finetuned(tmp_path)
    changed(tmp_path / "folds.json", lambda said: said | {"folds": [said["folds"][0] | change]})
    with pytest.raises(UserError, match=r"folds.json and recipe.yaml cannot be read|is not finished"):
        read_finetuned(tmp_path)


def test_rows_of_metrics_that_are_no_text_are_measured_again(tmp_path: Path) -> None:
    make_begun(tmp_path)
    path = tmp_path / "run/metrics.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"step": 1, "\xff": 3}\n')
    from nonverbal.training.run_folder import RunFolder

    RunFolder(tmp_path / "run").cut_metrics(10)
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("settings.json", b"[]", "it contains list"),
        ("settings.json", b"{", "is damaged"),
        ("centroids.npy", b"\x93NUMPY", "not a NumPy array"),
        ("unfinished/*.npz", b"PK\x03\x04", "not NumPy arrays"),
    ],
)
def test_units_that_were_begun_and_are_damaged_are_refused(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    make_clusters(tmp_path)
    (path,) = (tmp_path / "out").glob(name)
    path.write_bytes(data)
    with pytest.raises(UserError, match=rf"is damaged \(.*{said}|{said}"):
        read_clusters(tmp_path)


@pytest.mark.parametrize("units", [[np.arange(4, dtype=np.uint16)] * 4, [np.ones(4)] * 4, [np.zeros(4, np.uint16)] * 3])
def test_units_that_were_begun_and_are_of_other_parts_are_refused(tmp_path: Path, units: list[np.ndarray]) -> None:
    make_clusters(tmp_path)
    assert [list(one) for one in read_clusters(tmp_path)] == [[0, 1, 2, 0]] * 4  # type: ignore[attr-defined]
    (path,) = (tmp_path / "out/unfinished").iterdir()
    np.savez(path, *units)
    with pytest.raises(UserError, match="does not hold units of 4 parts"):
        read_clusters(tmp_path)


def test_units_that_were_begun_and_are_packed_by_a_damaged_lzma_are_refused(tmp_path: Path) -> None:
    make_clusters(tmp_path)
    (path,) = (tmp_path / "out/unfinished").iterdir()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("arr_0.npy", bytes(500))
    data = bytearray(path.read_bytes())
    data[50:60] = bytes(10)
    path.write_bytes(data)
    with pytest.raises(UserError, match="is damaged"):
        read_clusters(tmp_path)


def test_centroids_of_another_number_are_refused(tmp_path: Path) -> None:
    make_clusters(tmp_path)
    np.save(tmp_path / "out/centroids.npy", np.ones((4, 4), dtype=np.float32))
    with pytest.raises(UserError, match=r"centroids.npy is damaged \(its values are float32 of shape \(4, 4\)"):
        read_clusters(tmp_path)


def test_a_probability_beyond_floating_point_is_refused(tmp_path: Path) -> None:
    file = write_tables(tmp_path)
    path = next((tmp_path / "predictions").iterdir())
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[2]["probabilities"]["a"] = TOO_LARGE
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match="a row has no probabilities of every class"):
        read_measurements([file])


def test_a_metric_beyond_floating_point_is_refused(tmp_path: Path) -> None:
    file = write_tables(tmp_path)
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[1]["metrics"]["uar"] = TOO_LARGE
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match="line 2: not a score; a metric or inner_uar is not a number"):
        read_measurements([file])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"null": {"p": 0.1}}, "null must say p, mean and what"),
        ({"null": {"p": [], "mean": 0.5, "what": "labels"}}, "null must say p, mean and what"),
        ({"lets_through": [3.0]}, "lets_through is not a list of texts"),
        ({"metrics": {"uar": float("inf")}}, "a metric or inner_uar is not a number"),
        ({"chosen": {"C": [1]}}, "a value of chosen is neither a number nor a text"),
        ({"chosen": {"layer": 3}}, "chosen.layer is 3, but inner_uar has 3 layers"),
        ({"chosen": {"layer": "1"}}, "chosen.layer is '1', but inner_uar has 3 layers"),
    ],
)
def test_scores_that_no_table_could_show_are_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    make_report(tmp_path)
    path = tmp_path / "scores.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row | change) + "\n" for row in rows))
    with pytest.raises(UserError, match=f"line 1: not a score; {said}"):
        read_report(tmp_path)


def test_numbers_and_texts_that_were_chosen_are_shown_beside_each_other(tmp_path: Path) -> None:
    make_report(tmp_path)
    path = tmp_path / "scores.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row, chosen in zip(rows, [{"C": 2.0}, {"C": "none"}, {"C": 1.0}], strict=False):
        row["chosen"] = chosen
    path.write_text("".join(json.dumps(row) + "\n" for row in rows[:3]))
    tables, _, _ = read_report(tmp_path)  # type: ignore[misc]
    assert any("1×1, 2×1, none×1" in cell for row in tables[0].rows for cell in row)


def test_a_configuration_beyond_floating_point_is_refused(tmp_path: Path) -> None:
    make_emotion2vec(tmp_path)
    text = (tmp_path / "config.yaml").read_text()
    (tmp_path / "config.yaml").write_text(text.replace("alibi_scale: 1.0", f"alibi_scale: {TOO_LARGE}"))
    with pytest.raises(UserError, match=r"audio.alibi_scale is '1000+'; expected float"):
        read_emotion2vec(tmp_path)


def test_a_pickle_that_claims_gigabytes_is_refused_before_there_is_room_for_them(tmp_path: Path) -> None:
    import tracemalloc

    make_legacy(tmp_path)
    data = (tmp_path / "a.pkl").read_bytes()
    # BINUNICODE: the length of a text in four bytes.
    at = data.index(b"X", data.index(b"model"))
    (tmp_path / "a.pkl").write_bytes(data[:at] + b"X\xff\xff\xff\x7f" + data[at + 5 :])
    tracemalloc.start()
    with pytest.raises(UserError, match=r"a.pkl cannot be read"):
        read_file(tmp_path)
    assert tracemalloc.get_traced_memory()[1] < 100_000_000
    tracemalloc.stop()


def test_a_class_that_is_not_named_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    make_dataset(tmp_path / "saved")
    path = next(tmp_path.glob("saved/*/dataset_info.json"))
    changed(path, lambda said: json.loads(json.dumps(said).replace('["laugh", "cry"]', '["laugh"]')))
    with pytest.raises(UserError, match="label is 1, which is no class of 1"):
        read_dataset(tmp_path / "saved")


def test_a_table_without_a_column_is_refused_by_name(tmp_path: Path) -> None:
    make_catalog(tmp_path)
    path = tmp_path / "recanvo/dataset_file_directory.csv"
    path.write_text(path.read_text().replace("Label", "Labels"))
    with pytest.raises(UserError, match=r"dataset_file_directory.csv has a row without 'label'; its columns are filen"):
        read_catalog(tmp_path)


def test_a_row_of_a_name_with_a_null_character_is_skipped(tmp_path: Path) -> None:
    make_catalog(tmp_path)
    path = tmp_path / "iemocap/Session1/dialog/EmoEvaluation/Ses01F_impro04.txt"
    path.write_text(path.read_text().replace("impro04_F000", "impro\x004_F000"))
    (rows,) = read_catalog(tmp_path)  # type: ignore[misc]
    assert any(b"its name contains a null character" in row for row in rows)


@pytest.mark.parametrize("name", ["feature_size", "n_fft", "chunk_length"])
def test_a_spectrogram_without_measure_is_refused_before_there_is_room_for_it(tmp_path: Path, name: str) -> None:
    make_folder("whisper")(tmp_path)
    changed(tmp_path / "preprocessor_config.json", lambda said: said | {name: 2**31})
    with pytest.raises(UserError, match=f"has {name}: 2147483648, more than any spectrogram has"):
        read_encoder(tmp_path)
