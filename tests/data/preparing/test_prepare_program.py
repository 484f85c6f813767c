"""Settings of ``nonverbal prepare``, its command line, its recipes, and ``--verify``."""

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml
from prepared import noise, settings, with_speakers, write

from nonverbal import config
from nonverbal.data.corpora import VOC125
from nonverbal.data.index import open_shards
from nonverbal.data.manifest import read_manifest
from nonverbal.data.preparing import shards as shards_module
from nonverbal.data.preparing.prepare import prepare
from nonverbal.data.preparing.settings import PrepareConfig, Source
from nonverbal.data.preparing.shards import verify
from nonverbal.errors import UserError
from pretrain.prepare import main, with_corpora


def test_an_excluded_manifest_that_is_no_text_is_named(corpus, tmp_path):
    (tmp_path / "manifest.jsonl").write_bytes(b'{"id": "\xff"}\n')
    with pytest.raises(UserError, match="manifest.jsonl, line 1: not a JSON object"):
        prepare(settings({"x": corpus}, tmp_path / "out", exclude=[tmp_path / "manifest.jsonl"]))


def test_verify_names_what_changed_and_what_is_missing(corpus, tmp_path):
    shards = prepare(settings({"x": corpus}, tmp_path / "out"))
    assert verify(shards.folder) == len(shards.shards) + 2
    path = shards.folder / "train-000001.tar"
    data = bytearray(path.read_bytes())
    data[700] ^= 1
    path.write_bytes(data)
    manifest = shards.folder / "manifest.jsonl"
    manifest.write_text(manifest.read_text() + "\n")
    with pytest.raises(UserError, match=r"train-000001.tar, .*manifest.jsonl changed since index.json was written"):
        verify(shards.folder)
    path.unlink()
    with pytest.raises(UserError, match=r"train-000001.tar is missing"):
        verify(shards.folder)


def test_verify_reads_as_many_files_at_once_as_there_are_cores(corpus, tmp_path, monkeypatch):
    folder = prepare(settings({"x": corpus}, tmp_path / "out")).folder
    together, add_up = threading.Barrier(2), shards_module._sha256

    def meeting(path):
        # Fails where nobody else adds up a file meanwhile.
        if path.name in ("table.npy", "manifest.jsonl"):
            together.wait(10)
        return add_up(path)

    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(shards_module, "_sha256", meeting)
    assert verify(folder) > 2


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"corpora": {}}, "no corpora: give at least one NAME=FOLDER"),
        ({"corpora": {"../x": Path("x")}}, "the corpus '../x' must be named in lower-case letters, digits, - and _"),
        ({"corpora": {"Laughs": Path("x")}}, "the corpus 'Laughs' must be named in lower-case"),
        ({"seed": -1}, "seed must be at least 0, but is -1"),
        ({"validation_share": 1.0}, r"validation_share must be in \[0, 1\), but is 1.0"),
        ({"max_seconds": 1.0}, r"max_seconds must be in \[2, 3600\], but is 1.0"),
        ({"max_seconds": float("nan")}, "max_seconds must be in .*, but is nan"),
        ({"shard_megabytes": 0.0}, "shard_megabytes must be above 0"),
        ({"processes": 0}, "processes must be at least 1"),
    ],
)
def test_settings_without_shards_are_refused(tmp_path, values, message):
    with pytest.raises(UserError, match=message):
        settings(**{"corpora": {"x": tmp_path}, "out": tmp_path / "out", **values})


def test_an_empty_and_a_misspelt_folder_and_an_out_inside_are_refused(tmp_path, corpus):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty holds no audio: expected files such as <class>/<clip>.wav, found 0"):
        prepare(settings({"x": tmp_path / "empty"}, tmp_path / "out"))
    with pytest.raises(UserError, match="the corpus 'x' should be in .*laugs, but there is no such folder"):
        prepare(settings({"x": tmp_path / "laugs"}, tmp_path / "out"))
    for out in (corpus, corpus / "b/shards"):
        with pytest.raises(UserError, match="--out .* is in .*laughs, the corpus 'x': choose another folder"):
            prepare(settings({"x": corpus}, out))
    with pytest.raises(UserError, match="there is no manifest .*nowhere.jsonl"):
        prepare(settings({"x": corpus}, tmp_path / "out", exclude=[tmp_path / "nowhere.jsonl"]))


RECIPE = """\
corpora:
  digits:
    folder: corpora/digits
    reader: folder
    pattern: (?P<speaker>[a-z]+)_.*
    licence: CC-BY-SA-4.0
  laughs:
    folder: corpora/laughs
seed: 3
"""


def load(*argv):
    return config.load(PrepareConfig, with_corpora([str(item) for item in argv]), "nonverbal prepare", "")


