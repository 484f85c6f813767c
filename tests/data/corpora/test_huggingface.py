"""Hugging Face datasets, saved to disk or streamed, without a network."""

import io
import json
import sys
from collections import Counter

import numpy as np
import pytest
import soundfile

from nonverbal import config
from nonverbal.data.corpora import huggingface
from nonverbal.data.corpora.huggingface import Origin, copy_dataset
from nonverbal.data.preparing.prepare import prepare
from nonverbal.data.preparing.settings import PrepareConfig, Source
from nonverbal.errors import UserError

datasets = pytest.importorskip("datasets")

NAMES = ["laugh.WAV", None, "../../up/../escape.flac", "/etc/x.sh", "a.zip"]


def file(number, kind="WAV"):
    buffer = io.BytesIO()
    samples = np.random.default_rng(number).integers(-9000, 9000, 16_000, dtype=np.int16)
    soundfile.write(buffer, samples, 16_000, format=kind)
    return buffer.getvalue()


def split(numbers, **more):
    """Rows of audio, a class each, a speaker of every two; the audio column as ``datasets`` keeps it."""
    rows = {
        "sound": [{"bytes": file(n, "FLAC" if n % 5 == 1 else "WAV"), "path": NAMES[n % len(NAMES)]} for n in numbers],
        "label": [n % 2 for n in numbers],
        "speaker_id": [n // 2 for n in numbers],
        **more,
    }
    values = {key: datasets.Value("string") for key in more}
    features = datasets.Features(
        sound={"bytes": datasets.Value("binary"), "path": datasets.Value("string")},
        label=datasets.ClassLabel(names=["laugh", "cry"]),
        speaker_id=datasets.Value("int64"),
        **values,
    )
    made = datasets.Dataset.from_dict(rows, features=features)
    return made.cast_column("sound", datasets.Audio(decode=False))


@pytest.fixture
def saved(tmp_path):
    """Two splits; in the first a row is None, and one has no class."""
    folder = tmp_path / "saved"
    train = split(range(8))
    empty = train.select([0]).map(lambda row: {"sound": None, "label": -1})
    datasets.DatasetDict(train=datasets.concatenate_datasets([train, empty]), test=split(range(8, 12))).save_to_disk(
        folder
    )
    return folder


def metadata(folder):
    return [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]


def copy(dataset, folder, subset=None, **columns):
    said = []
    copy_dataset(Origin(str(dataset), subset, columns), folder, said.append)
    return said


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_from_a_saved_dataset_to_a_manifest(saved, tmp_path):
    source = Source(tmp_path / "copied" / "cries", dataset=str(saved), licence="CC0-1.0")
    settings = PrepareConfig(out=tmp_path / "out", corpora={"cries": source}, processes=1)
    said = []
    shards = prepare(settings, said.append)
    assert said[0].endswith("13 rows of " + str(saved) + "; 1 have no audio in the dataset, and the ledger lists them "
                            "as missing")  # fmt: skip
    clips = shards.clips()
    assert Counter(clip.split for clip in clips) == {"train": 8, "test": 4}
    assert Counter(clip.label for clip in clips) == {"laugh": 6, "cry": 6}
    assert {clip.speaker for clip in clips} == {f"cries:{n}" for n in range(6)}
    assert {clip.licence for clip in clips} == {"CC0-1.0"}
    rows = [json.loads(line) for line in (shards.folder / "ledger.jsonl").read_text().splitlines()]
    assert [row["path"] for row in rows if row["reason"] == "missing"] == ["train/00000008"]
    # The same again does nothing, and needs no dataset.
    assert prepare(settings, said.append).sha256 == shards.sha256
    assert "nothing to do" in said[-1]


def test_files_are_copied_as_they_are_and_their_names_lead_nowhere(saved, tmp_path):
    copy(saved, tmp_path / "copied")
    names = [row["file_name"] for row in metadata(tmp_path / "copied")]
    # The name's own ending where it is one of audio, what the bytes say where it is not.
    endings = [".wav", ".flac", ".flac", ".wav", ".wav"]
    assert names[:8] == [f"train/{n:08}{endings[n % 5]}" for n in range(8)]
    assert names[8:] == ["train/00000008", *(f"test/{n:08}{endings[(n + 8) % 5]}" for n in range(4))]
    assert (tmp_path / "copied" / names[6]).read_bytes() == file(6, "FLAC")
    there = contents(tmp_path / "copied")
    assert there.keys() == {*names, "metadata.jsonl", "dataset.json"} - {"train/00000008"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copied", "saved"]


def test_what_is_interrupted_continues(saved, tmp_path, monkeypatch):
    copy(saved, tmp_path / "whole")
    read, rows = huggingface._audio, []

    def stop_after_five(origin, audio):
        rows.append(audio)
        if len(rows) == 6:
            raise KeyboardInterrupt
        return read(origin, audio)

    monkeypatch.setattr(huggingface, "_audio", stop_after_five)
    with pytest.raises(KeyboardInterrupt):
        copy(saved, tmp_path / "copied")
    assert not (tmp_path / "copied").exists()
    with open(tmp_path / ".copied.copying" / "metadata.jsonl", "a") as torn:
        torn.write('{"file_name": "tr')
    copy(saved, tmp_path / "copied")
    assert len(rows) == 6 + 13 - 5
    assert contents(tmp_path / "copied") == contents(tmp_path / "whole")


def test_a_part_of_another_version_is_refused(saved, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(huggingface, "_copy", stop)
        with pytest.raises(KeyboardInterrupt):
            copy(saved, tmp_path / "copied")
    split(range(3)).save_to_disk(tmp_path / "new")
    (saved / "dataset_dict.json").unlink()
    for path in (tmp_path / "new").iterdir():
        path.rename(saved / path.name)
    with pytest.raises(UserError, match="a part of another dataset or version"):
        copy(saved, tmp_path / "copied")


def test_a_folder_that_holds_something_else_is_refused(saved, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="exists, and is not a copy of"):
        copy(saved, tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    copy(saved, tmp_path / "copied")
    with pytest.raises(UserError, match=r"was copied with columns \{\}, not \{'recording': 'label'\}"):
        copy(saved, tmp_path / "copied", recording="label")


def test_columns_that_are_called_otherwise(tmp_path):
    texts = ["ha", None, None, "\u00e4h"]
    split(range(4), who=list("abcd"), scene=["x", None, "y", "y"], text=texts).save_to_disk(tmp_path / "saved")
    copy(tmp_path / "saved", tmp_path / "copied", speaker="who", recording="scene", audio="sound")
    rows = metadata(tmp_path / "copied")
    assert [(row["speaker"], row["recording"], row["split"]) for row in rows] == [
        ("a", "x", None),
        ("b", None, None),
        ("c", "y", None),
        ("d", "y", None),
    ]
    assert [row["text"] for row in rows] == texts
    (tmp_path / "copied/dataset.json").unlink()
    clips = prepare(PrepareConfig(tmp_path / "out", {"c": Source(tmp_path / "copied")}, processes=1)).clips()
    assert [clip.text for clip in clips] == ["ha", None, None, "\u00e4h"]
    with pytest.raises(UserError, match="columns speaker 'sound'; columns of audio: sound; of single values: label"):
        copy(tmp_path / "saved", tmp_path / "other", speaker="sound")


def test_columns_that_are_called_as_attributes_are_copied(tmp_path):
    more = {"Gender": ["F", "?", None], "arousal": [2.5, float("inf"), None], "attribute_room": ["hall", None, " "]}
    split(range(3), email=list("abc"), **more).save_to_disk(tmp_path / "saved")
    copy(tmp_path / "saved", tmp_path / "copied")
    assert "email" not in (tmp_path / "copied/metadata.jsonl").read_text()
    clips = prepare(PrepareConfig(tmp_path / "out", {"c": Source(tmp_path / "copied")}, processes=1)).clips()
    assert [clip.attributes for clip in clips] == [{"sex": "female", "arousal": 2.5, "room": "hall"}, {}, {}]


def plain(**columns):
    """Rows of audio with other columns of plain values."""
    (count,) = {len(values) for values in columns.values()}
    made = datasets.Dataset.from_dict({"audio": [{"bytes": file(n), "path": None} for n in range(count)], **columns})
    return made.cast_column("audio", datasets.Audio(decode=False))


@pytest.mark.parametrize("column", ["Label", " label", "LABEL\u00a0"])
def test_columns_are_known_by_their_letters_and_the_others_are_named(tmp_path, column):
    columns = {column: ["cry ", "laugh", ""], "Speaker ID": [0.0, 1.0, float("nan")], "emotion": ["a", "b", "c"]}
    plain(**columns).save_to_disk(tmp_path / "saved")
    said = copy(tmp_path / "saved", tmp_path / "copied")
    rows = [(row["label"], row["speaker"]) for row in metadata(tmp_path / "copied")]
    assert rows == [("cry", "0"), ("laugh", "1"), (None, None)]
    taken = f"columns: label from {column!r}, speaker from 'Speaker ID'; not used: 'emotion'"
    assert said == [f"{tmp_path / 'copied'}: {taken}\n{tmp_path / 'copied'}: 3 rows of {tmp_path / 'saved'}"]
    # The same again says so too.
    assert copy(tmp_path / "saved", tmp_path / "copied")[0].endswith(taken)


def test_a_dataset_without_labels_says_so(tmp_path):
    plain(**{"class": ["cry", "laugh"]}).save_to_disk(tmp_path / "saved")
    (said,) = copy(tmp_path / "saved", tmp_path / "copied")
    assert "not used: 'class'; no column of labels: name it with columns\n" in said
    settings = PrepareConfig(tmp_path / "out", {"c": Source(tmp_path / "copied", dataset=str(tmp_path / "saved"))})
    said = []
    prepare(settings, said.append)
    assert "c: 2 clips; no labels found; no speakers found" in said


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"Label": ["a"], "label": ["b"]}, "columns 'Label' and 'label' have the same name: .*, or name the one to"),
        ({"label": [float("inf")]}, "row 0: label is inf, but must be one text or number"),
    ],
)
def test_columns_and_values_that_no_clip_can_have_are_refused(tmp_path, columns, message):
    plain(**columns).save_to_disk(tmp_path / "saved")
    with pytest.raises(UserError, match=message):
        copy(tmp_path / "saved", tmp_path / "copied")


