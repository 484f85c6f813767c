"""From WebDataset tars to shards, without a network."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import webdataset
from tars import audio, samples, settings, write

from nonverbal import config
from nonverbal.data.manifest import read_manifest
from nonverbal.data.preparing import prepare as prepare_module
from nonverbal.data.preparing import scan as scan_module
from nonverbal.data.preparing.prepare import prepare
from nonverbal.data.preparing.settings import PrepareConfig, Source
from nonverbal.errors import UserError


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
