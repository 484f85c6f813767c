"""Tars, written by ``tarfile``, GNU tar's layout by hand, and damaged in every way."""

import gzip
import io
import shutil
import subprocess
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nonverbal.data.reading import tars
from nonverbal.data.reading.archives import as_file, read_bytes, size_and_time

FILES = {"a.flac": b"A" * 700, "a.json": b"{}", "dir/b.c.wav": b"B" * 1024, "empty.txt": b""}


def packed(members, tar_format=tarfile.GNU_FORMAT):
    """Return a tar of (name, content) or TarInfo."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tar_format) as tar:
        for member in members:
            info = member if isinstance(member, tarfile.TarInfo) else tarfile.TarInfo(member[0])
            data = b"" if info is member else member[1]
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def write(path, data):
    path.write_bytes(data)
    return path


def contents(tar):
    return {path: tars.read(tar, path, 1 << 20) for path in tars.listing(tar).members}


@pytest.mark.parametrize("tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("name", ["x.tar", "X.TAR"])
def test_members_are_read_where_they_lie(tmp_path, tar_format, name):
    files = {**FILES, "lang/" + "k" * 90 + "/" + "ä" * 40 + ".wav": b"long"}
    tar = write(tmp_path / name, packed(files.items(), tar_format))
    assert contents(tar) == files
    assert tars.listing(tar).damage is None
    for path, content in files.items():
        assert read_bytes(tar / path) == content
        with as_file(tar / path) as file:
            assert file.suffix == (tar / path).suffix
    assert not list(tmp_path.glob("*/"))


def test_members_of_one_name_are_told_apart(tmp_path):
    names = ["a.wav", "a.wav", "a#2.wav", "a.WAV", "d/a.wav", "./a.wav", "d//a.wav", ".x", ".x", "n", "n"]
    tar = write(tmp_path / "x.tar", packed((name, bytes([i])) for i, name in enumerate(names)))
    read = contents(tar)
    assert list(read.values()) == [bytes([i]) for i in range(len(names))]
    assert list(read)[:4] == ["a.wav", "a#2.wav", "a#2#2.wav", "a#3.WAV"]
    assert [tars.listing(tar).members[path].name for path in read][4:8] == ["d/a.wav", "a.wav", "d/a.wav", ".x"]
    assert all(read_bytes(tar / path) == content for path, content in read.items())


def info(name, kind, target=""):
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, target
    return made


def test_links_devices_and_names_that_lead_out_are_not_followed(tmp_path):
    members = [
        ("/etc/passwd.wav", b"1"),
        ("../up.wav", b"2"),
        ("a/../../up.wav", b"3"),
        info("link.wav", tarfile.SYMTYPE, "/etc/passwd"),
        info("hard.wav", tarfile.LNKTYPE, "a.wav"),
        info("pipe.wav", tarfile.FIFOTYPE),
        info("device.wav", tarfile.CHRTYPE),
        info("folder.wav", tarfile.DIRTYPE),
        info("link.wav", tarfile.SYMTYPE, "a.wav"),
        ("link.wav", b"4"),
    ]
    tar = write(tmp_path / "x.tar", packed(members))
    assert contents(tar) == {"link.wav": b"4"}
    assert tars.listing(tar).refused == {
        "/etc/passwd.wav": tars.OUTSIDE,
        "../up.wav": tars.OUTSIDE,
        "a/../../up.wav": tars.OUTSIDE,
        "link#2.wav": tars.LINK,
        "hard.wav": tars.LINK,
        "pipe.wav": tars.OTHER,
        "device.wav": tars.OTHER,
        "link#3.wav": tars.LINK,
    }
    with pytest.raises(FileNotFoundError):
        read_bytes(tar / "hard.wav")


def test_what_was_joined_to_a_tar_is_read_too(tmp_path):
    tar = write(tmp_path / "x.tar", packed([("a.wav", b"1")]) + packed([("b.wav", b"2"), ("a.wav", b"3")]))
    assert contents(tar) == {"a.wav": b"1", "b.wav": b"2", "a#2.wav": b"3"}
    assert tars.listing(tar).damage is None


WHOLE = packed(FILES.items())
HEADERS = [0, 1536, 2560, 4096]
"""Where the members of WHOLE begin; its end, two blocks of zeros, is at 4608."""


@pytest.mark.parametrize(
    ("data", "whole", "damage"),
    [
        (b"", 0, "empty file"),
        (b"no tar at all" * 100, 0, "invalid header"),
        (WHOLE[:300], 0, "truncated header"),
        (WHOLE[:1000], 0, "cut in 'a.flac', 488 of 700 bytes in"),
        (WHOLE[:1300], 1, "unexpected end of data"),
        (WHOLE[:1536], 1, "it stops at byte 1536 without the mark of an end, and may be cut there"),
        (WHOLE[:1700], 1, "it stops at byte 1536 without the mark of an end"),
        (WHOLE[:4608], 4, "it stops at byte 4608 without the mark of an end"),
        (WHOLE[:1536] + b"\7" * 512 + WHOLE[2048:], 1, "the header at byte 1536 is damaged"),
        (WHOLE + b"what is this?" * 100, 4, "the header at byte 10240 is damaged"),
        (gzip.compress(WHOLE), 0, "compressed: unpack it first, with gunzip"),
        (b"\x28\xb5\x2f\xfd" + bytes(2000), 0, "compressed: unpack it first, with unzstd"),
    ],
)
def test_what_is_whole_before_the_damage_is_read_and_the_rest_named(tmp_path, data, whole, damage):
    tar = write(tmp_path / "x.tar", data)
    assert contents(tar) == dict(list(FILES.items())[:whole])
    assert tars.listing(tar).damage.startswith(damage)
    with pytest.raises(tars.MemberProblem, match=f"{damage}.*{whole or 'no'} files before that"):
        read_bytes(tar)


def test_zeros_are_a_tar_without_files(tmp_path):
    assert tars.listing(write(tmp_path / "x.tar", packed([]))) == tars.Listing()


@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.binary(min_size=1, max_size=20)), max_size=4), st.data())
def test_no_tar_is_too_damaged_to_be_listed(tmp_path_factory, changes, data):
    damaged = bytearray(WHOLE)
    for at, new in changes:
        damaged[at : at + len(new)] = new
    for header in HEADERS:
        if data.draw(st.booleans()):
            # A header that lies, and whose checksum is right.
            fields = st.sampled_from([b"L", b"K", b"x", b"g", b"S", b"D", b"1", b"9"])
            damaged[header + 124 : header + 136] = data.draw(st.binary(min_size=12, max_size=12))
            damaged[header + 156 : header + 157] = data.draw(fields)
            damaged[header + 148 : header + 156] = b" " * 8
            damaged[header + 148 : header + 156] = b"%06o\0 " % sum(damaged[header : header + 512])
    tar = write(tmp_path_factory.mktemp("tars") / "x.tar", damaged[: data.draw(st.integers(0, len(damaged)))])
    for path, member in tars.listing(tar).members.items():
        assert len(tars.read(tar, path, 1 << 20)) == member.size


def test_a_member_that_is_too_large_is_not_read(tmp_path):
    tar = write(tmp_path / "x.tar", WHOLE)
    with pytest.raises(tars.MemberProblem, match="more than 699 bytes"):
        tars.read(tar, "a.flac", 699)


def test_a_change_of_a_tar_is_noticed(tmp_path):
    tar = write(tmp_path / "x.tar", WHOLE)
    before = size_and_time(tar / "a.flac")
    assert before == size_and_time(tar) != (0, 0)
    write(tar, packed([("a.flac", b"other")]))
    assert contents(tar) == {"a.flac": b"other"}
    assert before != size_and_time(tar / "a.flac")


def test_a_folder_that_is_called_like_a_tar_is_a_folder(tmp_path):
    (tmp_path / "x.tar").mkdir()
    write(tmp_path / "x.tar/a.wav", b"1")
    assert read_bytes(tmp_path / "x.tar/a.wav") == b"1"


@pytest.mark.skipif(shutil.which("tar") is None, reason="needs GNU tar")
def test_gnu_tar_writes_what_is_read_and_its_sparse_files_are_refused(tmp_path):
    (tmp_path / "in").mkdir()
    for name, content in (("a.wav", b"1"), ("b.wav", b"2")):
        write(tmp_path / "in" / name, content)
    with open(tmp_path / "in/holes.wav", "wb") as file:
        file.truncate(1 << 20)
    subprocess.run(["tar", "-C", tmp_path / "in", "-S", "-cf", tmp_path / "x.tar", "."], check=True)
    assert contents(tmp_path / "x.tar") == {"a.wav": b"1", "b.wav": b"2"}
    assert tars.listing(tmp_path / "x.tar").refused == {"holes.wav": tars.SPARSE}
