"""What is on both sides of listed folds: by what lists say, and by shards of the same files."""

import csv
import json
import sys

import numpy as np
import pytest
import soundfile

from evaluate.audit import AuditConfig, main, with_folders
from nonverbal import config
from nonverbal.data.audit.fold_leaks import audit_lists
from nonverbal.data.audit.fold_lists import Listed, read_lists
from nonverbal.data.preparing.prepare import prepare
from nonverbal.data.preparing.settings import PrepareConfig, Source
from nonverbal.errors import UserError

KINDS = ["samples", "recording", "speaker", "sound"]


def on(side, path, fold="1", speaker=None, recording=None, sha256=None):
    return Listed(path, fold, side, speaker, recording, sha256)


def told(result, fold=0):
    return {kind: (shared.clips, shared.known, shared.names) for kind, shared in result.folds[fold].test.items()}


def test_names_on_both_sides_are_found_fold_by_fold():
    """By hand: c shares its speaker with a, d its recording with b, and a is on both sides itself."""
    lists = [
        on("train", "a", speaker="x", recording="1"),
        on("validation", "b", speaker="y", recording="2"),
        on("test", "c", speaker="x", recording="3"),
        on("test", "d", speaker="z", recording="2"),
        on("test", "a"),
        on("train", "c", "2", speaker="x"),
        on("test", "b", "2", speaker="y"),
    ]
    result = audit_lists(lists, None, KINDS, None, 1)
    assert told(result) == {
        # a is listed with its speaker and recording once, and they are a's on the test side too.
        "file": (1, 3, ("a",)),
        "samples": (0, 0, ()),
        "recording": (2, 3, ("1", "2")),
        "speaker": (2, 3, ("x",)),
    }
    assert result.folds[0].counts == {"train": 1, "validation": 1, "test": 3}
    assert result.folds[0].validation["speaker"].clips == 0
    assert result.folds[1].leaks == {}
    assert result.folds[1].validation == {}
    assert result.leaks == {"file": 1, "recording": 1, "speaker": 1}


def test_choosing_on_who_is_trained_on_is_told_apart():
    lists = [on("train", "a", speaker="x"), on("validation", "b", speaker="x"), on("test", "c", speaker="y")]
    found = audit_lists(lists, None, ["speaker"], None, 1).folds[0]
    assert found.leaks == {}
    assert (found.validation["speaker"].clips, found.validation["speaker"].names) == (1, ("x",))


def test_the_speaker_can_be_in_the_path():
    lists = [on("train", "Audio/actor_96/1.wav"), on("test", "Audio/actor_96/2.wav"), on("test", "Audio/actor_7/3.wav")]
    found = audit_lists(lists, None, ["speaker"], r"actor_(\d+)", 1)
    assert told(found)["speaker"] == (1, 2, ("96",))
    for pattern, message in ((r"actor_\d+", "has no group for the speaker"), ("(", "is not a pattern")):
        with pytest.raises(UserError, match=message):
            audit_lists(lists, None, ["speaker"], pattern, 1)