def test_corpora_on_the_command_line_and_in_a_recipe(tmp_path):
    given = load("laughs=my folder/a=b", "cries=x,y", "--out", "shards", "--seed", "5")
    assert given.corpora == {"laughs": Source(Path("my folder/a=b")), "cries": Source(Path("x,y"))}
    assert (given.out, given.seed) == (Path("shards"), 5)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    moved = load(recipe, "digits=elsewhere", "more=there", "--out", "shards", "--corpora.laughs.licence", "MIT")
    pattern = "(?P<speaker>[a-z]+)_.*"
    assert moved.corpora == {
        "digits": Source(Path("elsewhere"), "folder", pattern, licence="CC-BY-SA-4.0"),
        "laughs": Source(Path("corpora/laughs"), licence="MIT"),
        "more": Source(Path("there")),
    }
    assert moved.seed == 3
    with pytest.raises(
        UserError,
        match="unknown key 'corpora.laughs.folders' .*; did you mean 'corpora.laughs.folder'",
    ):
        load(recipe, "--corpora.laughs.folders", "x", "--out", "shards")


def test_what_was_resolved_reads_back_as_a_recipe(corpus, tmp_path):
    before = settings({"x": with_speakers(corpus)}, tmp_path / "out")
    prepare(before)
    assert load(tmp_path / "out/recipe.yaml") == before
    assert yaml.safe_load((tmp_path / "out/recipe.yaml").read_text())["corpora"]["x"]["reader"] == "folder"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["Laughs=laughs"], "the corpus 'Laughs' must be named in lower-case letters, digits, - and _"),
        (["laughs=laugs"], "the corpus 'laughs' should be in laugs, but there is no such folder"),
        (["laughs"], "laughs is a folder: give its corpus a name, such as sounds=laughs"),
        (["laughs="], "there is no file 'laughs=' here or among the shipped ones"),
        (
            ["laughs=laughs", "--corpora.laugh.licence", "CC0-1.0"],
            "missing: --corpora.laugh.folder; did you mean 'laughs'?",
        ),
        (["laughs=laughs", "--seeds", "3"], "unknown key 'seeds' on the command line; did you mean 'seed'?"),
        (["laughs=laughs", "--strict"], "--strict: 5 files are not as they should be"),
        (["--seed", "3"], "no corpora: give at least one NAME=FOLDER"),
        (["a=x", "b=y", "a=z"], "a=z: the corpus 'a' was given before; give each folder a name of its own"),
        (["--verify"], "--verify takes one folder of shards and nothing else"),
    ],
)
def test_mistakes_on_the_command_line_are_one_line(corpus, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        main([*arguments, "--out", "out"])
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.processes
def test_the_command_line_from_folder_to_verified_shards(corpus, tmp_path, capsys):
    command = [sys.executable, "-m", "nonverbal", "prepare", "laughs=laughs", "--out", "out"]
    made = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert "laughs: dropped: 2 duplicate" in made.stdout
    out = tmp_path / "out"
    main(["--verify", str(out)])
    assert capsys.readouterr().out == f"{out}: 4 files are as they were written\n"


def test_reading_needs_nothing_but_the_folder(corpus, tmp_path):
    prepare(settings({"x": corpus}, tmp_path / "out"))
    shutil.rmtree(corpus)
    moved = (tmp_path / "out").rename(tmp_path / "moved")
    assert verify(moved) == len(open_shards(moved).shards) + 2
    assert len(list(read_manifest(moved / "manifest.jsonl"))) == 23


def test_absent_corpora_are_refused_or_said_and_left_out(corpus, tmp_path):
    said = []
    gone = tmp_path / "gone"
    with pytest.raises(UserError, match=r"the corpus 'gone' should be in .*gone, but there is no such folder"):
        prepare(settings({"here": corpus, "gone": gone}, tmp_path / "out"))
    skipping = settings({"here": corpus, "gone": gone}, tmp_path / "out", absent="skip")
    shards = prepare(skipping, said.append)
    assert shards.corpora == ["here"]
    assert said[-1] == "absent, and left out: gone"
    assert prepare(skipping, said.append).sha256 == shards.sha256
    with pytest.raises(UserError, match=r"none of the folders is there: .*gone; say where they are with NAME=FOLDER"):
        prepare(settings({"gone": gone}, tmp_path / "none", absent="skip"))
    write(gone / "a.wav", noise(200))
    with pytest.raises(UserError, match=r"holds shards of other input \(files changed since\)"):
        prepare(skipping, said.append)


def test_the_share_of_voc125_is_said(tmp_path):
    write(tmp_path / "data/voices/martin/notes/exports/mono/A.wav", noise(1, 36))
    said = []
    corpora = {name: tmp_path / ("data" if name == "human-voice" else name) for name in VOC125}
    prepare(settings(corpora, tmp_path / "out", absent="skip"), said.append)
    assert said[-1] == "of Voc125: 1 of 10 corpora, 1 of 68,067 clips, 0.01 of 125.19 hours (0.0%)"
