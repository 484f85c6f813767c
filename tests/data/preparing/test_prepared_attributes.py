"""What a corpus says of a clip goes the whole way into shards and manifests, and changes none that have nothing."""

import json
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import webdataset

from nonverbal.config import load
from nonverbal.data.corpora import CATALOG
from nonverbal.data.corpora.base import Found
from nonverbal.data.manifest import as_row, read_manifest, write_manifest
from nonverbal.data.preparing.check import check
from nonverbal.data.preparing.prepare import prepare
from nonverbal.data.preparing.settings import PrepareConfig, Source
from nonverbal.errors import UserError

SAID = {"sex": "female", "age": 3, "room": "kitchen"}


def sounds(folder, *names):
    folder.mkdir()
    for number, name in enumerate(names):
        noise = np.random.default_rng(number).uniform(-0.5, 0.5, 16_000)
        soundfile.write(folder / name, noise, 16_000)
    return folder


def prepared(folder, out, **of_source):
    corpora = {"c": Source(folder, **of_source)}
    return prepare(PrepareConfig(out=out, corpora=corpora, processes=1, validation_share=0.3))


@pytest.fixture
def shards(tmp_path):
    folder = sounds(tmp_path / "in", "0.wav", "1.wav")
    (folder / "metadata.csv").write_text("file_name,Gender,age,attribute_room\n0.wav,F,3,kitchen\n1.wav,,,\n")
    return prepared(folder, tmp_path / "out")


def samples(folder):
    tars = sorted(str(path) for path in folder.glob("*.tar"))
    return [json.loads(sample["json"]) for tar in tars for sample in webdataset.WebDataset(tar, shardshuffle=False)]


def test_attributes_are_in_the_manifest_and_the_tars(shards):
    assert [clip.attributes for clip in shards.clips()] == [SAID, {}]
    by_path = {row["path"]: row.get("attributes") for row in samples(shards.folder)}
    assert by_path == {"0.wav": SAID, "1.wav": None}


def test_a_corpus_without_attributes_is_written_as_before(tmp_path, shards):
    folder = sounds(tmp_path / "plain", "0.wav", "1.wav")
    plain = prepared(folder, tmp_path / "plain-out")
    text = (plain.folder / "manifest.jsonl").read_text()
    assert "attributes" not in text
    fields = [
        "id", "corpus", "path", "start", "end", "sample_rate", "label", "speaker", "session", "language", "split",
        "recording", "licence", "sha256", "text",
    ]  # fmt: skip
    assert all(list(json.loads(line)) == fields for line in text.splitlines())
    assert [list(row) for row in samples(plain.folder)] == [[*fields, "part"]] * 2
    # What a scan was named by is the same too, so that one that was interrupted continues.
    assert "attributes" not in Found("0.wav").as_row()


def test_shards_of_ours_read_again_keep_attributes(tmp_path, shards):
    again = prepared(shards.folder, tmp_path / "again", reader="webdataset")
    assert sorted((clip.attributes for clip in again.clips()), key=len) == [{}, SAID]


def test_a_manifest_with_attributes_reads_back_and_one_without_does_too(tmp_path, shards):
    clips = shards.clips()
    write_manifest(tmp_path / "again.jsonl", clips)
    assert list(read_manifest(tmp_path / "again.jsonl")) == clips
    rows = [as_row(clip) for clip in clips]
    for row in rows:
        row.pop("attributes", None)
    (tmp_path / "old.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert list(read_manifest(tmp_path / "old.jsonl")) == [replace(clip, attributes={}) for clip in clips]
    assert len({*clips, *read_manifest(tmp_path / "again.jsonl")}) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        '{"a": [1]}',
        '{"a": NaN}',
        '{"a": Infinity}',
        '{"a": true}',
        '{"a": null}',
        "[]",
        "1",
        f'{{"a": 1{"0" * 400}}}',
        f'{{"a": "{"x" * 201}"}}',
    ],
)
def test_attributes_of_other_types_are_refused_by_line(tmp_path, shards, wrong):
    row = json.dumps(as_row(shards.clips()[1]))
    (tmp_path / "bad.jsonl").write_text(f'{row}\n{row[:-1]}, "attributes": {wrong}}}\n')
    with pytest.raises(UserError, match=r"bad.jsonl, line 2: attributes must be finite numbers and texts of"):
        list(read_manifest(tmp_path / "bad.jsonl"))


def test_checking_a_corpus_counts_its_attributes(tmp_path):
    folder = sounds(tmp_path / "in", "S04_surprise_peak_10.wav", "S01_fear_low_01.wav")
    counted = check(CATALOG["vivae"], folder, 1).attributes
    assert counted == {"intensity": {"low": 1, "peak": 1}}


def test_texts_of_labels_are_those_of_clips_without_one(tmp_path):
    folder = sounds(tmp_path / "in", "0_a.wav", "1_a.wav", "2_a.wav")
    (folder / "metadata.csv").write_text("file_name,label,text\n0_a.wav,0,\n1_a.wav,1,won\n2_a.wav,,\n")
    shards = prepared(folder, tmp_path / "out", texts={"0": "zero", "1": "one"})
    assert [clip.text for clip in shards.clips()] == ["zero", "won", None]
    with pytest.raises(UserError, match="c: texts are given for the label '7', which no clip has; there are 0, 1"):
        prepared(folder, tmp_path / "other", texts={"0": "zero", "7": "seven"})


def test_the_recipe_of_open_corpora_says_what_digits_are():
    source = load(PrepareConfig, ["recipes/data/open.yaml", "--out", "x"], "prepare", "").corpora["digits"]
    assert source.texts["7"] == "seven"
    assert len(source.texts) == 10
