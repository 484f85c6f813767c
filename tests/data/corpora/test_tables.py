"""Tables of audiofolders as other programs and people write them."""

import csv
import io
import json
import unicodedata
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from readings import clips_in, found_in

from nonverbal.data.corpora import choose_reader, read
from nonverbal.data.corpora.account import account
from nonverbal.data.corpora.base import Found, clip
from nonverbal.data.corpora.folders import read_audiofolder
from nonverbal.data.corpora.tables import as_number
from nonverbal.errors import UserError


def write(folder, *names, **tables):
    """Write empty files, and tables of text or bytes by name (``_`` for the dot)."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    for name, content in tables.items():
        path = folder / name.replace("_", ".")
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def said_of(folder):
    """Return what a person is told of a folder's tables."""
    said = []
    list(read("c", folder, choose_reader("c", folder, None), None, said.append))
    return said


def labels(folder):
    return {path: found.label for path, found in clips_in(folder, "c").items()}


CHARACTERS = st.characters(exclude_categories=["Cs", "Cc", "Cf", "Zs", "Zl", "Zp"])
# What software writes for numbers is read as such: NaN, 1.0.
WORD = st.text(CHARACTERS, min_size=1, max_size=6).filter(lambda text: as_number(text) == text)
BREAK = st.sampled_from(["\n", "\u2028", "\x85", "\x1c", "\t", ";", ",", '"', '","', "\r\n"])
BLANK = st.sampled_from(["", " ", "\u00a0", "  ", "\u3000", "\u200b ", "\t"])
SPACE = st.sampled_from([" ", "\u00a0", "  ", "\u202f"])


@st.composite
def value(draw):
    """A value, and how a person may write it: with blanks around it, and others inside it."""
    words = [unicodedata.normalize("NFC", word) for word in draw(st.lists(WORD, max_size=2))]
    if len(words) == 2 and draw(st.booleans()):
        words = [words[0] + draw(BREAK) + words[1]]
    form = draw(st.sampled_from(["NFC", "NFD"]))
    written = unicodedata.normalize(form, draw(BLANK) + draw(SPACE).join(words) + draw(BLANK))
    return unicodedata.normalize("NFC", " ".join(words)) or None, written


def names(usual):
    return st.sampled_from([usual, usual.upper(), f" {usual.title()}\u00a0", usual.replace("_", " ")])


HEADERS = st.tuples(names("file_name"), names("label"), st.one_of(names("speaker"), names("speaker_id")))
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]


def as_csv(header, rows, separator, quoting, end, blank_rows):
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter=separator, quoting=quoting, lineterminator=end)
    for row in [header, *rows]:
        writer.writerow(row)
        buffer.write((separator * 2 + end) * blank_rows)
    return buffer.getvalue()


@given(
    st.lists(st.tuples(value(), value()), min_size=1, max_size=4),
    HEADERS,
    st.sampled_from(",;\t"),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.integers(0, 2),
    st.sampled_from(ENCODINGS),
)
def test_any_separator_quotes_blanks_case_line_end_and_encoding_give_the_same_clips(
    tmp_path_factory, rows, header, separator, end, blank_rows, encoding
):
    folder = tmp_path_factory.mktemp("any")
    write(folder, *(f"{i}.wav" for i in range(len(rows))))
    expected = {
        f"{i}.wav": Found(f"{i}.wav", label=label[0], speaker=speaker[0] and f"c:{speaker[0]}")
        for i, (label, speaker) in enumerate(rows)
    }
    written = [[f"{i}.wav", label[1], speaker[1]] for i, (label, speaker) in enumerate(rows)]
    breaks = set("\r\n") & set("".join(text for row in written for text in row))
    for quoting in [csv.QUOTE_ALL] if breaks else [csv.QUOTE_ALL, csv.QUOTE_MINIMAL]:
        text = as_csv(header, written, separator, quoting, end, blank_rows)
        (folder / "metadata.csv").write_bytes(text.encode(encoding))
        assert clips_in(folder, "c") == expected
    (folder / "metadata.csv").unlink()
    lines = [json.dumps(dict(zip(header, row, strict=True)), ensure_ascii=bool(blank_rows)) for row in written]
    (folder / "METADATA.JSONL").write_bytes((end * (blank_rows + 1)).join(lines).encode(encoding))
    assert clips_in(folder, "c") == expected


