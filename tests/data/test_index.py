import hashlib
import io
import json
import os
import pickle
import shutil
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from nonverbal.data.index import open_shards
from nonverbal.data.manifest import as_row, read_manifest, write_manifest
from nonverbal.errors import UserError


@pytest.fixture
def shards(make_shards):
    return make_shards([("a", 1.0, "train")] * 9 + [("b", 0.5, "validation")])


def edit_index(folder, **changes):
    path = folder / "index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_parts_are_read_at_their_offsets(shards):
    for row in range(10):
        expected = np.random.default_rng(row).uniform(-0.5, 0.5, 16_000 if row < 9 else 8_000)
        np.testing.assert_allclose(shards.read(row), expected, atol=2**-15)
        np.testing.assert_array_equal(shards.read(row, 100, 300), shards.read(row)[100:300])
    assert shards.rows("train").tolist() == list(range(9))
    assert shards.rows("validation").tolist() == [9]


def test_parts_are_read_as_the_16_bits_that_they_hold(shards):
    for row in range(10):
        values = shards.read(row, 30, 900, "int16")
        assert values.dtype == np.int16
        np.testing.assert_array_equal(values.astype(np.float32) / 32768, shards.read(row, 30, 900))


def test_a_part_of_more_than_16_bits_is_refused(shards):
    """No such part comes from nonverbal prepare; reading it as int16 would drop what is beyond 16 bits."""
    part = shards.table[1]
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(int(part["samples"])), 16_000, format="FLAC", subtype="PCM_24")
    assert len(buffer.getvalue()) <= part["size"]
    with open(shards.folder / "train-000000.tar", "r+b") as file:
        file.seek(int(part["offset"]))
        file.write(buffer.getvalue())
    with pytest.raises(UserError, match=r"train-000000.tar: the audio at byte \d+ is PCM_24, but parts have 16 bits"):
        open_shards(shards.folder).read(1)


def test_a_manifest_reads_back_as_written(shards, tmp_path):
    clips = shards.clips()
    write_manifest(tmp_path / "again.jsonl", clips)
    assert list(read_manifest(tmp_path / "again.jsonl")) == clips


@pytest.mark.parametrize("line", ["{", "[]", '{"id": "x"}'])
def test_a_manifest_row_that_cannot_be_read_is_named(shards, line):
    with open(shards.folder / "manifest.jsonl", "a") as file:
        file.write(line + "\n")
    with pytest.raises(UserError, match=r"manifest.jsonl, line 11: not a"):
        shards.clips()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("text", 7, "text must be a text or null, but is int"),
        ("text", {"de": "ja"}, "text must be a text or null, but is dict"),
        ("text", "x" * 100_001, "text has 100001 characters; at most 100000 are read"),
        ("label", ["cough"], "label must be a text or null, but is list"),
        ("path", None, "path must be a text, but is NoneType"),
        ("sample_rate", 16e3, "sample_rate must be a whole number, but is float"),
        ("end", "1.5", "end must be a number, but is str"),
    ],
)
def test_a_field_of_a_manifest_that_is_of_another_kind_is_named(shards, tmp_path, field, value, message):
    row = as_row(shards.clips()[0])
    (tmp_path / "wrong.jsonl").write_text(json.dumps(row) + "\n" + json.dumps({**row, field: value}) + "\n")
    with pytest.raises(UserError, match=f"wrong.jsonl, line 2: {message}"):
        list(read_manifest(tmp_path / "wrong.jsonl"))


def test_no_manifest(shards, tmp_path):
    with pytest.raises(UserError, match="is a folder of shards, not a manifest; give .*manifest.jsonl"):
        list(read_manifest(shards.folder))
    with pytest.raises(UserError, match="there is no manifest .*nowhere"):
        list(read_manifest(tmp_path / "nowhere"))


def test_a_folder_without_an_index_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"is not a folder of shards: .*index.json cannot be read \(No such file"):
        open_shards(tmp_path)


def test_an_index_of_another_version_is_refused(shards):
    edit_index(shards.folder, version=99)
    with pytest.raises(UserError, match="version 99, but 'nonverbal-shards' version 2 is expected"):
        open_shards(shards.folder)


def test_an_index_that_says_too_little_is_refused(shards):
    (shards.folder / "index.json").write_text('{"format": "nonverbal-shards", "version": 1}')
    with pytest.raises(UserError, match="index.json lacks corpora, files, shards; make the folder again"):
        open_shards(shards.folder)


