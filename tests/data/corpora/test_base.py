"""The helpers that readers share."""

import re

import pytest
from readings import clips_in, found_in

from nonverbal.data.corpora import read
from nonverbal.data.corpora.base import Found, clip, from_names
from nonverbal.data.corpora.listing import HIDDEN
from nonverbal.data.corpora.names import file_name, hidden, is_audio, readable
from nonverbal.data.corpora.readers import prefer, read_by_name, read_by_rows


@pytest.mark.parametrize(
    ("path", "same"),
    [
        ("A/b.WAV", "A/b.wav"),
        ("a.3GP.CAF", "a.3gp.caf"),
        ("DATA.ZIP/B.Flac", "DATA/B.flac"),
        ("e\u0301.wav", "\u00e9.wav"),
        ("a.TXT", "a.TXT"),
        ("take.1.WAV", "take.1.wav"),
        ("x.zip", "x.zip"),
    ],
)
def test_what_systems_make_of_a_name_is_one_path(path, same):
    assert readable(path) == readable(same) == same


@pytest.mark.parametrize("written", ["C:\\audio\\a.WAV", "/authors/disk/a.wav", "a.wav", ".\\a.Wav"])
def test_a_table_of_any_system_names_the_same_file(written):
    assert file_name(written) == "a.wav"


OF_SYSTEMS = ("._a.wav", "x/.hidden.wav", ".Trashes/501/a.wav", "x/__MACOSX/a.wav", "$RECYCLE.BIN/a.wav")


@pytest.mark.parametrize("path", OF_SYSTEMS)
def test_what_systems_keep_is_hidden_and_not_audio(path, tree):
    assert hidden(path)
    assert not is_audio(path)
    folder = tree(path, "laugh/a.wav")
    assert {path: type(file) for path, file in found_in(folder, "mine").items()}["laugh/a.wav"] is Found
    assert found_in(folder, "mine")[path].reason == HIDDEN


def test_a_row_that_names_a_hidden_file_gives_no_clip(tree):
    table = "Filename,Participant,Label\n200101_1000_a.wav,P01,glee\n._200101_1000_a.wav,P01,glee\n"
    folder = tree("200101_1000_a.wav", "._200101_1000_a.wav", **{"dataset_file_directory.csv": table})
    assert list(clips_in(folder, "recanvo")) == ["200101_1000_a.wav"]
    paths = [file.path for file in read("recanvo", folder, "recanvo", None)]
    assert sorted(paths) == ["._200101_1000_a.wav", "200101_1000_a.wav", "dataset_file_directory.csv"]


def by_rows(folder, *names):
    rows = {name: name for name in names}
    reading = read_by_rows(folder, rows, lambda row, path: clip("x", path, label=row), "no row", "", "")
    return {file.path: file.label for file in reading if isinstance(file, Found)}


def test_a_row_means_the_file_of_its_spelling_first_and_another_only_where_it_is_the_only_one(tree):
    folder = tree("a.WAV", "b.wav", "b.WAV", "c.wav")
    assert by_rows(folder, "a.wav", "b.wav", "b.WAV") == {"a.WAV": "a.wav", "b.wav": "b.wav", "b.WAV": "b.WAV"}
    assert by_rows(folder, "b.Wav", "b.WAv", "c.WAV") == {"c.wav": "c.WAV", "b.Wav": "b.Wav", "b.WAv": "b.WAv"}


def preferred(folder, **options):
    reading = read_by_name(folder, r"(?:.*/)?(?P<label>[a-z])\w*\.wav", from_names("x"), "", "")
    return [file.path for file in prefer(reading, "raw/", "", **options) if isinstance(file, Found)]


def test_of_two_releases_each_take_is_read_once(tree):
    folder = tree("raw/a1.wav", "raw/a2.WAV", "raw/b1.wav", "good/a1.WAV", "good/b2.wav")
    assert preferred(folder) == ["good/a1.WAV", "good/b2.wav", "raw/a2.WAV", "raw/b1.wav"]
    assert preferred(folder, chosen=True) == ["good/a1.WAV", "good/b2.wav"]


def test_a_take_that_was_cut_stands_for_the_whole_unless_the_lesser_has_that_name(tree):
    folder = tree("raw/a.wav", "raw/b.wav", "raw/b_1.wav", "good/a_1.wav", "good/a_2.wav", "good/b_1.wav")
    assert preferred(folder, part=r"_\d+") == ["good/a_1.wav", "good/a_2.wav", "good/b_1.wav", "raw/b.wav"]


@pytest.mark.parametrize(
    ("name", "better", "lesser"),
    [
        ("vivae", "full_set/S04_fear_low_{}.wav", "core_set/S04_fear_low_{}.wav"),
        ("vocalsound", "audio_16k/f000{}_0_cough.wav", "audio_44k/f000{}_0_cough.wav"),
        ("cnvve", "cleaned/ahem/ahem_1{}_a_1.wav", "raw/ahem/7/ahem_1{}_a.wav"),
        ("cafe", "48k/12-J-2-{}.wav", "192k/12-J-2-{}.aiff"),
    ],
)
def test_a_clip_that_only_the_lesser_release_has_is_read(name, better, lesser, tree):
    folder = tree(better.format(1), lesser.format(1), lesser.format(2))
    assert sorted(clips_in(folder, name)) == sorted([better.format(1), lesser.format(2)])


def test_the_case_of_a_pattern_is_that_of_names(tree):
    with pytest.raises(ValueError, match=re.escape("does not look like this corpus")):
        found_in(tree("female/f03s02.wav"), "shemo")
