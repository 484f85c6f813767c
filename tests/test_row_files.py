import csv
import json
from pathlib import Path

import pytest

from nonverbal.errors import UserError
from nonverbal.row_files import check_ending, row_file

ROWS = [
    {"file": 'a, "b"\nc.wav', "start": 0.0, "p": {"=1+1": 0.25, "laugh": 0.75}},
    {"file": "=cmd|' /C calc'!A0", "start": None, "p": {}},
    {"file": "-x.wav", "start": 1e-05, "p": {"laugh": 1.0}},
]
COLUMNS = ["file", "start", "p.=1+1", "p.laugh"]


def test_json_lines_hold_rows_as_they_are(tmp_path: Path) -> None:
    with row_file(tmp_path / "rows.jsonl", COLUMNS) as write:
        for row in ROWS:
            write(row)
    assert [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().split("\n")[:-1]] == ROWS


def test_csv_keeps_texts_texts(tmp_path: Path) -> None:
    """What a spreadsheet would compute has an apostrophe before it; numbers and empty cells have none."""
    with row_file(tmp_path / "rows.CSV", COLUMNS) as write:
        for row in ROWS:
            write(row)
    with open(tmp_path / "rows.CSV", newline="") as file:
        found = list(csv.reader(file))
    assert found == [
        COLUMNS,
        ['a, "b"\nc.wav', "0.0", "0.25", "0.75"],
        ["'=cmd|' /C calc'!A0", "", "", ""],
        ["'-x.wav", "1e-05", "", "1.0"],
    ]


def test_a_name_of_a_column_is_a_text_too(tmp_path: Path) -> None:
    with row_file(tmp_path / "rows.csv", ["=A1"]) as write:
        write({"=A1": "+1"})
    assert (tmp_path / "rows.csv").read_text() == "'=A1\n'+1\n"


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("old")
    with pytest.raises(ValueError, match="not in fieldnames: 'b'"), row_file(path, ["a"]) as write:
        write({"b": 1})
    assert [file.name for file in tmp_path.iterdir()] == ["rows.csv"]
    assert path.read_text() == "old"


def test_another_ending_is_refused(tmp_path: Path) -> None:
    for name in ("rows.xlsx", "rows", "rows.json"):
        with pytest.raises(UserError, match=r"--out must end in \.csv or \.jsonl \(JSON Lines\), but is .*" + name):
            check_ending(tmp_path / name, "--out")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(UserError, match="is a folder"):
        check_ending(tmp_path / "folder.csv", "--out")