def test_one_of_two_columns_of_a_name_can_be_chosen(tmp_path):
    plain(Label=["a"], label=["b"]).save_to_disk(tmp_path / "saved")
    copy(tmp_path / "saved", tmp_path / "copied", label="Label")
    assert metadata(tmp_path / "copied")[0]["label"] == "a"


def streamed(monkeypatch, opened):
    """Stand in for the Hub."""
    asked = []

    def load_dataset(name, subset, **more):
        asked.append((name, subset, more))
        return opened

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", lambda *_: type("Info", (), {"sha": "0a1b2c"}))
    return asked


def test_an_id_is_streamed_at_one_commit_and_runs_no_code_of_its_own(saved, tmp_path, monkeypatch):
    loaded = datasets.load_from_disk(str(saved))
    opened = datasets.IterableDatasetDict({name: part.to_iterable_dataset() for name, part in loaded.items()})
    asked = streamed(monkeypatch, opened)
    copy("someone/cries", tmp_path / "streamed", "default")
    copy(saved, tmp_path / "copied")
    one, two = contents(tmp_path / "streamed"), contents(tmp_path / "copied")
    assert json.loads(one.pop("dataset.json"))["version"] == "0a1b2c"
    assert two.pop("dataset.json")
    assert one == two
    assert asked == [("someone/cries", "default", {"revision": "0a1b2c", "streaming": True})]


