import json
import os
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from readings import clips_in, found_in

from nonverbal.data.corpora import CATALOG, read
from nonverbal.data.corpora.base import Found, Skipped
from nonverbal.data.corpora.listing import files, leaves
from nonverbal.errors import UserError

SHARED = Path(__file__).parents[3].parent / "shared/data"
real = pytest.mark.skipif(not SHARED.is_dir(), reason="real recordings are not beside this checkout")
MARTIN = "data/voices/martin"
UUID = "0D1AD73E-4C5E-45F3-85C4-9A3CB71E8856"


def test_human_voice(tree):
    folder = tree(
        f"{MARTIN}/notes/exports/mono/A#3-2.wav",
        f"{MARTIN}/notes/exports/stereo/D#2-ko.wav",
        f"{MARTIN}/voyels/exports/mono/_-ou-c3-4.wav",
        f"{MARTIN}/voyels/exports/mono/odd.wav",
        f"{MARTIN}/notes/sources/A.mp3",
        "README.md",
    )
    reading = found_in(folder, "human-voice")
    labels = {Path(path).name: file.label for path, file in reading.items() if isinstance(file, Found)}
    assert labels == {"A#3-2.wav": "note", "D#2-ko.wav": "note", "_-ou-c3-4.wav": "ou", "odd.wav": None}
    clips = [file for file in reading.values() if isinstance(file, Found)]
    assert {(clip.speaker, clip.recording) for clip in clips} == {("human-voice:martin", "human-voice:martin")}
    assert reading["README.md"] == Skipped("README.md", "not an exported note or vowel")


def test_donateacry_labels_by_folder_and_groups_by_install(tree):
    folder = tree(
        f"discomfort/{UUID}-1430742197-1.0-m-04-ch.wav",
        f"hungry/{UUID.lower()}-1430742198-1.0-f-48-hu.wav",
        "hungry/another.wav",
    )
    reading = found_in(folder, "donateacry")
    clips = [file for file in reading.values() if isinstance(file, Found)]
    assert [clip.label for clip in clips] == ["discomfort", "hungry"]
    assert {clip.speaker for clip in clips} == {clip.recording for clip in clips} == {f"donateacry:{UUID.lower()}"}
    assert reading["hungry/another.wav"] == Skipped("hungry/another.wav", "not in the cleaned set")


def test_donateacry_uploads_label_by_code_and_share_the_groups_of_the_cleaned_set(tree):
    folder = tree(
        f"donateacry-android-upload-bucket/{UUID}-1437123865948-1.7-f-26-dk.3gp",
        f"donateacry-ios-upload-bucket/{UUID}-1430742197-1.0-m-04-ch.caf",
    )
    clips = list(found_in(folder, "donateacry-uploads").values())
    assert [clip.label for clip in clips] == ["unknown", "cold_hot"]
    assert {clip.recording for clip in clips} == {f"donateacry:{UUID.lower()}"}


@pytest.mark.parametrize("time", ["1430742197", "1430742197.25", "1430742197865"])
@pytest.mark.parametrize("ending", ["caf", "caf.caf", "CAF", "3gp", "3GP"])
def test_donateacry_uploads_are_read_whatever_their_time_and_ending(time, ending, tree):
    folder = tree(f"bucket/{UUID}-{time}-1.0-{UUID}-f-26-ti.{ending}", f"bucket/{UUID}-{time}-1.0-f-26-hu.{ending}")
    assert [clip.label for clip in clips_in(folder, "donateacry-uploads").values()] == ["tired", "hungry"]


@pytest.mark.parametrize("name", CATALOG)
def test_another_folder_is_refused_with_what_was_expected_and_found(name, tree):
    folder = tree("cats/meow.wav", "notes.txt")
    with pytest.raises(UserError) as caught:
        found_in(folder, name)
    assert str(caught.value) == (
        f"{folder} does not look like this corpus: expected {CATALOG[name].looks_like}; "
        "found 2 files, 1 of them audio, such as cats/meow.wav"
    )


@real
def test_human_voice_is_the_179_clips_of_voc125():
    reading = found_in(SHARED / "human-voice-dataset", "human-voice").values()
    labels = Counter(file.label for file in reading if isinstance(file, Found))
    assert labels.total() == CATALOG["human-voice"].clips == 179
    assert labels["note"] == 150


