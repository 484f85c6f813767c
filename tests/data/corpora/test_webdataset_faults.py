"""What cannot be read of WebDataset tars, and which tars are read."""

import errno
import gzip
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from readings import found_in
from tars import audio, details, known, ledger, reading, said, settings, write

from nonverbal import config
from nonverbal.data.corpora import choose_reader
from nonverbal.data.corpora import webdataset as webdataset_reader
from nonverbal.data.corpora.base import Found, Skipped
from nonverbal.data.corpora.webdataset import named_tars
from nonverbal.data.preparing.prepare import prepare
from nonverbal.data.preparing.settings import PrepareConfig, Source
from nonverbal.errors import UserError
from pretrain.prepare import with_corpora


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"{", "not valid JSON"),
        (b"\xff\xfe{", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"label": "a", "label": "b"}', "'label' is there twice"),
        (b"1" * 5000, "not valid JSON"),
        (b"[1, 2]", "not a JSON object"),
        (b'"laugh"', "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'{"label": ["a", "b"], "speaker": {"id": 1}}', "its label is a list; its speaker is an object"),
        (b'{"label": NaN, "speaker": -Infinity}', "its label is NaN; its speaker is infinite"),
        (b'{"label": "\\ud800"}', "its label is not text"),
        (b'{"label": null, "speaker": "  "}', "says what a clip is"),
        (b" " * ((1 << 24) + 1), "more than 16 MB, and not read"),
    ],
)
def test_a_clip_is_kept_without_what_cannot_be_read(tmp_path, content, problem):
    write(tmp_path / "x.tar", ("k.flac", audio(1)), ("k.json", content), ("k.cls", b"5"))
    files = reading(tmp_path)
    assert known(files["x.tar/k.flac"]) == {"label": "5", "recording": "c:k"}
    assert files["x.tar/k.json"] == Skipped("x.tar/k.json", problem)


@pytest.mark.parametrize(
    ("written", "label"), [("3.0", "3"), ("03", "03"), (" -1.00\n", "-1"), ("nan", None), ("1.50", "1.50")]
)
def test_a_number_in_a_text_has_one_spelling(tmp_path, written, label):
    write(tmp_path / "x.tar", ("k.flac", audio(1)), ("k.cls", written.encode()), ("k.txt", b"3.0"))
    clip = reading(tmp_path)["x.tar/k.flac"]
    assert (clip.label, clip.text) == (label, "3.0")


def test_what_systems_keep_in_tars_is_hidden(tmp_path):
    hidden = ("._k.flac", "__MACOSX/k.flac", ".git/k.flac")
    write(tmp_path / "x.tar", ("k.flac", audio(1)), *((name, audio(2)) for name in hidden))
    files = reading(tmp_path)
    assert {files[f"x.tar/{name}"].reason for name in hidden} == {"hidden, or a system's own"}


def test_json_that_is_no_object_may_be_what_a_column_names(tmp_path):
    write(tmp_path / "x.tar", ("k.flac", audio(1)), ("k.json", "laugh"), ("k.meta.json", ["ann", 3]))
    assert said(tmp_path, label="json", speaker="meta.json.0") == {
        "x.tar/k.flac": {"label": "laugh", "speaker": "c:ann", "recording": "c:k"}
    }