@pytest.mark.parametrize("label", ["bébé", "\u2019Œuvre\u2026", "naïve 50 €"])
def test_western_european_tables_are_read_and_that_is_said(tmp_path, label):
    write(tmp_path, "0.wav", metadata_csv=f"file_name;label\r\n0.wav;{label}\r\n".encode("cp1252"))
    assert labels(tmp_path) == {"0.wav": label}
    assert said_of(tmp_path) == ["metadata.csv: columns: file_name, label; read as Windows-1252, since it is not UTF-8"]


@pytest.mark.parametrize("table", [b"file_name,label\n0.wav,\x81\n", "file_name,label\n".encode("utf-16") + b"x"])
def test_what_is_no_text_is_refused(tmp_path, table):
    write(tmp_path, "0.wav", metadata_csv=table)
    with pytest.raises(UserError, match=r"metadata.csv cannot be read as text .*; save it as UTF-8"):
        clips_in(tmp_path, "c")


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (0, "0"),
        (False, "False"),
        (1.0, "1"),
        (1.5, "1.5"),
        (10**20, str(10**20)),
        (" x\u2007", "x"),
        ("Cry", "Cry"),
        ("", None),
        (" \u00a0", None),
        (None, None),
        (float("nan"), None),
        ("nan", "nan"),
    ],
)
def test_what_counts_as_a_value_and_its_one_spelling(tmp_path, written, text):
    assert clip("c", "a.wav", label=written) == Found("a.wav", label=text)
    row = {"file_name": "a.wav", "label": written, "speaker": written, "speaker_id": "s"}
    write(tmp_path, "a.wav", metadata_jsonl=json.dumps(row))
    assert clips_in(tmp_path, "c") == {"a.wav": Found("a.wav", text, speaker=f"c:{'s' if text is None else text}")}


@pytest.mark.parametrize("written", [["a", "b"], {"a": 1}, float("inf"), float("-inf")])
@pytest.mark.parametrize("field", ["label", "speaker", "file_name"])
def test_what_is_neither_text_nor_number_is_refused_with_the_row(tmp_path, written, field):
    row = {"file_name": "a.wav", field: written}
    write(tmp_path, "a.wav", metadata_jsonl='{"file_name": "b.wav"}\n' + json.dumps(row))
    with pytest.raises(UserError, match=rf"metadata.jsonl, row 2: {field} is .*, but must be one text or number"):
        clips_in(tmp_path, "c")
    with pytest.raises(UserError, match=r"c: the label of a.wav is .*, but must be one text or number"):
        clip("c", "a.wav", label=written)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_blanks_outside_quotes_do_not_count_and_inside_keep_rows_apart(tmp_path, separator):
    rows = [
        ["file_name", '"label" ', "speaker"],
        ["0.wav", ' "cry" ', '"ann"  '],
        ["1.wav", '"5"" nail" ', '"x\n y" '],
        ["2.wav", f'"a{separator} ""b"" " ', '5" of'],
        ["3.wav", "", "7"],
    ]
    write(tmp_path, *(f"{n}.wav" for n in range(4)), metadata_csv="\n".join(map(separator.join, rows)))
    found = clips_in(tmp_path, "c").values()
    assert [(file.label, file.speaker) for file in found] == [
        ("cry", "c:ann"),
        ('5" nail', "c:x\n y"),
        (f'a{separator} "b"', 'c:5" of'),
        (None, "c:7"),
    ]


@pytest.mark.parametrize("written", ["nan", "NaN"])
def test_not_a_number_says_nothing_where_numbers_are_text(tmp_path, written):
    table = f"file_name,label,speaker\n0.wav,{written},{written}\n1.wav,Nan,NA\n"
    write(tmp_path, "0.wav", "1.wav", metadata_csv=table)
    assert list(clips_in(tmp_path, "c").values()) == [Found("0.wav"), Found("1.wav", "Nan", speaker="c:NA")]