@real
def test_donateacry_is_the_457_clips_of_voc2vec():
    reading = found_in(SHARED / "donateacry-corpus", "donateacry").values()
    clips = [file for file in reading if isinstance(file, Found)]
    classes = {"belly_pain": 16, "burping": 8, "discomfort": 27, "hungry": 382, "tired": 24}
    assert Counter(clip.label for clip in clips) == classes
    assert len(clips) == CATALOG["donateacry"].clips == 457
    assert len({clip.speaker for clip in clips}) == 221


@real
def test_donateacry_uploads_are_all_recognised():
    reading = found_in(SHARED / "donateacry-corpus", "donateacry-uploads").values()
    uploads = [file for file in reading if Path(file.path).suffix in (".3gp", ".caf")]
    assert {Path(file.path).suffix for file in uploads} == {".3gp", ".caf"}
    assert all(isinstance(file, Found) and file.label for file in uploads)


def test_a_folder_a_class(tree):
    folder = tree("laugh/a.wav", "laugh/loud/b.MP3", "top.flac", "notes.txt", "mp3")
    reading = found_in(folder, "mine")
    assert {path: file.label for path, file in reading.items() if isinstance(file, Found)} == {
        "laugh/a.wav": "laugh",
        "laugh/loud/b.MP3": "loud",
        "top.flac": None,
    }
    assert reading["notes.txt"].reason == reading["mp3"].reason == "not audio"


def test_a_pattern_names_speakers_and_recordings(tree):
    folder = tree("x/7_ann_3.wav", "x/other.wav", "x/notes.txt")
    reading = found_in(folder, "digits", "folder", r"(?P<label>\d)_(?P<speaker>[a-z]+)_(?P<recording>\d)")
    assert reading["x/7_ann_3.wav"] == Found("x/7_ann_3.wav", "7", speaker="digits:ann", recording="digits:3")
    assert reading["x/other.wav"] == Skipped("x/other.wav", "does not match the pattern")
    assert reading["x/notes.txt"] == Skipped("x/notes.txt", "not audio")


def test_the_case_of_an_ending_does_not_count_in_a_pattern(tree):
    reading = found_in(tree("a/7_ann.WAV", "b/8_bob.wav"), "digits", "folder", r"(?P<label>\d)_[a-z]+\.wav$")
    assert [file.label for file in reading.values()] == ["7", "8"]


def test_an_archive_in_an_archive_is_named_where_nothing_else_is_there(tree):
    folder = tree("readme.txt")
    with zipfile.ZipFile(folder / "all.zip", "w") as archive:
        archive.writestr("more/vivae.zip", b"")
    with pytest.raises(UserError, match=r"found 1 files, 0 of them audio; unpack all.zip/more/vivae.zip first"):
        found_in(folder, "vivae")


@pytest.mark.parametrize("name", ["more.tar", "more.tgz", "more.rar", "MORE.7Z"])
def test_archives_that_are_not_read_are_named(tree, name):
    folder = tree("laugh/1.wav", name)
    told = []
    rows = {row.path: row for row in read("c", folder, "folder", None, told.append)}
    assert rows[name].reason == told[0].split(": ", 1)[1]
    assert told == [f"{name}: an archive that is not read here: unpack it, or read a folder of tars alone"]


def test_a_group_that_takes_no_part_in_a_match_leaves_what_is_known(tree):
    clip = found_in(tree("laugh/a.wav"), "mine", "folder", r"(?P<speaker>s\d)?[^/]+$")["laugh/a.wav"]
    assert (clip.label, clip.speaker) == ("laugh", None)


@pytest.mark.parametrize(
    ("reader", "pattern", "message"),
    [
        ("folder", "(", r"the pattern '\(' is not a regular expression: missing \)"),
        ("folder", "(?P<singer>.)", "names singer; groups may be label, speaker, session, recording, language, split"),
        ("audiofolder", None, "is not an audiofolder: expected metadata.csv or metadata.jsonl in it"),
        ("human-voice", ".", "the reader human-voice takes no pattern; give pattern with reader: folder"),
        ("human-voices", None, "unknown reader 'human-voices' for mine; did you mean 'human-voice'?"),
        (
            "csv",
            None,
            "unknown reader 'csv' for mine; there are folder, audiofolder, webdataset and what",
        ),
    ],
)
def test_readers_and_patterns_that_cannot_be_are_refused(tree, reader, pattern, message):
    with pytest.raises(UserError, match=message):
        found_in(tree("a.wav"), "mine", reader, pattern)


