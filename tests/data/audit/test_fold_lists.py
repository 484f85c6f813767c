"""Lists of folds in the forms that others write them."""

import json

import pytest

from nonverbal.data.audit.fold_lists import read_lists
from nonverbal.errors import UserError


def lines(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def told(path):
    return [(one.fold, one.side, one.path, one.speaker) for one in read_lists(path)]


def emobox(name, emotion="09"):
    actor = name.split("-")[5].lstrip("0")
    return {
        "key": f"asvpesd-{name}",
        "dataset": "asvpesd",
        "wav": f"downloads/asvpesd/Audio/actor_{actor}/{name}.wav",
        "type": "raw",
        "sample_rate": 16000,
        "num_frame": 24291.0,
        "task": "category",
        "length": 1.5181875,
        "emo": emotion,
        "channel": 1,
    }


A, B, C = "03-01-09-01-12-96-02-02-01-39", "03-01-09-01-01-97-02-02-02-09", "03-01-09-01-23-112-02-02-02-02"


def write_emobox(folder):
    """As EmoBox lays a corpus out: both kinds of file, and others beside them."""
    for fold in (1, 2):
        for side, name in (("train", (A, B)[fold - 1]), ("test", C)):
            stem = folder / f"fold_{fold}" / f"asvpesd_{side}_fold_{fold}"
            lines(stem.with_suffix(".jsonl"), emobox(name))
            content = {f"asvpesd-{name}": {"wav": emobox(name)["wav"], "emo": "09"}}
            stem.with_suffix(".json").write_text(json.dumps(content))
    (folder / "label_map.json").write_text('{"09": "Pain"}')
    lines(folder / "asvpesd.jsonl", emobox(A), emobox(B), emobox(C))
    return folder


def test_emobox(tmp_path):
    a, b, c = (emobox(name)["wav"] for name in (A, B, C))
    expected = [("1", "test", c, None), ("1", "train", a, None), ("2", "test", c, None), ("2", "train", b, None)]
    assert sorted(told(write_emobox(tmp_path / "asvpesd"))) == expected
    for file in (tmp_path / "asvpesd").rglob("*.jsonl"):
        file.unlink()
    # The same rows by their keys.
    assert sorted(told(tmp_path / "asvpesd")) == expected


def test_s3prl(tmp_path):
    rows = {
        "Session1/train": "Ses02F",
        "Session1/test": "Ses01F",
        "Session2/train": "Ses01F",
        "Session2/test": "Ses02F",
    }
    for name, speaker in rows.items():
        path = tmp_path / f"{name}_meta_data.json"
        path.parent.mkdir(exist_ok=True)
        row = {"path": f"Session1/sentences/wav/{speaker}_impro01/x.wav", "label": "neu", "speaker": speaker}
        path.write_text(json.dumps({"labels": {"neu": 0}, "meta_data": [row]}))
    assert [(fold, side, speaker) for fold, side, _, speaker in told(tmp_path)] == [
        ("1", "test", "Ses01F"),
        ("1", "train", "Ses02F"),
        ("2", "test", "Ses02F"),
        ("2", "train", "Ses01F"),
    ]


@pytest.mark.parametrize(("ending", "by"), [("csv", ","), ("tsv", "\t")])
def test_a_table_with_sides(tmp_path, ending, by):
    file = tmp_path / f"any.{ending}"
    rows = (("Path", "Split", "SPEAKER"), ("a.wav", "Train", "x"), ("b.wav", "dev", ""), ("c.wav", "evaluation", "y"))
    # As spreadsheets of one maker write UTF-8.
    file.write_text("\ufeff" + "\n".join(by.join(row) for row in rows), encoding="utf-8")
    assert told(file) == [
        ("1", "train", "a.wav", "x"),
        ("1", "validation", "b.wav", None),
        ("1", "test", "c.wav", "y"),
    ]


def test_a_table_with_folds_alone_tests_each_in_turn(tmp_path):
    """As ESC-50 has it."""
    file = tmp_path / "esc50.csv"
    file.write_text("filename,fold,target\n1.wav,1,0\n2.wav,2,0\n3.wav,2,1\n")
    assert [one[:3] for one in told(file)] == [
        ("1", "test", "1.wav"),
        ("1", "train", "2.wav"),
        ("1", "train", "3.wav"),
        ("2", "train", "1.wav"),
        ("2", "test", "2.wav"),
        ("2", "test", "3.wav"),
    ]


def test_an_apostrophe_is_taken_off_what_a_spreadsheet_would_compute_alone(tmp_path):
    rows = [{"file": "'=a.wav", "set": "test"}, {"file": "'til.wav", "set": "train"}]
    found = read_lists(lines(tmp_path / "x.jsonl", *rows))
    assert [one.path for one in found] == ["=a.wav", "'til.wav"]


def test_rows_say_more_than_names_of_files(tmp_path):
    rows = [{"file": "a", "set": "test", "fold": 3}, {"file": "b", "set": "train", "fold": 3, "sha256": "1f"}]
    found = read_lists(lines(tmp_path / "train_fold_1.jsonl", *rows))
    assert [(one.fold, one.side, one.sha256) for one in found] == [("3", "test", None), ("3", "train", "1f")]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.csv", "path,label\na,b\n", "does not say which side a row is on; give it a column of sides (side, split"),
        ("x.csv", "path,side\na,train\n", "lists nothing to test on"),
        ("x.csv", "label,side\na,train\n", "line 2: no file is named; give it in one of clip, path, file"),
        ("x.csv", "path,side\na,train\nb,both\n", "line 3: the side is 'both'; name it train, validation, test"),
        ("x.csv", "path,fold\na,1\nb,\n", "line 3: there is no fold; give every row one"),
        ("x.jsonl", '{"path": "a"}\n[1]\n', "line 2: is not a row with names, but [1]"),
        ("x.jsonl", "{", "line 1: not a JSON object"),
        ("x.json", "{", "is not valid JSON"),
        ("x.json", "3", "is not a list of rows, but int"),
        ("x.json", '{"a": 3}', "row 1: is not a row with names, but 3"),
        ("x.txt", "a", "must end in .jsonl, .csv, .tsv, .json"),
        ("x.csv", "path,side\n\xff", "does not say which side"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, name, text, message):
    (tmp_path / name).write_text(text, encoding="latin-1" if "does not say which side" in message else "utf-8")
    if "\xff" in text:
        message = "cannot be read"
    with pytest.raises(UserError) as error:
        read_lists(tmp_path / name)
    assert message in str(error.value)
    assert name in str(error.value)


def test_a_folder_without_lists_is_refused(tmp_path):
    (tmp_path / "label_map.json").write_text("{}")
    with pytest.raises(UserError, match="has no list with train or test in its name"):
        read_lists(tmp_path)
    with pytest.raises(UserError, match="there is no list .*none; give a file, or a folder of lists"):
        read_lists(tmp_path / "none")