def damaged(folder):
    """Tars beside a good one: cut, of zeros, empty, of noise, compressed, a folder, a link that leads out."""
    data = write(folder / "0.tar", *[(f"{n}.flac", audio(n)) for n in range(3)]).read_bytes()
    second = write(folder / "1.tar", *[(f"{n}.flac", audio(n)) for n in range(3, 6)]).read_bytes()
    (folder / "1.tar").write_bytes(second[: len(second) // 2])
    (folder / "2.tar").write_bytes(b"")
    (folder / "3.tar").write_bytes(np.random.default_rng(0).bytes(5000))
    (folder / "4.tar").write_bytes(bytes(10_240))
    (folder / "5.tar.gz").write_bytes(gzip.compress(data))
    (folder / "6.tar").mkdir()
    (folder.parent / "outside.tar").write_bytes(data)
    (folder / "7.tar").symlink_to(folder.parent / "outside.tar")
    (folder / "notes.txt").write_text("hello")


def test_a_damaged_tar_is_a_row_and_ends_nothing(tmp_path):
    damaged(tmp_path / "in")
    shards = prepare(settings(tmp_path / "in", tmp_path / "out"))
    assert [clip.path for clip in shards.clips()] == ["0.tar/0.flac", "0.tar/1.flac", "0.tar/2.flac", "1.tar/3.flac"]
    rows = {path: row for path, row in ledger(tmp_path / "out").items() if row[0] != "kept"}
    assert rows == {
        **dict.fromkeys(("1.tar", "2.tar", "3.tar", "5.tar.gz"), ("dropped", "unreadable")),
        "4.tar": ("skipped", "a tar without files"),
        "7.tar": ("skipped", "a link that leaves the folder"),
        "notes.txt": ("skipped", "not a tar"),
    }
    detail = details(tmp_path / "out")
    assert detail["1.tar"].startswith("cut in '4.flac', ")
    assert detail["2.tar"] == "empty file; no files before that"
    assert detail["5.tar.gz"] == "compressed: unpack it first, with gunzip; no files before that"
    with pytest.raises(UserError, match=r"--strict: 4 files are not as they should be: c/1.tar is unreadable"):
        prepare(PrepareConfig(tmp_path / "strict", {"c": Source(tmp_path / "in")}, strict=True, processes=1))


def test_a_tar_that_is_not_there_is_missing(tmp_path):
    for number in (0, 2):
        write(tmp_path / f"in/train-{number:03}.tar", (f"{number}.flac", audio(number)))
    write(tmp_path / "in/train-003.tar", ("3.flac", audio(3)))
    shards = prepare(settings(tmp_path / "in/train-{000..002}.tar", tmp_path / "out"))
    assert [clip.path for clip in shards.clips()] == ["train-000.tar/0.flac", "train-002.tar/2.flac"]
    assert ledger(tmp_path / "out")["train-001.tar"] == ("dropped", "missing")
    assert "train-003.tar" not in ledger(tmp_path / "out")


def test_a_fault_of_the_machine_stops_and_one_of_the_file_does_not(tmp_path, monkeypatch):
    tar = write(tmp_path / "x.tar", ("a.flac", audio(1)))
    listing = webdataset_reader.tars.listing

    def failing(path):
        if path == tar:
            raise error
        return listing(path)

    monkeypatch.setattr(webdataset_reader.tars, "listing", failing)
    error = OSError(errno.EIO, "Input/output error")
    with pytest.raises(UserError, match=r"x.tar cannot be read: Input/output error; run the same command again"):
        reading(tmp_path)
    error = PermissionError(errno.EACCES, "Permission denied")
    assert reading(tmp_path) == {"x.tar": Found("x.tar")}


def test_braces_and_single_tars_name_tars(tmp_path, monkeypatch):
    for tar, number in (("train/0", 0), ("train/1", 1), ("test/0", 2), ("test/1", 3)):
        write(tmp_path / f"in/{tar}.tar", (f"{number}.flac", audio(number)))
    monkeypatch.chdir(tmp_path)
    path = Path("in/{train,test}/{0..1}.tar")
    assert named_tars(path) == (Path("in"), "{train,test}/{0..1}.tar")
    assert named_tars(Path("in/test/0.tar")) == (Path("in/test"), "0.tar")
    assert named_tars(Path("{a,b}.TAR")) == (Path("."), "{a,b}.TAR")
    assert named_tars(Path("in")) is None
    shards = prepare(settings(path, tmp_path / "out"))
    splits = {clip.path: clip.split for clip in shards.clips()}
    assert splits == {
        **{"train/0.tar/0.flac": "train", "train/1.tar/1.flac": "train"},
        **{"test/0.tar/2.flac": "test", "test/1.tar/3.flac": "test"},
    }
    prepare(settings(tmp_path / "in/train/1.tar", tmp_path / "one"))
    assert ledger(tmp_path / "one") == {"1.tar/1.flac": ("kept", None)}


def test_the_command_line_takes_braces_and_columns(tmp_path):
    argv = ["c=in/{000..127}.tar", "--corpora.c.columns.label=json.class", "--out", "x"]
    loaded = config.load(PrepareConfig, with_corpora(argv), "nonverbal prepare", "")
    assert loaded.corpora == {"c": Source(Path("in/{000..127}.tar"), columns={"label": "json.class"})}


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("pipe:touch {here}/ran.tar", "is an address or a command, not a folder: get the files first"),
        ("pipe:touch {here}/ran; cat x.tar", "is an address or a command"),
        ("https://example.org/{{000..127}}.tar", "is an address or a command"),
        ("hf://datasets/a/b/x.tar", "is an address or a command"),
        ("s3://b/x.tar", "is an address or a command"),
        ("file:{here}/in/x.tar", "is an address or a command"),
        ("{here}/in/{{x,pipe:ls}}/../../x.tar", "which is not a tar in"),
        ("{here}/in/x.tar::pipe:touch ran.tar", "names 'x.tar::pipe:touch ran.tar'|is an address, a command or a list"),
        ("{here}/in/${{HOME}}.tar", "is an address, a command or a list"),
        ("{here}/in/{{5..7}}.tar", "names 3 tars, of which none is there, such as 5.tar"),
        ("{here}/in/{{5..7.tar", "braces|none is there"),
        ("{here}/no/x.tar", "there is no such folder"),
    ],
)
def test_only_files_of_this_machine_are_read_and_nothing_is_run(tmp_path, monkeypatch, folder, message):
    write(tmp_path / "in/x.tar", ("a.flac", audio(1)))
    monkeypatch.setattr(subprocess, "Popen", None)
    monkeypatch.setattr(os, "system", None)
    with pytest.raises(UserError, match=message):
        prepare(settings(Path(folder.format(here=tmp_path)), tmp_path / "out"))
    assert not list(tmp_path.rglob("*ran*"))