def sound(number):
    random = np.random.default_rng(number)
    time = np.arange(32_000) / 16_000
    carrier = np.sin(2 * np.pi * np.cumsum(np.interp(time, np.arange(9) / 4, random.uniform(300, 1500, 9))) / 16_000)
    return 0.3 * carrier * random.uniform(0.3, 1, len(time)) + 0.1 * random.standard_normal(len(time))


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Six files of three speakers, of which s3_f is s1_a in softer."""
    folder = tmp_path_factory.mktemp("files")
    sounds = {"s1_a": sound(1), "s1_b": sound(2), "s2_c": sound(3), "s2_d": sound(4), "s3_e": sound(5)}
    for name, samples in (sounds | {"s3_f": 0.2 * sounds["s1_a"]}).items():
        (folder / name[:2]).mkdir(exist_ok=True)
        soundfile.write(folder / name[:2] / f"{name}.wav", np.clip(samples, -1, 1), 16_000, subtype="PCM_16")
    source = Source(folder, "folder", r"(?P<speaker>s\d)_")
    made = tmp_path_factory.mktemp("made") / "shards"
    settings = {"processes": 1, "validation_share": 0.3, "exclude": [], "near_duplicates": False}
    known = {key: value for key, value in settings.items() if key in PrepareConfig.__dataclass_fields__}
    return prepare(PrepareConfig(out=made, corpora={"x": source}, **known), lambda line: None)


def files(sides):
    return [on(side, f"downloads/x/wav16k/{name[:2]}/{name}.flac") for side, names in sides.items() for name in names]


def test_shards_know_speakers_samples_and_sounds_of_listed_files(shards):
    """Though the list begins its paths elsewhere, and names another kind of file."""
    sides = {"train": ["s1_a", "s2_c"], "test": ["s2_d", "s3_e", "s3_f", "s9_z"]}
    result = audit_lists(files(sides), shards, KINDS, None, 1)
    found = told(result)
    assert found["speaker"] == (1, 3, ("x:s2",))
    assert found["samples"] == (0, 3, ())
    assert found["sound"] == (1, 3, ("downloads/x/wav16k/s3/s3_f.flac",))
    assert found["file"] == (0, 4, ())
    assert result.missing == ["downloads/x/wav16k/s9/s9_z.flac"]


def test_files_that_are_not_there_or_not_told_apart_are_refused(shards):
    with pytest.raises(UserError, match=r"none of the files of the lists is in .*; the first is y/a.wav"):
        audit_lists([on("train", "y/a.wav"), on("test", "y/b.wav")], shards, KINDS, None, 1)


@pytest.fixture
def run(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["audit", *map(str, arguments)])
        main(list(map(str, arguments)))
        return capsys.readouterr().out

    return call


def test_the_program_shows_judges_and_writes(shards, run, tmp_path):
    with open(tmp_path / "lists.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "side"])
        writer.writerows([("s1/s1_a.wav", "train"), ("s2/s2_c.wav", "train"), ("s2/s2_d.wav", "test")])
    asked = (shards.folder, "--folds", tmp_path / "lists.csv")
    out = run(*asked, "--json", tmp_path / "audit.json")
    assert f"LEAK: in {tmp_path / 'lists.csv'}, the test side shares with the training or validation side: " in out
    assert "speaker in 1 of 1 folds" in out
    found = json.loads((tmp_path / "audit.json").read_text())
    assert found["leaks"] == {"speaker": 1}
    assert found["folds"][0]["test"]["speaker"] == {"clips": 1, "known": 1, "names": ["x:s2"]}
    with pytest.raises(UserError, match="--strict: LEAK"):
        run(*asked, "--strict")
    # Without shards nobody knows whose the files are.
    out = run("--folds", tmp_path / "lists.csv", "--strict")
    assert "by file; not known for all files: samples, recording, speaker" in out
    assert "unknown" in out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "there is nothing to audit"),
        (["a", "b", "--folds", "x"], "--folds takes one folder of shards at most, and no --b"),
        (["a", "--speaker", "(x)"], "--speaker applies to the paths in --folds"),
    ],
)
def test_settings_that_contradict_are_refused(argv, message):
    with pytest.raises(UserError, match=message):
        config.load(AuditConfig, with_folders(argv), "nonverbal audit", "")


def test_lists_of_this_toolkit_name_clips_by_their_ids(shards, tmp_path):
    ids = [clip.id for clip in shards.clips()]
    with open(tmp_path / "folds.jsonl", "w") as file:
        for number, clip in enumerate(ids):
            file.write(json.dumps({"clip": clip, "path": "wrong", "side": "train" if number % 2 else "test"}) + "\n")
    result = audit_lists(read_lists(tmp_path / "folds.jsonl"), shards, ["speaker"], None, 1)
    assert told(result)["speaker"] == (3, 3, ("x:s1", "x:s2", "x:s3"))