def test_software_writes_whole_numbers_with_a_point_where_one_is_missing(tmp_path):
    pandas = ",file_name,label,speaker\n0,0.wav,1.0,7\n1,1.wav,,007\n2,2.wav,1.50,-3.00\n"
    write(tmp_path, "0.wav", "1.wav", "2.wav", metadata_csv=pandas)
    found = clips_in(tmp_path, "c").values()
    assert [(file.label, file.speaker) for file in found] == [("1", "c:7"), (None, "c:007"), ("1.50", "c:-3")]
    assert said_of(tmp_path) == ["metadata.csv: columns: file_name, label, speaker; not used: ''"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('0.wav,"cry,x\n1.wav,laugh,x\n', r"row 1: unexpected end of data: .* must end with one"),
        ('0.wav,cry,x\n1.wav,"laugh"x,y\n', r"row 2: ',' expected after '\"'"),
        ("0.wav,cry, loud,ann\n1.wav,laugh,bob\n", r"row 1: 4 values \('0.wav', 'cry', 'loud', 'ann'\) for 3 columns"),
        (
            "0.wav,cry,x\n\n1.wav,laugh\n",
            r"row 3: 2 values .* for 3 columns .*: write ',' for each value that",
        ),
        ('0.wav,"cry,x\n1.wav,laugh",x\n', "row 1: a value of several lines names 1.wav, which has no row: a double"),
    ],
)
def test_rows_that_are_shifted_or_swallow_others_are_refused(tmp_path, table, message):
    write(tmp_path, "0.wav", "1.wav", metadata_csv="file_name,label,speaker\n" + table)
    with pytest.raises(UserError, match="metadata.csv, " + message):
        clips_in(tmp_path, "c")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("file_name,label,label\n0.wav,a,b\n", "metadata.csv: columns 'label' and 'label' have the same name: rename"),
        ("file_name,x,x\n0.wav,a,b\n", "metadata.csv: columns 'x' and 'x' have the same name"),
        ("file_name,label, Label\n0.wav,a,b\n", "metadata.csv: columns 'label' and 'Label' have the same name"),
        ("path;class\n0.wav;a\n", "metadata.csv: no column file_name; its columns are 'path', 'class'; call the one"),
        ("", "metadata.csv: no column file_name; its columns are none"),
    ],
)
def test_headers_that_leave_in_doubt_what_is_meant_are_refused(tmp_path, table, message):
    write(tmp_path, "0.wav", metadata_csv=table)
    with pytest.raises(UserError, match=message):
        clips_in(tmp_path, "c")


@pytest.mark.parametrize("keys", ['"x": 1, "x": 2', '"Label": 1, "label": 2'])
def test_keys_of_one_name_are_refused_in_json_too(tmp_path, keys):
    write(tmp_path, "0.wav", metadata_jsonl=f'{{"file_name": "0.wav", {keys}}}')
    with pytest.raises(UserError, match=r"row 1: .*('x' is there twice|'Label' and 'label' have the same name)"):
        clips_in(tmp_path, "c")


def test_a_number_is_the_name_of_a_file_as_it_is_written(tmp_path):
    write(tmp_path, "1.0", "1", metadata_csv="file_name,label\n1.0,1.0\n")
    assert labels(tmp_path) == {"1.0": "1"}


def test_many_columns_that_are_not_used_are_counted(tmp_path):
    write(tmp_path, "0.wav", metadata_csv="file_name," + ",".join(f"f{i}" for i in range(20)) + "\n0.wav" + "," * 20)
    assert said_of(tmp_path)[0].endswith("'f10', 'f11' and 8 more")


def test_columns_that_differ_but_are_not_used_may_have_names_alike(tmp_path):
    write(tmp_path, "0.wav", metadata_csv="file_name,F0,f0\n0.wav,100,200\n")
    assert said_of(tmp_path) == ["metadata.csv: columns: file_name; not used: 'F0', 'f0'"]


