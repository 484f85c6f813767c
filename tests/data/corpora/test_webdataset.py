"""WebDataset tars in the layouts that others write, without a network, against what ``webdataset`` itself reads."""

import errno
import gzip
import io
import json
import os
import pickle
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import webdataset
from hypothesis import given
from hypothesis import strategies as st
from readings import found_in

from nonverbal import config
from nonverbal.data.corpora import choose_reader, read
from nonverbal.data.corpora import webdataset as webdataset_reader
from nonverbal.data.corpora.base import Found, Skipped
from nonverbal.data.corpora.webdataset import named_tars
from nonverbal.data.manifest import read_manifest
from nonverbal.data.preparing import prepare as prepare_module
from nonverbal.data.preparing import scan as scan_module
from nonverbal.data.preparing.prepare import prepare
from nonverbal.data.preparing.settings import PrepareConfig, Source
from nonverbal.errors import UserError
from pretrain.prepare import with_corpora


def samples(number, length=8000):
    return np.random.default_rng(number).integers(-9000, 9000, length, dtype=np.int16)


def audio(number, kind="FLAC", length=8000):
    buffer = io.BytesIO()
    soundfile.write(buffer, samples(number, length), 16_000, format=kind)
    return buffer.getvalue()


def encoded(value):
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def write(path, *members):
    """Write a tar of (name, content); content that is not bytes becomes JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(encoded(content))
            tar.addfile(info, io.BytesIO(encoded(content)))
    return path


def settings(folder, out, name="c", **of_source):
    return PrepareConfig(out=out, corpora={name: Source(folder, **of_source)}, processes=1, validation_share=0.3)


def reading(folder, name="c", pattern=None, say=lambda _: None, **columns):
    return {file.path: file for file in read(name, folder, "webdataset", pattern, say, columns)}


def known(file):
    """What is said of a clip, besides its path."""
    return {key: value for key, value in vars(file).items() if value not in (None, {}) and key != "path"}


def said(folder, **columns):
    files = reading(folder, **columns).values()
    return {file.path: known(file) for file in files if isinstance(file, Found)}


def ledger(out):
    rows = [json.loads(line) for line in (out / "ledger.jsonl").read_text().split("\n")[:-1]]
    assert len({row["path"] for row in rows}) == len(rows)
    return {row["path"]: (row["action"], row["reason"]) for row in rows}


def details(out):
    return {row["path"]: row["detail"] for row in map(json.loads, (out / "ledger.jsonl").read_text().split("\n")[:-1])}


# Layouts


def test_laion(tmp_path):
    """LAION's audio datasets: KEY.flac and KEY.json, with captions and tags in lists."""
    for number in range(4):
        of_json = {
            "text": [f"a dog {number}"],
            "tag": ["dog", "bark"],
            "original_data": {"id": f"f{number}", "class": 3},
        }
        write(tmp_path / f"in/train/{number}.tar", (f"{number}.flac", audio(number)), (f"{number}.json", of_json))
    columns = {"label": "json.tag.0", "text": "json.text.0", "recording": "json.original_data.id"}
    shards = prepare(settings(tmp_path / "in", tmp_path / "out", columns=columns))
    clips = {clip.path: clip for clip in shards.clips()}
    assert clips.keys() == {f"train/{number}.tar/{number}.flac" for number in range(4)}
    clip = clips["train/2.tar/2.flac"]
    assert (clip.label, clip.text, clip.recording, clip.split) == ("dog", "a dog 2", "c:f2", "train")
    assert ledger(tmp_path / "out")["train/2.tar/2.json"] == ("skipped", "says what a clip is")
    # Without columns the captions are lists, which is said, and not taken for a text.
    files = reading(tmp_path / "in")
    assert known(files["train/2.tar/2.flac"]) == {"recording": "c:2", "split": "train"}
    assert files["train/2.tar/2.json"].reason == "its text is a list"