@pytest.mark.parametrize("pattern", ["pipe:cat x.tar", "/x.tar", "../{x,y}.tar", "x.tar::y.tar", "x.wav"])
def test_a_pattern_names_tars_in_the_folder(tmp_path, pattern):
    write(tmp_path / "in/x.tar", ("a.flac", audio(1)))
    with pytest.raises(UserError, match="address, a command or a list of them|which is not a tar in"):
        reading(tmp_path / "in", pattern=pattern)


def test_a_folder_of_tars_is_found(tmp_path):
    write(tmp_path / "deep/down/x.TAR", ("a.flac", audio(1)))
    assert choose_reader("c", tmp_path, None) == "webdataset"
    assert found_in(tmp_path, "c")["deep/down/x.TAR/a.flac"] == Found("deep/down/x.TAR/a.flac", recording="c:a")
    (tmp_path / "b.wav").write_bytes(audio(1, "WAV"))
    assert choose_reader("c", tmp_path, None) == "folder"
    assert choose_reader("c", tmp_path, "webdataset") == "webdataset"
    (tmp_path / "metadata.csv").write_text("file_name\nb.wav\n")
    assert choose_reader("c", tmp_path, None) == "audiofolder"


def test_tars_without_audio_are_refused(tmp_path):
    write(tmp_path / "x.tar", ("a.json", {}))
    with pytest.raises(UserError, match=r"holds no audio in tars: expected samples such as KEY.flac and KEY.json"):
        reading(tmp_path)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"columns": {"labell": "cls"}}, "columns of labell; they may be of label, speaker, session, recording"),
        (
            {"columns": {"label": "json.clas", "speaker": "cls"}},
            "no sample has one value of label: json.clas; 'a' has the parts flac, json, cls, its json the keys 'class'",
        ),
        ({"columns": {"label": "cls"}, "reader": "folder"}, "the reader folder takes no columns"),
        ({"reader": "audiofolder"}, "is not an audiofolder"),
    ],
)
def test_a_recipe_that_fits_no_sample_is_refused(tmp_path, source, message):
    write(tmp_path / "in/x.tar", ("a.flac", audio(1)), ("a.json", {"class": [1]}), ("a.cls", b"1"))
    if source.get("reader") == "folder":
        (tmp_path / "in/a.wav").write_bytes(audio(1, "WAV"))
    with pytest.raises(UserError, match=message):
        prepare(settings(tmp_path / "in", tmp_path / "out", **source))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"reader": "folder"}, "c consists of tars, which folder does not read"),
        ({"pattern": "x"}, "c has a pattern, and tars in folder"),
    ],
)
def test_tars_take_no_other_reader_and_no_pattern(tmp_path, source, message):
    with pytest.raises(UserError, match=message):
        prepare(settings(tmp_path / "in/{0..1}.tar", tmp_path / "out", **source))


PATHS = [
    *("train-000.tar", "train/000.tar", "data/val_0.tar", "dev.tar", "x/eval-1.tar", "testing 2.tar", "TRAIN.tar"),
    *("train/test.tar", "strain.tar", "latest.tar", "a-validation-b/1.tar", "training1/x.tar", "0.tar", "valid.0.tar"),
]


@pytest.mark.parametrize("path", PATHS)
def test_the_split_is_what_hugging_face_takes_a_path_for(tmp_path, path, monkeypatch):
    data_files = pytest.importorskip("datasets.data_files")
    write(tmp_path / path, ("a.flac", audio(1)))
    monkeypatch.chdir(tmp_path)
    (split,) = data_files.get_data_patterns(".") if path == path.lower() else ["train"]
    # Where no name says anything, all is train to Hugging Face; not to us.
    nothing = path in ("strain.tar", "latest.tar", "0.tar")
    assert said(tmp_path)[f"{path}/a.flac"].get("split") == (None if nothing else str(split))