def test_a_folder_that_is_missing_or_without_audio_is_refused(tree):
    with pytest.raises(UserError, match="'mine' should be in .*nowhere, but there is no such folder"):
        found_in(tree() / "nowhere", "mine")
    with pytest.raises(UserError, match="holds no audio: .* found 1 files"):
        found_in(tree("notes.txt"), "mine")


ROWS = [
    {"file_name": "a.wav", "label": "laugh", "speaker_id": "7", "language": "fr", "age": "30"},
    {"file_name": "./sub/b.wav", "label": "cry", "speaker": "ann", "recording": "r1", "session": "s1"},
    {"file_name": "gone.wav", "speaker_id": "8"},
]


def metadata(folder, kind, rows):
    if kind == "jsonl":
        text = "".join(json.dumps(row) + "\n" for row in rows)
    else:
        keys = list(dict.fromkeys(key for row in rows for key in row))
        lines = [keys, *([row.get(key, "") for key in keys] for row in rows)]
        text = "\ufeff" + "".join(",".join(f'"{value}"' for value in line) + "\r\n" for line in lines)
    (folder / f"metadata.{kind}").write_text(text, newline="")


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_an_audiofolder(tree, kind):
    folder = tree("a.wav", "sub/b.wav", "c.wav", "notes.txt")
    metadata(folder, kind, ROWS)
    assert found_in(folder, "mine") == {
        "a.wav": Found("a.wav", "laugh", speaker="mine:7", language="fr"),
        "sub/b.wav": Found("sub/b.wav", "cry", speaker="mine:ann", session="mine:s1", recording="mine:r1"),
        "gone.wav": Found("gone.wav", speaker="mine:8"),
        "c.wav": Skipped("c.wav", "not in the metadata"),
        "notes.txt": Skipped("notes.txt", "not audio"),
        f"metadata.{kind}": Skipped(f"metadata.{kind}", "not audio"),
    }


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@pytest.mark.parametrize("label", ["two\nlines", "para\u2028graph", "next\x85line", "tab\there"])
def test_odd_characters_in_metadata_break_no_row(tree, kind, label):
    folder = tree("a.wav", "b.wav")
    metadata(folder, kind, [{"file_name": "a.wav", "label": label}, {"file_name": "b.wav", "label": "x"}])
    reading = found_in(folder, "mine")
    assert (reading["a.wav"].label, reading["b.wav"].label) == (label, "x")


@pytest.mark.parametrize("path", ["../b.wav", "/etc/passwd", "sub/../../b.wav", "..", ".", "a\0.wav"])
def test_metadata_that_leave_the_folder_are_refused(tree, path):
    folder = tree("a.wav")
    metadata(folder, "jsonl", [{"file_name": "a.wav"}, {"file_name": path}])
    with pytest.raises(UserError, match=r"metadata.jsonl, row 2: file_name .* is not in "):
        found_in(folder, "mine")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"label": "x"}', "row 2: no file_name"),
        ("[]", "row 2: no file_name"),
        ("{", "metadata.jsonl cannot be read: "),
        ('{"file_name": "a.wav"}', "row 2: a.wav has another row"),
        (r'{"file_name": "b.wav", "label": "\ud800"}', "metadata.jsonl cannot be read: .*surrogates"),
    ],
)
def test_broken_metadata_are_refused_with_the_row(tree, line, message):
    folder = tree("a.wav")
    (folder / "metadata.jsonl").write_text('{"file_name": "a.wav"}\n' + line + "\n")
    with pytest.raises(UserError, match=message):
        found_in(folder, "mine")


def test_links_count_as_files_and_are_not_followed(tree):
    folder = tree("in/a.wav", "in/b.wav")
    (folder / "in/loop").symlink_to(folder)
    (folder / "in/self.wav").symlink_to("self.wav")
    (folder / "in/out.wav").symlink_to("../../elsewhere.wav")
    assert list(files(folder)) == ["in/a.wav", "in/b.wav", "in/loop", "in/out.wav", "in/self.wav"]
    assert [path for path in files(folder) if leaves(folder, path)] == ["in/out.wav"]


def test_a_folder_that_cannot_be_listed_is_named_and_not_passed_over(tree, monkeypatch):
    folder = tree("in/a.wav", "secret/b.wav")
    scandir = os.scandir

    def refuse(path):
        if Path(path).name == "secret":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match=r"the folder .*secret cannot be listed: Permission denied"):
        found_in(folder, "mine")