def test_a_table_with_one_flipped_bit_is_refused(shards):
    path = shards.folder / "table.npy"
    data = bytearray(path.read_bytes())
    data[-40] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="table.npy does not belong to .*index.json"):
        open_shards(shards.folder)


def test_a_shard_that_goes_missing_later_is_named(shards):
    (shards.folder / "train-000000.tar").unlink()
    with pytest.raises(
        UserError, match=r"train-000000.tar: the audio at byte \d+ cannot be read .No such file.*--verify"
    ):
        shards.read(0)


def test_a_missing_and_a_truncated_shard_are_named(shards):
    path = shards.folder / "train-000001.tar"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"shard .*train-000001.tar has \d+ bytes, but index.json lists \d+"):
        open_shards(shards.folder)
    path.unlink()
    with pytest.raises(UserError, match=r"shard .*train-000001.tar is missing"):
        open_shards(shards.folder)


def test_a_shard_outside_the_folder_is_refused(shards):
    edit_index(shards.folder, shards=[{**shards.shards[0], "name": "../train-000000.tar"}])
    with pytest.raises(UserError, match="names the shard '../train-000000.tar', which is outside its folder"):
        open_shards(shards.folder)


def test_a_table_of_another_index_is_refused(shards):
    np.save(shards.folder / "table.npy", shards.table[:-1])
    with pytest.raises(UserError, match="table.npy does not belong to"):
        open_shards(shards.folder)


def test_damaged_audio_names_the_shard_and_the_remedy(shards):
    path = shards.folder / "train-000000.tar"
    data = bytearray(path.read_bytes())
    offset = int(shards.table[2]["offset"])
    data[offset : offset + 200] = bytes(200)
    path.write_bytes(data)
    with pytest.raises(UserError, match=rf"train-000000.tar: the audio at byte {offset} .*nonverbal prepare --verify"):
        open_shards(shards.folder).read(2)


def other_bytes(path):
    """Write over a file in place: as many bytes, others."""
    with open(path, "r+b") as file:
        first = file.read(1)[0]
        file.seek(0)
        file.write(bytes([first ^ 1]))
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**9))


@pytest.mark.parametrize("opened", [True, False])
def test_a_shard_that_is_replaced_while_the_folder_is_open_is_refused(shards, opened):
    path = shards.folder / "train-000000.tar"
    if opened:
        shards.read(0)
    other_bytes(path)
    # What is read of it is as it was, but whose sound it is, nobody can tell.
    with pytest.raises(UserError, match=r"train-000000.tar has been changed or replaced since .*prepare --verify"):
        shards.read(1)
    # A shard beside it is what it was.
    shards.read(9)


def test_a_shard_that_another_takes_the_place_of_is_read_as_long_as_it_is_open(shards):
    first = shards.read(0)
    path = shards.folder / "train-000000.tar"
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    other_bytes(other)
    os.replace(other, path)
    np.testing.assert_array_equal(shards.read(0), first)
    # One that opens it now, as the folder was before.
    with pytest.raises(UserError, match="changed or replaced"):
        replace(open_shards(shards.folder), stamps=shards.stamps).read(0)


def test_a_shard_that_is_only_touched_is_read_once_and_used(shards, monkeypatch):
    os.utime(shards.folder / "train-000000.tar", (0, 0))
    first = shards.read(0)
    monkeypatch.setattr(hashlib, "file_digest", None)
    np.testing.assert_array_equal(shards.read(0), first)


@pytest.mark.parametrize("how", ["pickled", "seen"])
def test_another_process_opens_the_same_data_or_none(shards, make_shards, how):
    other = make_shards([("a", 1.0, "train")] * 9 + [("b", 0.4, "validation")], "other")
    bytes_of = pickle.dumps(shards if how == "pickled" else shards.seen)
    shutil.rmtree(shards.folder)
    other.folder.rename(shards.folder)
    with pytest.raises(UserError, match=f"{shards.folder} holds other data by now than when this command opened it"):
        pickle.loads(bytes_of).open()


def test_labels_of_other_clips_are_refused(shards):
    lines = (shards.folder / "manifest.jsonl").read_text()
    (shards.folder / "manifest.jsonl").write_text(lines.replace('"label": null', '"label": "cough"'))
    with pytest.raises(UserError, match="manifest.jsonl is not the manifest of the index.json with which"):
        shards.clips()
