"""What other systems and archives make of a corpus changes nothing: for every corpus of the catalog, in miniature."""

import os
import shutil
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from miniatures import MINIATURES
from readings import clips_in, found_in

from nonverbal.data.corpora import CATALOG, read
from nonverbal.data.corpora.base import Found
from nonverbal.data.corpora.names import file_name


def write(folder, files):
    """Write a miniature; a sound's bytes are its path, so that no two are the same."""
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(path if text is None else text, encoding="utf-8")
    return folder


def pack(archive, files, within="", name=str):
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w") as packed:
        for path, text in files.items():
            info = zipfile.ZipInfo("x")
            info.filename = name(within + path)
            packed.writestr(info, path if text is None else text)
    return archive


def capitals(path):
    return f"{Path(path).with_suffix('')}{Path(path).suffix.upper()}"


def plain(folder, files):
    return write(folder, files)


def endings_in_capitals(folder, files):
    return write(folder, {capitals(path): path if text is None else text for path, text in files.items()})


def beside_what_macos_writes(folder, files):
    write(folder, files)
    for path in files:
        doubles = Path(path).parent / f"._{Path(path).name}"
        write(folder, {str(doubles): "Mac OS X", f"__MACOSX/{doubles}": "Mac OS X", f".Trashes/501/{path}": "old"})
    return write(folder, {".DS_Store": "Bud1"})


def beside_an_archive_of_another_name(folder, files):
    pack(folder / "download (1).zip", files)
    return write(folder, files)


def unpacked_into_a_folder_of_another_name(folder, files):
    pack(folder / "corpus-1.0.zip", files, within="corpus-1.0/")
    write(folder / "corpus", files)
    return folder


def half_unpacked(folder, files):
    pack(folder / "download.zip", files)
    return write(folder, dict(list(files.items())[::2]))


def in_two_copies_of_an_archive(folder, files):
    pack(folder / "a.zip", files)
    shutil.copy(folder / "a.zip", folder / "a (1).zip")
    (folder / "linked.zip").symlink_to("a.zip")
    return folder


def in_an_archive(folder, files):
    pack(folder / "PACKED.ZIP", files | {f"__MACOSX/._{Path(path).name}": "Mac OS X" for path in files})
    return folder


def in_an_archive_of_windows(folder, files):
    pack(folder / "packed.zip", files, name=lambda path: path.replace("/", "\\"))
    return folder


def as_an_archive(folder, files):
    return pack(folder / "packed.zip", files, within="./")


def in_an_archive_a_folder(folder, files):
    for top in {path.split("/")[0] for path in files}:
        inside = {path: text for path, text in files.items() if path.split("/")[0] == top}
        if "/" not in next(iter(inside)):
            write(folder, inside)
        else:
            shorter = {path.split("/", 1)[1]: path if text is None else text for path, text in inside.items()}
            pack(folder / f"{top}.zip", shorter)
    return folder


WAYS = (
    plain, endings_in_capitals, beside_what_macos_writes, beside_an_archive_of_another_name,
    unpacked_into_a_folder_of_another_name, half_unpacked, in_two_copies_of_an_archive, in_an_archive,
    in_an_archive_of_windows, as_an_archive, in_an_archive_a_folder,
)  # fmt: skip


def said(folder, name):
    """What is said of each clip, whatever it lies in."""
    clips = clips_in(folder, name).values()
    return Counter(replace(clip, path=file_name(clip.path)) for clip in clips)


def test_every_corpus_has_a_miniature():
    assert MINIATURES.keys() == CATALOG.keys()


@pytest.mark.parametrize("way", WAYS[1:], ids=lambda way: way.__name__)
@pytest.mark.parametrize("name", CATALOG)
def test_the_same_clips_labels_and_groups(name, way, tmp_path):
    expected = said(plain(tmp_path / "plain", MINIATURES[name]), name)
    assert expected
    assert said(way(tmp_path / "way", MINIATURES[name]), name) == expected