def test_what_excel_adds_is_no_row_and_no_column(tmp_path):
    excel = "sep=;\r\n;;;\r\nfile_name;label;;\r\n0.wav;a, b;;\r\n;;;\r\n1.wav;c;;\r\n;;;\r\n"
    write(tmp_path, "0.wav", "1.wav", metadata_csv=excel)
    assert labels(tmp_path) == {"0.wav": "a, b", "1.wav": "c"}


def test_tables_lie_beside_their_files_and_folders_say_the_split(tmp_path):
    tables = {
        "train/metadata.csv": "file_name,label\n0.wav,a\nsub/1.wav,b\n",
        "VAL/Metadata.JSONL": '{"file_name": "0.wav", "label": "a"}',
        "test/metadata.csv": "file_name,label,split\n0.wav,a,\n1.wav,b,mine\n",
        "more/metadata.tsv": "file_name\tlabel\n../train/2.wav\tc\n",
        ".hidden/metadata.csv": "file_name\ngone.wav\n",
    }
    for name, text in tables.items():
        path = tmp_path / name
        path.parent.mkdir()
        path.write_text(text)
    write(tmp_path, "train/0.wav", "train/sub/1.wav", "train/2.wav", "VAL/0.wav", "test/0.wav", "test/1.wav", "x.wav")
    found = clips_in(tmp_path, "c")
    assert {path: (file.label, file.split) for path, file in found.items()} == {
        "train/0.wav": ("a", "train"),
        "train/sub/1.wav": ("b", "train"),
        "VAL/0.wav": ("a", "validation"),
        "test/0.wav": ("a", None),
        "test/1.wav": ("b", "mine"),
        "train/2.wav": ("c", "train"),
    }
    assert found_in(tmp_path, "c")["x.wav"].reason == "not in the metadata"
    assert said_of(tmp_path) == [
        "VAL/Metadata.JSONL and 2 more: columns: file_name, label",
        "test/metadata.csv: columns: file_name, label, split",
    ]


def test_a_table_in_an_archive_says_what_the_archive_holds(tmp_path):
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        archive.writestr("train/metadata.csv", "file_name,label\n0.wav,a\n")
        archive.writestr("train/0.wav", b"")
    path = "data.zip/train/0.wav"
    assert clips_in(tmp_path, "c") == {path: Found(path, "a", split="train")}


@pytest.mark.parametrize("written", ["data/laugh/0.wav", "laugh/0.wav", "Laugh\\0.WAV", "data.zip/laugh/0.wav"])
def test_a_table_beside_an_archive_names_files_as_they_unpack(tmp_path, written):
    write(tmp_path, metadata_csv=f"file_name,label\n{written},a\n")
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        archive.writestr("laugh/0.wav", b"")
    assert labels(tmp_path) == {"data.zip/laugh/0.wav": "a"}
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as archive:
        archive.writestr("laugh/0.wav", b"other")
    if written.lower().startswith("laugh"):
        with pytest.raises(UserError, match="may mean 'data.zip/laugh/0.wav', 'more.zip/laugh/0.wav'"):
            labels(tmp_path)
    else:
        assert labels(tmp_path) == {"data.zip/laugh/0.wav": "a"}


def test_a_file_has_one_row_in_all_tables(tmp_path):
    write(tmp_path, "train/0.wav", metadata_csv="file_name\n./train/0.wav\n")
    (tmp_path / "train/metadata.csv").write_text("file_name\n0.wav\n")
    with pytest.raises(UserError, match=r"train/metadata.csv, row 1: train/0.wav has another row .*csv, row 1"):
        clips_in(tmp_path, "c")


COMPOSED, DECOMPOSED = "\u00e9.wav", "e\u0301.wav"