def test_only_files_of_the_repository_itself_are_fetched(tmp_path, monkeypatch):
    (tmp_path / "secret.wav").write_bytes(file(1))
    own = "hf://datasets/someone/cries@0a1b2c/laugh/1.wav"
    paths = [
        str(tmp_path / "secret.wav"),
        f"file://{tmp_path}/secret.wav",
        f"file://{tmp_path}/secret.wav::{own}",
        "hf://datasets/other/private@0a1b2c/1.wav",
        own,
        f"zip://laugh/2.wav::{own}",
    ]
    rows = {"audio": [{"bytes": None, "path": path} for path in paths]}
    features = datasets.Features(audio={"bytes": datasets.Value("binary"), "path": datasets.Value("string")})
    made = datasets.Dataset.from_dict(rows, features=features).cast_column("audio", datasets.Audio(decode=False))
    streamed(monkeypatch, datasets.IterableDatasetDict(train=made.to_iterable_dataset()))
    fetched = []
    monkeypatch.setattr("fsspec.open", lambda path, mode: fetched.append(path) or io.BytesIO(file(2)))
    (said,) = copy("someone/cries", tmp_path / "copied")
    assert fetched == paths[4:]
    assert "6 rows of someone/cries; 4 have no audio" in said


def test_what_cannot_be_opened_is_named(tmp_path, monkeypatch):
    (tmp_path / "sounds").mkdir()
    with pytest.raises(UserError, match="is not a dataset that save_to_disk wrote"):
        copy(tmp_path / "sounds", tmp_path / "x")
    for name in ("nowhere", "./a/b", "../up", "https://a/b"):
        with pytest.raises(UserError, match="it is not an id on the Hub, such as owner/name"):
            copy(name, tmp_path / "x")

    def refused(*_):
        raise ConnectionError("no\nnetwork")

    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", refused)
    with pytest.raises(UserError, match="the dataset a/b cannot be opened: ConnectionError: no network; give an id"):
        copy("a/b", tmp_path / "x")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"pip install 'nonverbal\[datasets\]'"):
        copy("a/b", tmp_path / "x")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"subset": "en"}, "has a subset, but no dataset"),
        ({"dataset": "a/b", "pattern": "x"}, "takes no reader and no pattern"),
        ({"dataset": "a/b", "columns": {"sex": "x"}}, "columns names sex; it may name audio, label, speaker"),
    ],
)
def test_settings_that_say_nothing(tmp_path, source, message):
    with pytest.raises(UserError, match=message):
        PrepareConfig(out=tmp_path / "out", corpora={"x": Source(tmp_path / "x", **source)})


def test_a_recipe_and_the_command_line_say_the_same(tmp_path):
    text = "corpora: {x: {folder: f, dataset: a/b, subset: s, columns: {speaker: who}}}"
    (tmp_path / "r.yaml").write_text(text)
    keys = ["folder=f", "dataset=a/b", "subset=s", "columns.speaker=who", "columns.label=7"]

    def load(*argv):
        return config.load(PrepareConfig, [*argv, "--out", "o"], prog="nonverbal prepare", description="")

    recipe = load(str(tmp_path / "r.yaml"), "--corpora.x.columns.label=7")
    assert recipe == load(*(f"--corpora.x.{key}" for key in keys))
    assert recipe.corpora["x"].columns == {"speaker": "who", "label": "7"}