@pytest.mark.parametrize("name", CATALOG)
def test_no_clip_is_missing_and_every_file_is_named_once(name, tmp_path):
    folder = beside_what_macos_writes(tmp_path / "way", MINIATURES[name])
    pack(folder / "download.zip", MINIATURES[name])
    reading = list(read(name, folder, name, None))
    files = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    assert sorted(file.path for file in reading) == sorted(files)
    assert all(os.path.isfile(folder / file.path) for file in reading if isinstance(file, Found))


LABELLED_BY_FOLDERS = {
    "donateacry": ("Hungry", "Discomfort"), "cnvve": ("Ahem", "PSST", "RAW"), "singing-database": ("Chinese",),
    "human-voice": ("Notes", "Voyels", "EXPORTS"), "eyase": ("FEMALE01",), "asvp-esd": ("audio", "Actor_12"),
    "vivae": ("Core_Set",), "tut-babies": ("Events",), "vocalsketch": ("Vocal_Imitations",),
}  # fmt: skip


@pytest.mark.parametrize("name", LABELLED_BY_FOLDERS)
def test_folders_in_another_case_give_the_same_labels(name, tmp_path):
    def spelt(path):
        other = {folder.lower(): folder for folder in LABELLED_BY_FOLDERS[name]}
        return "/".join(other.get(part.lower(), part) for part in path.split("/"))

    files = {spelt(path): path if text is None else text for path, text in MINIATURES[name].items()}
    assert files.keys() != MINIATURES[name].keys()
    expected = said(plain(tmp_path / "plain", MINIATURES[name]), name)
    assert said(plain(tmp_path / "other", files), name) == expected


PARTS = {
    "human-voice": "data/voices/martin/notes/exports/mono",
    "donateacry": "donateacry_corpus_cleaned_and_updated_data/hungry",
    "cnvve": "cleaned/psst",
    "asvp-esd": "Audio/actor_12",
    "eyase": "Female01",
    "vocalsound": "audio_16k",
    "vocalsketch": "vocal_imitations/included",
    "tut-babies": "mixture_data/devtrain/0a/audio",
    "audioset": "clips",
    "librispeech": "LibriSpeech/dev-other/84",
}


@pytest.mark.parametrize("name", PARTS)
def test_a_folder_from_within_is_recognised_and_its_tables_are_found_above(name, tmp_path):
    folder = plain(tmp_path, MINIATURES[name])
    whole = clips_in(folder, name)
    part = clips_in(folder / PARTS[name], name)
    assert part
    assert [replace(clip, path=f"{PARTS[name]}/{path}") for path, clip in part.items()] == [
        clip for path, clip in whole.items() if path.startswith(f"{PARTS[name]}/")
    ]


@pytest.mark.parametrize(
    ("name", "part", "table"),
    [
        ("recanvo", "clips", "dataset_file_directory.csv"),
        ("nonspeech7k", "train/train", "metadata of test set.csv"),
        ("emodb", "emodb_2.0/wav", "emodb_2.0/db.emotion.csv"),
        ("msp-improv", "session2/S01A", "Evaluation.txt"),
        ("iemocap", "Session1/sentences/wav", "Session1/dialog/EmoEvaluation/Ses01F_impro04.txt"),
    ],
)
def test_a_folder_from_within_that_needs_a_table_is_refused_with_where_it_is(name, part, table, tmp_path):
    folder = plain(tmp_path, MINIATURES[name])
    with pytest.raises(ValueError, match=rf"; {folder / table} belongs to this corpus: give the folder that holds it"):
        found_in(folder / part, name)


def test_tables_of_another_copy_beside_are_not_taken(tmp_path):
    plain(tmp_path / "emodb", {"wav/03a01Wa.wav": None})
    plain(tmp_path, MINIATURES["emodb"])
    assert [clip.split for clip in clips_in(tmp_path / "emodb", "emodb").values()] == [None]
