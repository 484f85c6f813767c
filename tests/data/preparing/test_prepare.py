"""What ``nonverbal prepare`` makes of folders of sound: shards, their table, and a row for each file."""

import io
import json
import os
import shutil
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
import soundfile
import webdataset
from hypothesis import given
from hypothesis import strategies as st
from prepared import content, ledger, noise, reasons, settings, with_speakers, write

from nonverbal.data.corpora.base import Found
from nonverbal.data.preparing import prepare as prepare_module
from nonverbal.data.preparing import scan as scan_module
from nonverbal.data.preparing.ledger import read_summaries
from nonverbal.data.preparing.prepare import prepare
from nonverbal.data.preparing.settings import Source
from nonverbal.errors import UserError


def test_webdataset_reads_the_shards_back(corpus, tmp_path):
    shards = prepare(settings({"laughs": with_speakers(corpus)}, tmp_path / "out"))
    clips = {clip.id: clip for clip in shards.clips()}
    read = defaultdict(list)
    for shard in shards.shards:
        tar = str(shards.folder / shard["name"])
        samples = list(webdataset.WebDataset(tar, shardshuffle=False))
        assert len(samples) == shard["clips"]
        for sample in samples:
            row = json.loads(sample["json"])
            assert row["split"] == shard["split"]
            read[row["id"]].append((row["part"], soundfile.read(io.BytesIO(sample["flac"]), dtype="int16")[0]))
            assert {key: row[key] for key in ("label", "speaker", "sha256")} == {
                key: getattr(clips[row["id"]], key) for key in ("label", "speaker", "sha256")
            }
    assert read.keys() == clips.keys()
    for name, clip in clips.items():
        whole = np.concatenate([samples for _, samples in sorted(read[name], key=first)])
        if clip.path not in ("b/s1_stereo.wav", "b/s2_rate.wav"):
            np.testing.assert_array_equal(whole, soundfile.read(corpus / clip.path, dtype="int16")[0])


def first(pair):
    return pair[0]


def test_the_table_finds_every_part(corpus, tmp_path):
    shards = prepare(settings({"laughs": with_speakers(corpus)}, tmp_path / "out"))
    clips = shards.clips()
    seconds = Counter()
    for row in range(len(shards.table)):
        seconds[int(shards.table[row]["clip"])] += len(shards.read(row)) / 16_000
    assert seconds == {i: pytest.approx(clip.end, abs=1e-3) for i, clip in enumerate(clips)}


