import dataclasses
import json
import os
import sys
import zipfile

import numpy as np
import pytest
import soundfile
from rich.console import Console

from nonverbal import cli
from nonverbal.data.corpora import CATALOG
from nonverbal.data.preparing.check import check, histogram, print_checked
from nonverbal.data.preparing.prepare import prepare
from nonverbal.data.preparing.settings import PrepareConfig, Source

ROWS = {"200101_1000_a.wav": "social", "200101_1000_b.wav": "social", "200102_0900_c.wav": "laugh", "gone.wav": "no"}


@pytest.fixture
def recanvo(tmp_path):
    """Two clips of 0.5 and 2.5 s, one that is cut short, one that is missing, and a sound that is no clip."""
    folder = tmp_path / "recanvo"
    folder.mkdir()
    for name, seconds in (("200101_1000_a.wav", 0.5), ("200101_1000_b.wav", 2.5), ("200102_0900_c.wav", 1)):
        sound = np.random.default_rng(0).standard_normal(round(seconds * 44_100)) / 9
        soundfile.write(folder / name, sound, 44_100)
    cut = folder / "200102_0900_c.wav"
    cut.write_bytes(cut.read_bytes()[:9000])
    (folder / "other.wav").write_bytes(b"")
    lines = ["Filename,Participant,Label", *(f"{name},P0{i},{label}" for i, (name, label) in enumerate(ROWS.items()))]
    (folder / "dataset_file_directory.csv").write_text("\n".join(lines))
    return folder


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["nonverbal", "corpora", *map(str, arguments)])
    cli.main()


def test_what_is_missing_extra_and_unreadable(recanvo):
    checked = check(CATALOG["recanvo"], recanvo, processes=2)
    assert (checked.files, checked.clips, checked.speakers) == (5, 3, 3)
    assert checked.problems == {"truncated": ["200102_0900_c.wav"], "missing": ["gone.wav"]}
    assert checked.extra == {"not in dataset_file_directory.csv": ["other.wav"]}
    assert checked.classes == {"social": 2, "laugh": 1}
    assert checked.sample_rates == {44_100: 2}
    assert checked.hours == pytest.approx(3 / 3600)
    assert checked.lengths == [1, 0, 0, 1, 0, 0, 0, 0]


def test_the_histogram_counts_each_length_once():
    assert histogram([0.5, 0.51, 1, 30, 30.1, 5000]) == [1, 2, 0, 0, 0, 0, 1, 2]


def test_check_shows_and_writes_it(recanvo, monkeypatch, capsys, tmp_path):
    run(monkeypatch, "check", "recanvo", recanvo, "--json", tmp_path / "checked.json", "--processes", 1)
    shown = capsys.readouterr().out
    assert "clips     3, 7,077 expected: 7074 missing" in shown
    assert "missing: 1: gone.wav" in shown
    assert "extra: not in dataset_file_directory.csv: 1: other.wav" in shown
    assert "verified of this corpus: columns" in shown
    written = json.loads((tmp_path / "checked.json").read_text())
    assert written["problems"]["truncated"] == ["200102_0900_c.wav"]


@pytest.mark.parametrize(
    ("expected", "shown"),
    [
        ((3, 9), "3 to 9 expected"),
        ((1, 3), "1 to 3 expected"),
        ((5, 9), "5 to 9 expected: 2 missing"),
        ((1, 2), "1 to 2 expected: 1 more"),
        (None, "unknown expected"),
    ],
)
def test_a_count_within_its_range_is_neither_missing_nor_more(recanvo, capsys, expected, shown):
    corpus = dataclasses.replace(CATALOG["recanvo"], clips=expected)
    print_checked(corpus, check(corpus, recanvo, processes=1), Console(width=160))
    assert f"clips     3, {shown}\n" in capsys.readouterr().out


def test_a_range_is_listed_shown_and_kept_in_the_summary_of_shards(monkeypatch, capsys, tmp_path):
    run(monkeypatch)
    assert "727 to 800" in capsys.readouterr().out
    run(monkeypatch, "show", "nonverbal-vocalization")
    assert "727 to 800 clips, 0.60 h" in capsys.readouterr().out
    name = "2AV8_4_1_0_44_0_0_0.wav"
    soundfile.write(tmp_path / name, np.random.default_rng(0).standard_normal(16_000) / 9, 16_000)
    with zipfile.ZipFile(tmp_path / "corpus.zip", "w") as archive:
        archive.write(tmp_path / name, name)
    config = PrepareConfig(tmp_path / "out", {"nonverbal-vocalization": Source(tmp_path / "corpus.zip")}, processes=1)
    for _ in range(2):
        prepare(config)
        assert "1/727-800" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("shemo", ["162 of the 3000 names have no transcript", "163 clips have a transcript with another label"]),
        ("cafe", ["have 1 in its place (03-N-1-2.wav)"]),
        ("nonverbal-vocalization", ["727 to 800 clips", "727 clips, on the mirror", "about 800"]),
        ("msp-improv", ["the numbers of clips and of each class"]),
    ],
)
def test_what_is_known_of_odd_counts_is_shown(monkeypatch, capsys, name, said):
    run(monkeypatch, "show", name)
    shown = " ".join(capsys.readouterr().out.split())
    assert all(text in shown for text in said)