def test_hugging_face(tmp_path):
    """Datasets of the Hub: train and test tars of KEY.mp3 and KEY.json."""
    for split, numbers in (("train", range(6)), ("test", range(6, 8))):
        members = []
        for n in numbers:
            of_json = {"label": "ab"[n % 2], "speaker_id": n // 2, "language": "en"}
            members += [(f"{n}.mp3", audio(n, "MP3")), (f"{n}.json", of_json)]
        write(tmp_path / f"in/data/{split}-00000-of-00001.tar", *members)
    shards = prepare(settings(tmp_path / "in", tmp_path / "out"))
    clips = shards.clips()
    assert [(clip.split, clip.label, clip.speaker, clip.language) for clip in clips] == [
        *[("test", "ab"[n % 2], "c:3", "en") for n in (6, 7)],
        *[("train", "ab"[n % 2], f"c:{n // 2}", "en") for n in range(6)],
    ]


def test_speech_toolkits(tmp_path):
    """Exports of ESPnet, WeNet and Lhotse: KEY.wav, KEY.txt, and a cut with its supervisions."""
    cut = {
        "id": "u1-0",
        "start": 0.0,
        "recording": {"id": "r7", "sampling_rate": 16000},
        "supervisions": [{"speaker": "ann", "text": "oh", "language": "fi", "custom": {"emotion": "joy"}}],
        "type": "MonoCut",
    }
    write(
        tmp_path / "shards_000000.tar",
        *[("u1.wav", audio(1, "WAV")), ("u1.txt", "oh, \u00e4h\n".encode()), ("u1.json", cut)],
        *[("u2.wav", audio(2, "WAV")), ("u2.txt", b"\xff\xfe"), ("u2.json", {})],
        *[("u3.data", pickle.dumps({"audio": b"x"}))],
    )
    files = reading(tmp_path)
    assert known(files["shards_000000.tar/u1.wav"]) == {"recording": "c:u1", "text": "oh, \u00e4h"}
    assert files["shards_000000.tar/u1.json"].reason == "its recording is an object"
    assert known(files["shards_000000.tar/u2.wav"]) == {"recording": "c:u2"}
    assert files["shards_000000.tar/u2.txt"].reason == "not text in UTF-8"
    assert files["shards_000000.tar/u3.data"].reason == "of a key without audio"
    columns = {
        "speaker": "json.supervisions.0.speaker",
        "label": "json.supervisions.0.custom.emotion",
        "language": "json.supervisions.0.language",
        "recording": "json.recording.id",
    }
    assert said(tmp_path, **columns)["shards_000000.tar/u1.wav"] == {
        **{"label": "joy", "speaker": "c:ann", "language": "fi"},
        **{"recording": "c:r7", "text": "oh, \u00e4h"},
    }


def test_our_own_shards_keep_the_names_of_their_corpora(tmp_path):
    members = []
    for n in range(6):
        members += [(f"{n}.wav", audio(n, "WAV", 40_000)), (f"{n}.json", {"label": "ab"[n % 2], "speaker": n // 2})]
    write(tmp_path / "in/x.tar", *members)
    config = {"processes": 1, "max_seconds": 2.0, "validation_share": 0.4}
    first = prepare(PrepareConfig(tmp_path / "first", {"c": Source(tmp_path / "in")}, **config))
    again = prepare(settings(tmp_path / "first", tmp_path / "again", name="mine"))
    # Each clip is cut in two, and each part a clip.
    assert len(again.clips()) == 12
    names = {(clip.label, clip.speaker, clip.recording) for clip in again.clips()}
    assert names == {("ab"[n % 2], f"c:{n // 2}", f"c:{n}") for n in range(6)}
    assert {clip.split for clip in again.clips()} == {"train", "validation"}
    # So what is kept out by its recording stays out under another name.
    exclude = [first.folder / "manifest.jsonl"]
    with pytest.raises(UserError, match="nothing to keep"):
        prepare(PrepareConfig(tmp_path / "none", {"mine": Source(tmp_path / "first")}, exclude=exclude, processes=1))


# Keys and parts


def test_what_parts_were_taken_for_is_said(tmp_path):
    of_json = {"Label": "a", "Speaker ID ": 3, "tags": [1]}
    more = {f"k{n:02}": n for n in range(20)}
    parts = [("1.flac", audio(1)), ("1.json", of_json), ("1.cls", b"7"), ("1.jpg", b""), ("2.flac", audio(2))]
    write(tmp_path / "in/x.tar", *parts, ("2.cls", b"2"), ("3.json", more))
    notes = []
    prepare(settings(tmp_path / "in", tmp_path / "out"), notes.append)
    assert notes[0] == "c: label from cls, json.label; speaker from json.speaker_id; not used: jpg, json.tags"
    clips = [clip for clip in reading(tmp_path / "in").values() if isinstance(clip, Found)]
    assert [(clip.label, clip.speaker) for clip in clips] == [("a", "c:3"), ("2", None)]
    write(tmp_path / "in/x.tar", ("1.flac", audio(1)), ("1.json", more))
    reading(tmp_path / "in", say=notes.append)
    keys = ", ".join(f"json.k{n:02}" for n in range(12))
    assert notes[-1] == f"no part says what a clip is; not used: {keys} and 8 more"


def test_all_audio_parts_of_a_key_are_clips_of_one_recording(tmp_path):
    write(
        tmp_path / "x.tar",
        *[("k.flac", audio(1)), ("k.speech.WAV", audio(2, "WAV")), ("k.json", {"label": "a", "speaker": 0})],
        *[("k.speech.json", {"label": "b"}), ("k.cls", b"7"), ("k.jpg", b"x"), ("k.pth", b"x"), ("k.pyd", b"x")],
        *[("l.ogg", audio(3, "OGG")), ("l.cls", b"laugh\n"), ("m.opus", audio(4, "OGG")), ("m.cls", b"0")],
    )
    files = reading(tmp_path)
    assert {path: known(file) for path, file in files.items() if isinstance(file, Found)} == {
        "x.tar/k.flac": {"label": "a", "speaker": "c:0", "recording": "c:k"},
        "x.tar/k.speech.WAV": {"label": "b", "speaker": "c:0", "recording": "c:k"},
        "x.tar/l.ogg": {"label": "laugh", "recording": "c:l"},
        "x.tar/m.opus": {"label": "0", "recording": "c:m"},
    }
    assert {files[f"x.tar/k.{part}"].reason for part in ("jpg", "pth", "pyd")} == {"not audio"}


def test_nothing_is_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "trapped"),)

    trap = pickle.dumps(Trap())
    parts = [(f"k.{part}", trap) for part in ("pyd", "pickle", "pkl", "pth", "txt", "json", "cls")]
    write(tmp_path / "in/x.tar", ("k.flac", audio(1)), *parts, ("l.flac", audio(2)))
    assert len(prepare(settings(tmp_path / "in", tmp_path / "out")).clips()) == 2
    assert not (tmp_path / "trapped").exists()
    assert ledger(tmp_path / "out")["x.tar/k.json"] == ("skipped", "not valid JSON")


@pytest.mark.parametrize("apart", [False, True])
def test_keys_that_repeat(tmp_path, apart):
    twice = [("a.flac", audio(1)), ("a.json", {"label": "x"})], [("a.flac", audio(2)), ("a.json", {"label": "y"})]
    between = [("b.flac", audio(3)), ("b.json", {"label": "z"})] if apart else []
    write(tmp_path / "in/0.tar", *twice[0], *between, *twice[1])
    write(tmp_path / "in/1.tar", ("a.flac", audio(4)), ("a.json", {"label": "w"}))
    shards = prepare(settings(tmp_path / "in", tmp_path / "out"))
    clips = {clip.path: clip for clip in shards.clips() if "/b" not in clip.path}
    assert {path: (clip.label, clip.recording) for path, clip in clips.items()} == {
        "0.tar/a.flac": ("x", "c:a"),
        "0.tar/a#2.flac": ("y", "c:a"),
        "1.tar/a.flac": ("w", "c:a"),
    }
    assert len({clip.sha256 for clip in clips.values()}) == 3
    assert ledger(tmp_path / "out")["0.tar/a#2.json"] == ("skipped", "says what a clip is")


def test_what_is_said_of_the_second_of_a_key_is_not_taken_for_the_first(tmp_path):
    b = [("b.flac", audio(2)), ("b.json", {"label": "b"})]
    write(tmp_path / "x.tar", ("a.flac", audio(1)), *b, ("a.flac", audio(3)), ("a.json", {"label": "second"}))
    assert {path: clip.get("label") for path, clip in said(tmp_path).items()} == {
        "x.tar/a.flac": None,
        "x.tar/b.flac": "b",
        "x.tar/a#2.flac": "second",
    }


def test_parts_of_a_key_may_lie_apart(tmp_path):
    clips = [(f"{key}.flac", audio(number)) for number, key in enumerate("abc")]
    write(tmp_path / "x.tar", *clips, *[(f"{key}.json", {"label": key}) for key in "cab"])
    assert {path: clip["label"] for path, clip in said(tmp_path).items()} == {f"x.tar/{key}.flac": key for key in "abc"}


def test_every_member_is_a_row_once(tmp_path):
    names = ["a.flac", "a.flac", "A.FLAC", "._a.flac", "d/._a.flac", "d/._a.flac", ".b.flac", "README", "n.json"]
    names += ["a.json", "a.txt", "d/e.f/k.x.y.flac", "/abs.flac", "../up.flac", "__MACOSX/._a.flac", "x\n\u2028.flac"]
    write(tmp_path / "in/x.tar", *[(name, audio(i) if "flac" in name.lower() else {}) for i, name in enumerate(names)])
    with tarfile.open(tmp_path / "in/x.tar", "a") as tar:
        link = tarfile.TarInfo("link.flac")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        tar.addfile(tarfile.TarInfo("\udcff.flac"))
        folder = tarfile.TarInfo("folder.flac")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
    prepare(settings(tmp_path / "in", tmp_path / "out"))
    rows = ledger(tmp_path / "out")
    # All but the folder.
    assert len(rows) == len(names) + 2
    kept = {path.removeprefix("x.tar/") for path, (action, _) in rows.items() if action == "kept"}
    assert kept == {"a.flac", "a#2.flac", "A.FLAC", "d/e.f/k.x.y.flac", "x\n\u2028.flac"}
    assert rows["x.tar/link.flac"] == ("skipped", "a link in a tar, which is not followed")
    assert rows["x.tar/../up.flac"] == rows["x.tar//abs.flac"] == ("skipped", "its name leads out of the tar")
    assert rows["x.tar/README"] == ("skipped", "its name has no key")
    assert rows["x.tar/n.json"] == ("skipped", "of a key without audio")
    assert rows["x.tar/\\udcff.flac"] == ("skipped", "its name is not valid UTF-8")


KEYS = st.sampled_from(["a", "b", "d/a", "b#2"])
PARTS = st.sampled_from(["flac", "json", "x.flac", "x.json", "txt", "FLAC"])


@given(st.lists(st.tuples(KEYS, PARTS), min_size=1, max_size=10))
def test_where_webdataset_reads_a_tar_we_read_the_same(tmp_path_factory, names):
    folder = tmp_path_factory.mktemp("tars")
    write(folder / "x.tar", ("z.flac", b""), *[(f"{key}.{part}", {"label": i}) for i, (key, part) in enumerate(names)])
    try:
        theirs = list(webdataset.WebDataset(str(folder / "x.tar"), shardshuffle=False))
    except ValueError:  # two parts of one name side by side, which it does not read
        assert len({(key, part.lower()) for key, part in names}) < len(names)
        theirs = None
    ours = [file for file in reading(folder).values() if isinstance(file, Found)]
    # None is lost, whatever repeats.
    assert len(ours) == 1 + sum(part.lower().endswith("flac") for _, part in names)
    keys = [sample["__key__"] for sample in theirs or []]
    if len(keys) > len(set(keys)):
        return
    for sample in theirs or []:
        for part in sample.keys() & {"flac", "x.flac"}:
            of_json = sample.get(part.replace("flac", "json"), sample.get("json"))
            label = None if of_json is None else str(json.loads(of_json)["label"])
            paths = {f"x.tar/{sample['__key__']}.{part}", f"x.tar/{sample['__key__']}.{part.upper()}"}
            assert [file.label for file in ours if file.path in paths] == [label]


# What cannot be read


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


# Which tars


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


# From tars to shards


def many(folder, count=24):
    for tar in range(3):
        members = []
        for n in range(tar, count, 3):
            members += [(f"{n}.flac", audio(n)), (f"{n}.json", {"label": "ab"[n % 2], "speaker": n % 8})]
        write(folder / f"{tar:03}.tar", *members)
    return folder


def contents(folder):
    names = [path for path in folder.iterdir() if path.name not in (".lock", ".inputs.json", "recipe.yaml")]
    return {path.name: path.read_bytes() for path in names}


def test_shards_of_tars_are_those_of_what_they_hold(tmp_path):
    many(tmp_path / "in")
    shards = prepare(settings(tmp_path / "in", tmp_path / "out"))
    clips = {clip.path: clip for clip in shards.clips()}
    assert len(clips) == 24
    for tar in sorted((tmp_path / "in").iterdir()):
        for sample in webdataset.WebDataset(str(tar), shardshuffle=False):
            clip = clips[f"{tar.name}/{sample['__key__']}.flac"]
            wanted = json.loads(sample["json"])
            assert (clip.label, clip.speaker) == (wanted["label"], f"c:{wanted['speaker']}")
            assert clip.id == f"c/{clip.path}"
    row_of = {clip.path: row for row, clip in enumerate(shards.clips())}
    for row in range(len(shards.table)):
        path = shards.clips()[shards.table[row]["clip"]].path
        number = int(Path(path).stem)
        np.testing.assert_allclose(shards.read(row), samples(number) / 32768, atol=2**-15)
        assert row_of[path] == shards.table[row]["clip"]
    assert list(read_manifest(shards.folder / "manifest.jsonl")) == shards.clips()


def test_what_was_decoded_is_not_decoded_again(tmp_path, monkeypatch, capsys):
    folder = many(tmp_path / "in")
    monkeypatch.setattr(scan_module, "CHUNK", 5)
    whole = contents(prepare(settings(folder, tmp_path / "whole")).folder)
    scan, decoded = prepare_module.scan, []

    def interrupted(work, scratch, processes):
        for number, done in enumerate(scan(work, scratch, processes)):
            if number == 2:
                raise KeyboardInterrupt
            yield done

    monkeypatch.setattr(prepare_module, "scan", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(settings(folder, tmp_path / "out"))
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out/.scratch").glob("*.jsonl")}
    assert len(before) >= 2

    def counted(work, scratch, processes):
        decoded.extend(chunk.key() for chunk in work if not (scratch / f"{chunk.key()}.jsonl").exists())
        return scan(work, scratch, processes)

    monkeypatch.setattr(prepare_module, "scan", counted)
    shards = prepare(settings(folder, tmp_path / "out"))
    assert len(decoded) == 5 - len(before)
    assert contents(shards.folder) == whole
    # The same command again does nothing; another tar is other input.
    prepare(settings(folder, tmp_path / "out"))
    assert "made before, nothing to do" in capsys.readouterr().out
    write(folder / "003.tar", ("99.flac", audio(99)))
    with pytest.raises(UserError, match="holds shards of other input"):
        prepare(settings(folder, tmp_path / "out"))


def test_tars_on_two_processes_and_by_name_give_the_same_shards(tmp_path):
    folder = many(tmp_path / "in")
    one = prepare(settings(folder, tmp_path / "one"))
    two = prepare(
        PrepareConfig(tmp_path / "two", {"c": Source(folder / "{000..002}.tar")}, processes=2, validation_share=0.3)
    )
    same = {key: value for key, value in contents(two.folder).items() if key != "ledger.json"}
    assert same == {key: value for key, value in contents(one.folder).items() if key != "ledger.json"}
    recipe = (two.folder / "recipe.yaml").read_text()
    again = config.load(PrepareConfig, [str(two.folder / "recipe.yaml")], "nonverbal prepare", "")
    assert "reader: webdataset" in recipe
    assert "pattern: '{000..002}.tar'" in recipe
    assert prepare(again).sha256 == two.sha256


@pytest.mark.processes
def test_workers_and_commands_do_not_import_webdataset():
    imported = "import sys; import nonverbal.data.preparing.prepare"
    code = f"{imported}; sys.exit('webdataset' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_manifest_without_texts_is_read(tmp_path):
    shards = prepare(settings(many(tmp_path / "in", 3), tmp_path / "out"))
    rows = [json.loads(line) for line in (shards.folder / "manifest.jsonl").read_text().split("\n")[:-1]]
    assert [row.pop("text") for row in rows] == [None] * 3
    (tmp_path / "old.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert list(read_manifest(tmp_path / "old.jsonl")) == shards.clips()
