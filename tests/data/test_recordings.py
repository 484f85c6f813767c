"""Sound files of any kind, wherever they lie: listed in order, decoded as ``nonverbal prepare`` does."""

import io
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from nonverbal.data.reading.audio import load
from nonverbal.data.recordings import decoded, recordings_in
from nonverbal.errors import UserError


def sound(seconds: float = 0.3, rate: int = 16_000, channels: int = 1, seed: int = 0) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal((round(seconds * rate), channels))


def encoded(ending: str, rate: int = 16_000, **how: int) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, sound(rate=rate, **how), rate, format=ending.upper())
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "sounds"
    (place / "inner").mkdir(parents=True)
    (place / "inner/b.wav").write_bytes(encoded("wav", 44_100, channels=2))
    (place / "a.flac").write_bytes(encoded("flac"))
    (place / "cut.wav").write_bytes(encoded("wav")[:3000])
    (place / "notes.txt").write_text("no sound")
    (place / ".hidden.wav").write_bytes(b"")
    with zipfile.ZipFile(place / "packed.zip", "w") as archive:
        archive.writestr("c.ogg", encoded("ogg"))
    return place


def test_all_that_prepare_reads_is_listed_in_order_and_decoded(folder: Path) -> None:
    found = recordings_in([folder])
    names = [f"{folder}/{name}" for name in ("a.flac", "cut.wav", "inner/b.wav", "packed.zip/c.ogg")]
    assert [one.name for one in found] == names
    heard = {one.number: one for one in decoded(found, 1)}
    for number in (0, 2, 3):
        np.testing.assert_array_equal(heard[number].samples, load(Path(names[number])).samples)
        assert heard[number].problem == ""
    assert heard[1].samples is None
    assert heard[1].problem.startswith("truncated: ")


def test_files_archives_and_tars_may_be_named_each_once(folder: Path, tmp_path: Path) -> None:
    tar = tmp_path / "some.tar"
    with tarfile.open(tar, "w") as file:
        entry = tarfile.TarInfo("k1.wav")
        entry.size = len(data := encoded("wav"))
        file.addfile(entry, io.BytesIO(data))
    odd = folder / "without ending"
    odd.write_bytes(encoded("flac"))
    places = [odd, folder / "packed.zip", tar, folder / "a.flac", folder / "a.flac"]
    found = recordings_in(places)
    assert [one.name for one in found] == [
        str(odd), f"{folder}/packed.zip/c.ogg", f"{tar}/k1.wav", f"{folder}/a.flac"
    ]  # fmt: skip
    assert all(one.samples is not None for one in decoded(found, 1))


def test_sound_that_is_passed_over_is_named_with_the_reason(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.wav").write_bytes(encoded("wav"))
    (folder / "link.wav").symlink_to(tmp_path / "elsewhere.wav")
    name = os.fsencode(str(folder)) + b"/\xff.wav"
    with open(name, "wb") as file:
        file.write(encoded("wav"))
    found = {one.name: one for one in recordings_in([folder])}
    assert found[f"{folder}/link.wav"].problem == "passed over: a link that leaves the folder"
    assert found[f"{folder}/\\udcff.wav"].problem == "passed over: its name is not valid UTF-8"
    heard = {one.number: one for one in decoded(list(found.values()), 1)}
    assert len(heard) == len(found)
    (given,) = recordings_in([Path(os.fsdecode(name))])
    assert (given.name, given.problem) == (f"{folder}/\\udcff.wav", "passed over: its name is not valid UTF-8")


def test_what_is_not_there_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no file or folder .*/sunds; did you mean .*/sounds\?; give sound"):
        recordings_in([tmp_path / "sunds"])
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match="empty holds no audio"):
        recordings_in([folder, empty])