def test_a_corpus_of_other_systems_is_checked_like_the_plain_one(recanvo, monkeypatch, capsys, tmp_path):
    run(monkeypatch, "check", "recanvo", recanvo, "--json", tmp_path / "plain.json", "--processes", 1)
    with zipfile.ZipFile(tmp_path / "recanvo.zip", "w") as archive:
        for file in recanvo.iterdir():
            archive.write(file, f"./{file.name}")
            if file.suffix == ".wav":
                (recanvo / f"._{file.name}").write_bytes(b"Mac OS X")
                file.rename(file.with_suffix(".WAV"))
    capsys.readouterr()
    run(monkeypatch, "check", "recanvo", tmp_path / "recanvo.zip", "--json", tmp_path / "zip.json", "--processes", 1)
    (tmp_path / "recanvo.zip").rename(recanvo / "download.zip")
    run(monkeypatch, "check", "recanvo", recanvo, "--json", tmp_path / "both.json", "--processes", 1)
    plain, packed, both = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("plain", "zip", "both"))
    assert packed == {**plain, "folder": str(tmp_path / "recanvo.zip")}
    for key in ("clips", "classes", "hours", "sample_rates", "lengths", "speakers"):
        assert both[key] == plain[key]


@pytest.mark.parametrize(
    ("arguments", "there", "not_there"),
    [
        ([], ["recanvo", "donateacry", "librispeech"], []),
        (["--for", "pretraining"], ["recanvo", "vocalsound"], ["vivae", "emodb"]),
        (["--for=emotion", "--language", "it"], ["emovo", "demos"], ["emodb", "vivae"]),
        (["--licence", "commercial"], ["human-voice", "vocalsound"], ["vivae", "iemocap"]),
        (["--language", "none"], ["vivae"], ["emovo"]),
    ],
)
def test_the_list_and_its_filters(monkeypatch, capsys, arguments, there, not_there):
    run(monkeypatch, *arguments)
    names = {line.split("│")[1].strip() for line in capsys.readouterr().out.splitlines() if line.startswith("│")}
    assert names >= set(there)
    assert not names & set(not_there)


@pytest.mark.parametrize("name", CATALOG)
def test_show_tells_all_that_is_known(monkeypatch, capsys, name):
    run(monkeypatch, "show", name)
    shown = " ".join(capsys.readouterr().out.split())
    corpus = CATALOG[name]
    for text in (corpus.title, corpus.home, corpus.doi or "none known", corpus.licence, corpus.get, corpus.verified):
        assert " ".join(text.split()) in shown
    assert f"nonverbal prepare {name}=FOLDER --out SHARDS" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "vivay"], "no corpus 'vivay' in the catalog; did you mean 'vivae'?"),
        (["show"], "missing: --name"),
        (["check", "vivae", "nowhere"], "there is no folder nowhere; vivae looks like full_set/"),
        (["check", "vivae"], "missing: --folder"),
        (["check", "vivae", "a", "b"], "--folder takes one value, but was given a b"),
        (["--fro", "pretraining"], "unknown key 'fro'"),
        (
            ["--for", "fun"],
            "--purpose must be 'pretraining', 'evaluation', 'emotion', 'recognition' or null, but is 'fun'",
        ),
    ],
)
def test_mistakes_are_told_in_one_line(monkeypatch, capsys, arguments, message):
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, *arguments)
    assert ended.value.code == 2
    said = capsys.readouterr().err.strip()
    assert message in said
    assert "\n" not in said


def test_nothing_found_is_said(monkeypatch, capsys):
    run(monkeypatch, "--for", "pretraining", "--language", "it")
    assert "No corpus of the catalog matches" in capsys.readouterr().out


def test_names_that_are_no_text_and_links_are_extra(recanvo, tmp_path, monkeypatch, capsys):
    (recanvo / os.fsdecode(b"D\x82go.wav")).touch()
    (recanvo / "200101_1000_a.wav").rename(tmp_path / "elsewhere.wav")
    (recanvo / "200101_1000_a.wav").symlink_to(tmp_path / "elsewhere.wav")
    run(monkeypatch, "check", "recanvo", recanvo, "--json", tmp_path / "checked.json")
    shown = capsys.readouterr().out
    assert r"extra: its name is not valid UTF-8: 1: D\udc82go.wav" in shown
    assert "extra: a link that leaves the folder: 1: 200101_1000_a.wav" in shown
    assert json.loads((tmp_path / "checked.json").read_text())["clips"] == 2