@pytest.mark.parametrize(
    ("there", "written", "meant"),
    [
        (["laugh/1.wav"], "laugh\\1.wav", "laugh/1.wav"),
        (["laugh/1.wav"], ".\\laugh\\1.WAV", "laugh/1.wav"),
        (["laugh/1.wav", "laugh\\1.wav"], "laugh\\1.wav", "laugh\\1.wav"),
        ([COMPOSED], DECOMPOSED, COMPOSED),
        ([DECOMPOSED], COMPOSED, DECOMPOSED),
        ([COMPOSED, DECOMPOSED], COMPOSED, COMPOSED),
        ([COMPOSED, DECOMPOSED], DECOMPOSED, DECOMPOSED),
        (["a.wav", "A.wav"], "A.wav", "A.wav"),
        (["1.0"], "1.0", "1.0"),
        ([" a.wav "], "a.wav", " a.wav "),
        (["a.wav"], "a.wav\u00a0", "a.wav"),
    ],
)
def test_a_file_is_found_as_another_system_would_write_its_name(tmp_path, there, written, meant):
    write(tmp_path, *there, metadata_jsonl=json.dumps({"file_name": written, "label": "x"}))
    assert labels(tmp_path) == {meant: "x"}


@pytest.mark.parametrize(
    ("there", "rows", "message"),
    [
        (["a.Wav", "a.wAv"], ["A.WAV"], "row 1: file_name 'A.WAV' may mean 'a.Wav', 'a.wAv'; write the file's exact"),
        ([COMPOSED], [COMPOSED, DECOMPOSED], r"row 2: 'e\\u0301.wav', '\\xe9.wav' has another row .*row 1"),
        (["x/a.wav"], ["a.wav", "b.wav"], "row 1: there is no file 'a.wav', and none for any other .* 'x/a.wav'; file"),
        (["a.wav"], ["C:\\sounds\\a.wav"], "row 1: file_name .* is not in "),
        (["a.wav"], ["..\\a.wav"], "row 1: file_name .* is not in "),
    ],
)
def test_names_that_leave_in_doubt_which_file_is_meant_are_refused(tmp_path, there, rows, message):
    write(tmp_path, *there, metadata_jsonl="\n".join(json.dumps({"file_name": name}) for name in rows))
    with pytest.raises(UserError, match=message):
        clips_in(tmp_path, "c")


def test_a_person_sees_what_was_taken_for_what_and_what_was_not(tmp_path):
    table = "File Name,emotion,Speaker_ID,Age\n0.wav,cry,Ann,3\n1.wav,laugh,ann,4\n"
    write(tmp_path, "0.wav", "1.wav", metadata_csv=table)
    said = []
    files = list(read_audiofolder(tmp_path, "c", said.append))
    assert said == [
        "metadata.csv: columns: file_name from 'File Name', speaker from 'Speaker_ID', attributes from 'Age'; "
        "not used: 'emotion'"
    ]
    assert account("c", files) == [
        "c: 2 clips; no labels found; speakers: 2",
        "c: speakers that differ only in case, and count as different: Ann, ann",
    ]


def test_classes_are_counted_and_those_alike_are_named():
    odd = [*["Cry"] * 3, "cry", "line\nbreak", None, *map(str, range(7))]
    assert account("c", [Found(f"{i}.wav", label) for i, label in enumerate(odd)]) == [
        "c: 13 clips; labels: Cry 3, cry 1, 'line\\nbreak' 1, 0 1, 1 1, 2 1, 3 1, 4 1 and 2 more, without a label 1; "
        "no speakers found",
        "c: labels that differ only in case, and count as different: Cry, cry",
    ]


def test_classes_by_folder_differ_by_more_than_blanks_and_tables_beside_them_are_named(tmp_path):
    write(tmp_path, "cry/0.wav", "cry /1.wav", "baby\u00a0cry/2.wav", "baby cry/3.wav", "DATA.ZIP/4.wav", "labels.csv")
    assert set(labels(tmp_path).values()) == {"cry", "baby cry", "DATA"}
    assert said_of(tmp_path) == [
        "labels.csv: not read; a table that says what files are is called metadata.csv or metadata.jsonl"
    ]
