import json
import unicodedata
import zipfile
import zlib

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from readings import found_in

from nonverbal.data.corpora.listing import DAMAGED, EMPTY, HIDDEN, LINK, NESTED, files, passed_over
from nonverbal.data.preparing.prepare import prepare
from nonverbal.data.preparing.settings import PrepareConfig, Source
from nonverbal.data.reading.archives import as_file, members, read_bytes, size_and_time
from nonverbal.data.reading.audio import load
from nonverbal.data.reading.problems import MemberProblem
from nonverbal.errors import UserError

NOISE = (0.1 * np.random.default_rng(0).standard_normal((8, 8000))).astype(np.float32)


def wavs(folder, count=4):
    (folder / "laugh").mkdir(parents=True)
    for i in range(count):
        soundfile.write(folder / f"laugh/{i}.wav", NOISE[i], 16_000)
    return folder


def zipped(folder, archive, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(archive, "w", compression) as file:
        for path in sorted(folder.rglob("*")):
            file.write(path, path.relative_to(folder))
    return archive


def test_members_are_files_of_the_folder_that_holds_the_archive(tmp_path):
    folder = wavs(tmp_path / "plain")
    (tmp_path / "packed/more").mkdir(parents=True)
    archive = zipped(folder, tmp_path / "packed/more/a.ZIP")
    assert list(files(tmp_path / "packed")) == [f"more/a.ZIP/laugh/{i}.wav" for i in range(4)]
    for i in range(4):
        packed, plain = load(archive / f"laugh/{i}.wav"), load(folder / f"laugh/{i}.wav")
        assert np.array_equal(packed.samples, plain.samples)
        assert packed.notes == plain.notes == []
    assert read_bytes(archive / "laugh/0.wav") == (folder / "laugh/0.wav").read_bytes()


def test_an_archive_unpacked_beside_itself_is_read_once(tmp_path):
    folder = wavs(tmp_path / "x/clips", 1)
    zipped(folder, tmp_path / "x/clips.zip")
    assert list(files(tmp_path / "x")) == ["clips/laugh/0.wav"]
    assert list(passed_over(tmp_path / "x")) == [("clips.zip", "the same files are in clips/laugh, and are read there")]


def test_shards_of_an_archive_are_those_of_its_content(tmp_path):
    folder = wavs(tmp_path / "plain")
    (tmp_path / "packed").mkdir()
    zipped(folder, tmp_path / "packed/a.zip")
    hashes = []
    for name in ("plain", "packed"):
        shards = prepare(PrepareConfig(tmp_path / f"out-{name}", {"x": Source(tmp_path / name)}, processes=2))
        hashes.append([(clip.sha256, clip.label) for clip in shards.clips()])
    assert hashes[0] == hashes[1]
    assert len(hashes[0]) == 4


def test_a_change_in_an_archive_is_noticed(tmp_path):
    archive = zipped(wavs(tmp_path / "a", 1), tmp_path / "a.zip.zip")
    before = size_and_time(archive / "laugh/0.wav")
    soundfile.write(tmp_path / "a/laugh/0.wav", NOISE[7], 16_000)
    zipped(tmp_path / "a", archive)
    assert before != size_and_time(archive / "laugh/0.wav") != (0, 0)
    assert size_and_time(archive / "gone.wav") == size_and_time(tmp_path / "gone.wav") == (0, 0)


OUTSIDE = ("../out.wav", "/etc/passwd", "a/../../b.wav", "C:\\a.wav", "..\\a.wav", "\\\\host\\a.wav", ".")


@pytest.mark.parametrize("name", OUTSIDE)
def test_names_outside_the_archive_are_refused(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as file:
        file.writestr(name, "x")
    with pytest.raises(UserError, match=r"bad.zip names the file .* which is not inside it"):
        members(tmp_path / "bad.zip")


def test_a_damaged_archive_is_refused_and_a_damaged_member_is_named(tmp_path):
    archive = zipped(wavs(tmp_path / "a"), tmp_path / "b.zip", zipfile.ZIP_STORED)
    data = archive.read_bytes()
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut/cut.zip").write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match=r"cut.zip is not a complete zip archive"):
        list(files(tmp_path / "cut"))
    at = data.index((tmp_path / "a/laugh/2.wav").read_bytes()) + 5000
    archive.write_bytes(data[:at] + bytes([data[at] ^ 255]) + data[at + 1 :])
    with pytest.raises(OSError, match=r"damaged or locked in its archive: Bad CRC"):
        load(archive / "laugh/2.wav")
    assert len(load(archive / "laugh/1.wav").samples) == 8000


def test_a_member_before_the_beginning_of_its_archive_is_at_fault_and_not_the_disk(tmp_path):
    # What is left of an archive in several volumes; the place of the first member is in the volume before.
    archive = zipped(wavs(tmp_path / "a"), tmp_path / "b.zip", zipfile.ZIP_STORED)
    archive.write_bytes(archive.read_bytes()[100:])
    with pytest.raises(MemberProblem, match="damaged or locked in its archive"):
        load(archive / "laugh/0.wav")
    assert len(load(archive / "laugh/1.wav").samples) == 8000


def test_a_damaged_archive_costs_none_of_the_other_clips(tmp_path):
    archive = zipped(wavs(tmp_path / "c/here"), tmp_path / "all.zip")
    (tmp_path / "c/cut.zip").write_bytes(archive.read_bytes()[:2000])
    prepare(PrepareConfig(tmp_path / "out", {"c": Source(tmp_path / "c")}, processes=1), say=lambda _: None)
    rows = [json.loads(line) for line in (tmp_path / "out/ledger.jsonl").read_text().split("\n") if line]
    said = {row["path"]: (row["action"], row["reason"]) for row in rows}
    assert said["cut.zip"] == ("dropped", "unreadable")
    assert [action for action, _ in said.values()].count("kept") == 4


def test_what_a_clone_without_lfs_leaves_is_named(tmp_path):
    (tmp_path / "female.zip").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(UserError, match=r"female.zip is a Git LFS pointer, not the archive itself; git lfs pull gets"):
        list(files(tmp_path))


def test_a_missing_member_is_a_missing_file(tmp_path):
    archive = zipped(wavs(tmp_path / "a", 1), tmp_path / "b.zip")
    with pytest.raises(FileNotFoundError):
        load(archive / "laugh/9.wav")
    with as_file(tmp_path / "a/laugh/0.wav") as file:
        assert file == tmp_path / "a/laugh/0.wav"


def packed(archive, entries, system=0):
    """Write an archive whose entries have just these names, which zipfile would put right."""
    with zipfile.ZipFile(archive, "w") as file:
        for name, data in entries:
            info = zipfile.ZipInfo("x")
            info.filename, info.create_system = name, system
            file.writestr(info, data)
    return archive


WAYS_OF_WRITING = (
    "laugh\\1.wav", "./laugh/1.wav", "laugh//1.wav", ".\\laugh\\1.wav", "laugh/./1.wav", "laugh\\/1.wav", "laugh/1.wav",
)  # fmt: skip


@pytest.mark.parametrize("name", WAYS_OF_WRITING)
@pytest.mark.parametrize("system", [0, 3])
def test_names_of_other_systems_are_read_as_they_unpack(tmp_path, name, system):
    archive = packed(tmp_path / "data.zip", [(name, b"x"), ("cry/2.wav", b"y"), ("cry\\", b"")], system)
    assert members(archive) == ["cry/2.wav", "laugh/1.wav"]
    assert read_bytes(archive / "laugh/1.wav") == b"x"
    assert size_and_time(archive / "laugh/1.wav") == (1, zlib.crc32(b"x"))
    assert {path: file.label for path, file in found_in(tmp_path, "mine").items()} == {
        "data.zip/laugh/1.wav": "laugh",
        "data.zip/cry/2.wav": "cry",
    }


@given(st.lists(st.text("ab.é /\\", min_size=1, max_size=8), min_size=1, max_size=4, unique=True))
def test_every_member_has_a_clean_path_of_its_own_or_the_archive_is_refused(tmp_path_factory, names):
    archive = packed(tmp_path_factory.mktemp("zip") / "a.zip", [(name, name.encode()) for name in names])
    try:
        found = members(archive)
    except UserError:
        return
    files = {name for name in names if not name.endswith(("/", "\\"))}
    assert {read_bytes(archive / path).decode() for path in found} == files
    for path in found:
        assert not set(path.split("/")) & {"", ".", ".."}


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_refused_by_name_and_a_copy_is_one(tmp_path):
    archive = packed(tmp_path / "a.zip", [("laugh/1.wav", b"x"), ("laugh/1.wav", b"x")])
    assert members(archive) == ["laugh/1.wav"]
    for other in ("laugh/1.wav", "laugh\\1.wav", "./laugh/1.wav"):
        archive = packed(tmp_path / "b.zip", [("laugh/1.wav", b"x"), (other, b"y")])
        with pytest.raises(UserError, match=r"b.zip holds two different files named 'laugh/1.wav'; unpack it"):
            members(archive)


def test_members_that_differ_in_case_or_in_how_accents_are_written_are_two(tmp_path):
    names = ["a/1.WAV", "a/1.wav", unicodedata.normalize("NFC", "a/é.wav"), unicodedata.normalize("NFD", "a/é.wav")]
    archive = packed(tmp_path / "a.zip", [(name, name.encode()) for name in names])
    assert sorted(names) == members(archive)
    assert [read_bytes(archive / name).decode() for name in names] == names


WITHOUT_A_MARK = (
    ("rire_é.wav".encode(), "rire_é.wav"), ("e\u0301.wav".encode(), "e\u0301.wav"), (b"D\x82go\x96t.wav", "Dégoût.wav"),
)  # fmt: skip


@pytest.mark.parametrize(("written", "meant"), WITHOUT_A_MARK)
def test_names_without_a_mark_are_utf_8_where_they_can_be_and_else_of_the_old_code_page(tmp_path, written, meant):
    archive = packed(tmp_path / "a.zip", [("@" * len(written), b"x")])
    archive.write_bytes(archive.read_bytes().replace(b"@" * len(written), written))
    assert members(archive) == [meant]
    assert read_bytes(archive / meant) == b"x"


def test_a_name_that_is_not_the_utf_8_it_says_is_told_in_one_line(tmp_path):
    archive = packed(tmp_path / "a.zip", [("é.wav", b"x")])
    archive.write_bytes(archive.read_bytes().replace("é".encode(), b"\xff\xfe"))
    with pytest.raises(UserError, match=r"a.zip is not a complete zip archive \(.*utf-8"):
        members(archive)


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_member_of_any_packing_is_its_own_fault(tmp_path, compression):
    archive = zipped(wavs(tmp_path / "a", 1), tmp_path / "b.zip", compression)
    data = bytearray(archive.read_bytes())
    at = data.index(b"laugh/0.wav") + len(b"laugh/0.wav")
    data[at : at + 400] = bytes(400)
    archive.write_bytes(data)
    with pytest.raises(MemberProblem, match="damaged or locked in its archive"):
        read_bytes(archive / "laugh/0.wav")


def test_an_encrypted_member_is_named_as_such(tmp_path):
    archive = packed(tmp_path / "a.zip", [("1.wav", b"secret")])
    data = bytearray(archive.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + offset] |= 1
    archive.write_bytes(data)
    with pytest.raises(MemberProblem, match="encrypted in its archive"):
        read_bytes(archive / "1.wav")


def test_an_archive_of_zip64_is_read(tmp_path):
    with (
        zipfile.ZipFile(tmp_path / "a.zip", "w") as archive,
        archive.open("laugh/1.wav", "w", force_zip64=True) as file,
    ):
        file.write(b"x" * 1000)
    assert read_bytes(tmp_path / "a.zip/laugh/1.wav") == b"x" * 1000


def test_members_lie_where_python_unpacks_them(tmp_path):
    archive = zipped(wavs(tmp_path / "a", 2), tmp_path / "b.zip")
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(tmp_path / "out")
    assert members(archive) == list(files(tmp_path / "out"))


def test_what_of_an_archive_is_not_read_is_listed_with_the_reason(tmp_path):
    link = zipfile.ZipInfo("linked.wav")
    link.external_attr = 0o120777 << 16
    inner = packed(tmp_path / "inner.zip", [("a/2.wav", b"x")])
    entries = [("a/1.wav", b"x"), ("a/._1.wav", b"x"), ("__MACOSX/a/1.wav", b"x"), ("more/in.ZIP", inner.read_bytes())]
    inner.unlink()
    with zipfile.ZipFile(packed(tmp_path / "a.zip", entries), "a") as file:
        file.writestr(link, "a/1.wav")
    packed(tmp_path / "none.zip", [("folder/", b"")])
    assert list(files(tmp_path)) == ["a.zip/a/1.wav"]
    assert dict(passed_over(tmp_path)) == {
        "a.zip/__MACOSX/a/1.wav": HIDDEN,
        "a.zip/a/._1.wav": HIDDEN,
        "a.zip/linked.wav": LINK,
        "a.zip/more/in.ZIP": NESTED,
        "none.zip": EMPTY,
    }
    assert len(found_in(tmp_path, "mine")) == 6


@pytest.mark.parametrize("name", ["laughs.zip", "laughs.ZIP", "laughs.Zip"])
def test_files_at_the_top_of_an_archive_are_labelled_as_in_a_folder_of_its_name(tmp_path, name):
    packed(tmp_path / name, [("1.wav", b"x")])
    assert found_in(tmp_path, "mine")[f"{name}/1.wav"].label == "laughs"


def test_an_archive_given_as_the_folder_is_read(tmp_path):
    folder = wavs(tmp_path / "plain")
    archive = zipped(folder, tmp_path / "corpus.zip")
    hashes = []
    for source in (folder, archive):
        config = PrepareConfig(tmp_path / f"{source.name}-out", {"x": Source(source)}, processes=1, absent="skip")
        said = []
        hashes.append([(clip.path, clip.sha256, clip.label) for clip in prepare(config, said.append).clips()])
        assert said[-1] == "absent, and left out: none"
    assert hashes[0] == hashes[1] != []


def test_an_audiofolder_in_an_archive_is_one(tmp_path):
    entries = [("a.wav", b"x"), ("laugh/b.wav", b"y"), ("metadata.csv", b"file_name,label\na.wav,cry\n")]
    reading = found_in(packed(tmp_path / "a.zip", entries), "mine")
    assert reading["a.wav"].label == "cry"
    assert reading["laugh/b.wav"].reason == "not in the metadata"


def test_a_file_that_is_no_archive_is_not_called_missing(tmp_path):
    (tmp_path / "corpus.tar").write_bytes(b"x")
    with pytest.raises(UserError, match=r"should be in .*corpus.tar, but that is a file, and not a zip archive"):
        found_in(tmp_path / "corpus.tar", "mine")


def test_the_same_name_and_size_are_no_twins_where_the_content_differs(tmp_path):
    packed(tmp_path / "ann.zip", [("1.wav", b"ann")])
    (tmp_path / "bob").mkdir()
    (tmp_path / "bob/1.wav").write_bytes(b"bob")
    assert list(files(tmp_path)) == ["ann.zip/1.wav", "bob/1.wav"]
    (tmp_path / "bob/1.wav").write_bytes(b"ann")
    assert list(files(tmp_path)) == ["bob/1.wav"]


def test_what_was_made_of_an_unpacked_file_is_read_for_it_and_what_was_not_unpacked_too(tmp_path):
    packed(tmp_path / "data.zip", [("data/laugh/1.wav", b"as it was"), ("data/laugh/2.wav", b"only here")])
    (tmp_path / "data/laugh").mkdir(parents=True)
    (tmp_path / "data/laugh/1.wav").write_bytes(b"resampled")
    assert list(files(tmp_path)) == ["data.zip/data/laugh/2.wav", "data/laugh/1.wav"]
    assert dict(passed_over(tmp_path)) == {
        "data.zip/data/laugh/1.wav": "the same file is in data/laugh, and is read there"
    }


def test_an_archive_beside_a_linked_or_another_folder_of_its_name_is_read(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "elsewhere").mkdir()
    packed(tmp_path / "in/train.zip", [("1.wav", b"x")])
    (tmp_path / "in/train").symlink_to(tmp_path / "elsewhere")
    assert list(files(tmp_path / "in")) == ["train", "train.zip/1.wav"]
    (tmp_path / "in/train").unlink()
    (tmp_path / "in/train").mkdir()
    (tmp_path / "in/train/notes.txt").write_bytes(b"x")
    assert list(files(tmp_path / "in")) == ["train.zip/1.wav", "train/notes.txt"]


def test_a_damaged_archive_costs_nothing_where_it_was_unpacked(tmp_path):
    wavs(tmp_path / "clips", 1)
    (tmp_path / "clips.zip").write_bytes(b"PK half of it")
    assert list(files(tmp_path)) == ["clips/laugh/0.wav"]
    assert list(passed_over(tmp_path)) == [("clips.zip", DAMAGED)]