def test_the_same_bytes_on_any_number_of_processes_and_wherever_the_files_lie(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(scan_module, "CHUNK", 5)
    one = prepare(settings({"laughs": corpus}, tmp_path / "one"))
    moved = tmp_path / "elsewhere" / "deeper"
    shutil.copytree(corpus, moved)
    monkeypatch.chdir(moved.parent)
    two = prepare(settings({"laughs": Path("deeper")}, tmp_path / "two", processes=2))
    assert content(one.folder) == content(two.folder)
    assert {"index.json", "table.npy", "manifest.jsonl", "ledger.json", "ledger.jsonl"} <= content(one.folder).keys()
    assert one.sha256 == two.sha256
    other = prepare(settings({"laughs": corpus}, tmp_path / "other", seed=1))
    assert other.sha256 != one.sha256


def test_every_file_is_a_row_of_the_ledger_and_it_adds_up(corpus, tmp_path):
    shards = prepare(settings({"laughs": with_speakers(corpus)}, tmp_path / "out"))
    rows = ledger(shards.folder)
    assert [row["path"] for row in rows] == sorted(
        path.relative_to(corpus).as_posix() for path in corpus.rglob("*") if path.is_file()
    )
    (summary,) = read_summaries(shards.folder)
    dropped, skipped = sum(summary.dropped.values()), sum(summary.skipped.values())
    assert len(rows) == summary.files == summary.clips + skipped
    assert summary.clips == summary.kept + dropped
    assert summary.kept == summary.train + summary.validation == len(shards.clips())
    assert summary.hours == pytest.approx(summary.hours_kept + sum(summary.hours_dropped.values()), abs=1e-5)
    in_shards = sum(shard["seconds"] for shard in shards.shards) / 3600
    assert summary.hours_kept == pytest.approx(in_shards, abs=1e-5)
    in_validation = sum(shard["seconds"] for shard in shards.shards if shard["split"] == "validation") / 3600
    assert summary.hours_validation == pytest.approx(in_validation, abs=1e-5) != 0
    assert summary.groups == len(set(shards.table["group"].tolist()))
    assert summary.dropped == {
        "duplicate": 2,
        "empty": 1,
        "silent": 1,
        "too_short": 1,
        "truncated": 1,
        "unreadable": 1,
    }
    assert summary.skipped == {"not audio": 1}
    assert summary.done == {"cut": 1, "downmixed": 1, "resampled": 1}


def test_what_is_wrong_with_each_file(corpus, tmp_path):
    assert {
        path: why for path, why in reasons(prepare(settings({"x": corpus}, tmp_path / "out")).folder).items() if why
    } == {
        "a/s0_named.mp3": "duplicate",
        "b/s3_3.wav": "duplicate",
        "b/s4_short.wav": "too_short",
        "b/s5_silent.wav": "silent",
        "b/s6_empty.wav": "empty",
        "b/s7_cut.wav": "truncated",
        "b/s8_\nbroken\u2028.wav": "unreadable",
        "notes.txt": "not audio",
    }


def test_long_clips_are_cut_into_the_fewest_equal_parts(corpus, tmp_path):
    shards = prepare(settings({"x": corpus}, tmp_path / "out"))
    (clip,) = [i for i, clip in enumerate(shards.clips()) if clip.path == "b/s3_long.wav"]
    rows = np.flatnonzero(shards.table["clip"] == clip)
    rows = rows[np.argsort(shards.table["part"][rows])]
    assert shards.table["part"][rows].tolist() == [0, 1, 2]
    assert np.ptp(shards.table["samples"][rows].astype(int)) <= 1
    assert shards.table["samples"].max() <= 2 * 16_000
    whole = np.concatenate([shards.read(row) for row in rows])
    np.testing.assert_array_equal(whole, soundfile.read(corpus / "b/s3_long.wav", dtype="float32")[0])


def test_shards_keep_to_their_size(corpus, tmp_path):
    shards = prepare(settings({"x": corpus}, tmp_path / "out", shard_megabytes=0.1))
    for number, shard in enumerate(shards.shards):
        parts = shards.table[shards.table["shard"] == number]
        assert len(parts) == shard["clips"]
        assert parts["size"].sum() <= 100_000 or len(parts) == 1
    assert len(shards.shards) > 5


def test_no_speaker_recording_or_duplicate_is_on_both_sides(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    for number in range(30):
        write(one / f"s{number}_a.wav", noise(number))
        write(one / f"s{number}_b.wav", noise(100 + number))
        # Each has the samples of a clip of the first corpus, so that the duplicate ties two speakers together.
        write(two / f"s{number // 2}_{number}.flac", noise(number))
        write(two / f"s{number // 2}_{number}x.flac", noise(200 + number))
    corpora = {"one": with_speakers(one), "two": with_speakers(two)}
    shards = prepare(settings(corpora, tmp_path / "out"))
    assert Counter(row["reason"] for row in ledger(shards.folder)) == {None: 90, "duplicate": 30}
    # Any stretch of shards is a sample of the whole.
    order = shards.table["corpus"][shards.rows("train")]
    assert np.count_nonzero(np.diff(order.astype(int))) > 10
    side = {}
    for part in shards.table:
        side[int(part["clip"])] = shards.shards[part["shard"]]["split"]
    clips = shards.clips()
    assert len({clip.sha256 for clip in clips}) == len(clips)
    sides = defaultdict(set)
    for i, clip in enumerate(clips):
        number = int(clip.path.split("_")[0][1:])
        # The family: clips 2n and 2n + 1 share a speaker of the second corpus, and by their samples those of the first.
        sides[number // 2 if clip.corpus == "one" else number].add(side[i])
    assert all(len(both) == 1 for both in sides.values())
    assert {one for (one,) in sides.values()} == {"train", "validation"}


def test_exclusion_by_samples_and_by_recording(tmp_path):
    test, rest = tmp_path / "test", tmp_path / "rest"
    write(test / "r1_x.wav", noise(1))
    write(test / "r2_x.wav", noise(2))
    write(rest / "r7_copy.flac", noise(1))
    write(rest / "r7_other.wav", noise(3))
    write(rest / "r8_free.wav", noise(4))
    by_recording = r"(?P<recording>r\d)_"
    held_out = prepare(settings({"same": Source(test, "folder", by_recording)}, tmp_path / "held_out"))
    manifest = held_out.folder / "manifest.jsonl"
    shards = prepare(settings({"mine": Source(rest, "folder", by_recording)}, tmp_path / "out", exclude=[manifest]))
    details = {row["path"]: (row["reason"], row["detail"]) for row in ledger(shards.folder)}
    assert details == {
        "r7_copy.flac": ("excluded", "its samples are in an excluded manifest"),
        "r7_other.wav": ("excluded", "its recording mine:r7 is in an excluded manifest"),
        "r8_free.wav": (None, None),
    }
    write(test / "r1_new.wav", noise(5))
    with pytest.raises(UserError, match="nothing to keep: see .*ledger.jsonl for the reason of each file"):
        prepare(settings({"same": Source(test, "folder", by_recording)}, tmp_path / "none", exclude=[manifest]))
    assert set(reasons(tmp_path / "none").values()) == {"excluded"}


def test_strict_names_what_is_wrong_before_a_shard_is_written(corpus, tmp_path):
    with pytest.raises(UserError) as caught:
        prepare(settings({"x": corpus}, tmp_path / "out", strict=True))
    message = str(caught.value)
    assert message.startswith("--strict: 5 files are not as they should be: x/a/s0_named.mp3 is mislabelled; ")
    for problem in ("s5_silent.wav is silent", "s6_empty.wav is empty", "s7_cut.wav is truncated", "is unreadable"):
        assert problem in message
    assert "\n" not in message
    assert not list((tmp_path / "out").glob("*.tar*"))
    for name in ("a/s0_named.mp3", "b/s5_silent.wav", "b/s6_empty.wav", "b/s7_cut.wav", "b/s8_\nbroken\u2028.wav"):
        (corpus / name).unlink()
    assert len(prepare(settings({"x": corpus}, tmp_path / "out", strict=True)).clips()) == 23


def test_links_pipes_and_names_that_are_no_text(corpus, tmp_path):
    outside = write(tmp_path / "secret.wav", noise(900))
    (corpus / "out.wav").symlink_to(outside)
    (corpus / "folder.wav").symlink_to(tmp_path)
    (corpus / "loop.wav").symlink_to("loop.wav")
    (corpus / "gone.wav").symlink_to("nowhere.wav")
    write(corpus / "real.wav", noise(901))
    (corpus / "z_inside.wav").symlink_to("real.wav")
    os.mkfifo(corpus / "pipe.wav")
    with open(os.fsencode(corpus) + b"/latin_\xe9.wav", "wb") as file:
        file.write(outside.read_bytes())
    shards = prepare(settings({"x": corpus}, tmp_path / "out"))
    found = reasons(shards.folder)
    assert found["out.wav"] == "a link that leaves the folder"
    assert found["folder.wav"] == "a link to a folder, which is not followed"
    assert (found["loop.wav"], found["gone.wav"], found["pipe.wav"]) == ("unreadable", "missing", "unreadable")
    assert (found["real.wav"], found["z_inside.wav"]) == (None, "duplicate")
    assert found["latin_\\udce9.wav"] == "its name is not valid UTF-8"
    assert len(found) == len(ledger(shards.folder)) == sum(len(names) for _, _, names in os.walk(corpus)) + 1


def test_a_file_that_vanishes_is_missing(corpus, tmp_path, monkeypatch):
    read = prepare_module.read

    def read_and_lose(*arguments):
        yield from [*read(*arguments), Found("b/vanished.wav", "b")]

    monkeypatch.setattr(prepare_module, "read", read_and_lose)
    rows = ledger(prepare(settings({"x": corpus}, tmp_path / "out")).folder)
    (row,) = [row for row in rows if row["path"] == "b/vanished.wav"]
    assert (row["action"], row["reason"]) == ("dropped", "missing")


def test_a_file_that_may_not_be_read_is_in_the_rows(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(scan_module, "load", refuse)
    scan_module.decode_chunk(scan_module.Chunk("x", tmp_path, [Found("a.wav")], 10.0), tmp_path / "rows.jsonl")
    row = json.loads((tmp_path / "rows.jsonl").read_text())
    assert (row["problem"], row["detail"], row["parts"]) == ("unreadable", "Permission denied", [])


@given(st.integers(0, 10**6), st.integers(3200, 10**5))
def test_parts_are_as_few_and_as_equal_as_can_be(samples, longest):
    parts = np.diff(scan_module.equal_parts(samples, longest))
    assert parts.sum() == samples
    assert parts.max() <= longest
    assert np.ptp(parts) <= 1
    assert len(parts) == max(-(-samples // longest), 1)
