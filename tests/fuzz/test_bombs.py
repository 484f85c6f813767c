"""Files that claim gigabytes, lead out of their folder, or have names with a meaning: refused before they cost much."""

import io
import json
import resource
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_shards import noise
from shards_targets import bind_shards, decoded, make_shards, make_units

from nonverbal.data.arrays import read_array
from nonverbal.data.batching.units import open_units
from nonverbal.data.index import open_shards
from nonverbal.data.reading import tars
from nonverbal.data.reading.archives import members
from nonverbal.data.reading.audio import encode
from nonverbal.errors import UserError
from nonverbal.files import json_lines, json_of, read_json
from nonverbal.models.checkpoints.weight_files import hold
from nonverbal.recipes import read_recipe

GIGABYTE = 1 << 30


@pytest.fixture(autouse=True)
def _little_memory() -> Iterator[None]:
    """Refuse this process another gigabyte."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + GIGABYTE, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def flac(claimed: int) -> bytes:
    """Return a FLAC file whose header claims so many samples."""
    data = bytearray(encode(noise(0)))
    # STREAMINFO begins at byte 8; its 36 bits of samples end at byte 26.
    data[21] = (data[21] & 0xF0) | (claimed >> 32)
    data[22:26] = (claimed & 0xFFFFFFFF).to_bytes(4, "big")
    return bytes(data)


def test_a_flac_that_claims_64_gigabytes_is_a_row_of_the_ledger(tmp_path: Path) -> None:
    (tmp_path / "a.flac").write_bytes(flac((1 << 36) - 1))
    found = decoded(tmp_path, "a.flac")
    assert isinstance(found, bytes)
    assert json.loads(found)[0] in ("unreadable", "truncated")


def test_a_wav_that_claims_a_gigabyte_is_a_row_of_the_ledger(tmp_path: Path) -> None:
    head = (
        b"RIFF" + struct.pack("<I", 0x50000024) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 16000, 32000, 2, 16)
    )
    (tmp_path / "a.wav").write_bytes(head + b"data" + struct.pack("<I", 0x50000000) + noise(1).tobytes())
    found = decoded(tmp_path, "a.wav")
    assert isinstance(found, bytes)
    assert json.loads(found)[0] == "truncated"


def changed_shards(folder: Path, change: Callable[[dict[str, Any], np.ndarray], None]) -> None:
    """Write shards, change their index and table, and make the hashes right again."""
    make_shards(folder)
    index, table = json.loads((folder / "index.json").read_text()), np.load(folder / "table.npy")
    change(index, table)
    (folder / "index.json").write_text(json.dumps(index))
    np.save(folder / "table.npy", table)
    files = bind_shards({path.name: path.read_bytes() for path in folder.iterdir()})
    (folder / "index.json").write_bytes(files["index.json"])


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("samples", 2**32 - 1),
        ("size", 2**32 - 1),
        ("offset", 2**64 - 1),
        ("offset", 2**63),
        ("shard", 9),
        ("corpus", 1),
    ],
)
def test_a_table_whose_parts_cannot_be_there_is_refused(tmp_path: Path, column: str, value: int) -> None:
    def change(_: dict[str, Any], table: np.ndarray) -> None:
        table[column][1] = value

    changed_shards(tmp_path, change)
    with pytest.raises(UserError, match=r"table.npy does not belong to .*index.json; make the folder again"):
        open_shards(tmp_path)


def test_a_shard_with_a_flac_that_claims_more_than_its_table_is_refused(tmp_path: Path) -> None:
    make_shards(tmp_path)
    part = np.load(tmp_path / "table.npy")[0]
    data = bytearray((tmp_path / "train-000000.tar").read_bytes())
    at = int(part["offset"])
    data[at : at + int(part["size"])] = flac((1 << 36) - 1)[: int(part["size"])]
    (tmp_path / "train-000000.tar").write_bytes(data)
    with pytest.raises(UserError, match="cannot be decoded .68719476735 samples in 1 channels, not 1600 in 1"):
        open_shards(tmp_path).read(0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda index: index.update(shards={}), "shards is not a list of objects"),
        (lambda index: index.update(shards=[3]), "shards is not a list of objects"),
        (lambda index: index.update(corpora=[None]), "corpora is not a list of names"),
        (lambda index: index.update(files=[]), "files does not give hashes by name"),
        (lambda index: index["shards"][0].update(name=None), "name of shard 0 is 'None'"),
        (lambda index: index["shards"][1].update(clips=-1), "clips of shard 1 is '-1'"),
        (lambda index: index["shards"][0].update(bytes=True), "bytes of shard 0 is 'True'"),
        (lambda index: index["shards"][0].update(name="../train-000000.tar"), "outside its folder"),
        (lambda index: index["shards"][0].update(name="a\0b"), "outside its folder"),
        (lambda index: index["files"].clear(), r"table.npy does not belong"),
    ],
)
def test_an_index_of_other_kinds_is_refused_by_name(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], said: str
) -> None:
    make_shards(tmp_path)
    index = json.loads((tmp_path / "index.json").read_text())
    change(index)
    (tmp_path / "index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=said):
        open_shards(tmp_path)


@pytest.mark.parametrize("text", ["[]", "3", "[" * 100_000, "\ufeff{}", '{"format": "\\ud800"}'])
def test_an_index_that_is_no_object_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(UserError, match=r"index.json (is not valid JSON|holds)"):
        open_shards(tmp_path)


def test_a_manifest_with_fewer_clips_than_the_table_is_refused(tmp_path: Path) -> None:
    make_shards(tmp_path)
    lines = (tmp_path / "manifest.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "manifest.jsonl").write_text("".join(lines[:3]))
    with pytest.raises(UserError, match=r"manifest.jsonl has 3 clips, fewer than table.npy beside it names"):
        open_shards(tmp_path).clips()


HEADERS = [
    "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }",
    "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (" + "9" * 500 + ",), }",
    "{'descr': '<f8',",
    "(" * 3000,
    "{'descr': '|S0', 'fortran_order': False, 'shape': (3,), }",
    "__import__('os').system('true')",
]


@pytest.mark.parametrize("header", HEADERS)
def test_an_array_whose_header_lies_is_refused(tmp_path: Path, header: str) -> None:
    text = header.encode() + b"\n"
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(16))
    with pytest.raises(ValueError, match="not a NumPy array"):
        read_array(tmp_path / "a.npy")


def test_an_array_that_is_a_zip_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.ones(3))
    (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    with pytest.raises(ValueError, match="not a NumPy array"):
        read_array(tmp_path / "a.npy")


@pytest.mark.parametrize(
    "change",
    [
        lambda flat, ends: (flat.astype(np.int64), ends),
        lambda flat, ends: (flat, ends[::-1].copy()),
        lambda flat, ends: (flat, ends[:-1]),
        lambda flat, ends: (flat, ends + 1),
        lambda flat, ends: (flat + np.uint16(9), ends),
    ],
)
def test_units_that_do_not_fit_their_parts_are_refused(tmp_path: Path, change: Callable[..., Any]) -> None:
    from shards_targets import bind_units

    make_units(tmp_path)
    name = next(path.name for path in (tmp_path / "units").glob("*.npy") if "-ends" not in path.name)
    places = [tmp_path / "units" / name, tmp_path / "units" / name.replace(".npy", "-ends.npy")]
    for path, array in zip(places, change(*map(np.load, places)), strict=True):
        np.save(path, array)
    held = {path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in (tmp_path / "units").iterdir()}
    (tmp_path / "units/units.json").write_bytes(bind_units(held)["units/units.json"])
    with pytest.raises(UserError, match="do not fit its parts"):
        open_units(tmp_path / "units").units(open_shards(tmp_path / "shards"))


@pytest.mark.parametrize("change", [{"clusters": "3"}, {"clusters": 0}, {"folders": []}, {"files": {"a": 3}}])
def test_units_json_of_other_kinds_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    make_units(tmp_path)
    path = tmp_path / "units/units.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match="does not say clusters, folders and files"):
        open_units(tmp_path / "units")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "9" * 5000, '"\\ud800"', '"\\uDFFF"'])
def test_json_that_cannot_be_held_or_written_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=r"nested too deeply|Exceeds the limit|surrogates not allowed"):
        read_json(tmp_path / "a.json")
    with pytest.raises(UserError, match="line 1"):
        list(json_lines(tmp_path / "a.json"))


def test_json_with_a_whole_character_in_two_halves_is_read() -> None:
    assert json_of(rb'"\ud83d\ude00"') == "\U0001f600"


LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)


@pytest.mark.parametrize(
    "text",
    [
        LAUGHS,
        "a: " + "[" * 5000,
        "a: &a [*a]\n",
        "a: !!python/object/apply:os.system ['true']\n",
        "a: !!python/name:os.system\n",
        "a: !!timestamp 9999-99-99\n",
        "a: " + "9" * 5000 + "\n",
    ],
)
def test_yaml_that_grows_runs_or_cannot_be_held_is_refused(tmp_path: Path, text: str) -> None:
    from nonverbal.config import load
    from nonverbal.data.preparing.settings import PrepareConfig

    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(UserError, match=r"a.yaml"):
        load(PrepareConfig, [str(tmp_path / "a.yaml")], "prepare", "")


@pytest.mark.parametrize("length", [2**63, 10**12, 10**8 + 1, GIGABYTE * 4])
def test_safetensors_whose_header_claims_gigabytes_are_refused(tmp_path: Path, length: int) -> None:
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", length) + b"{}")
    with pytest.raises(UserError, match="truncated or damaged"):
        hold(tmp_path / "a.safetensors", lambda _: [])


def test_a_tensor_that_claims_gigabytes_is_refused(tmp_path: Path) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [2**30], "data_offsets": [0, 2**32]}}).encode()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(UserError, match="truncated or damaged"):
        hold(tmp_path / "a.safetensors", lambda _: [])


def zip_of(path: Path, name: str, data: bytes, mode: int = 0o100644) -> Path:
    """Write an archive of one member."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr, info.compress_type = mode << 16, zipfile.ZIP_DEFLATED
        archive.writestr(info, data)
    return path


def test_a_member_that_claims_more_than_is_unpacked_is_a_row_of_the_ledger(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "a.zip", "a.wav", bytes(100))
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<I", 2**32 - 2)
    path.write_bytes(data)
    found = decoded(tmp_path, "a.zip/a.wav")
    assert isinstance(found, bytes)
    assert json.loads(found)[0] == "unreadable"


@pytest.mark.parametrize("name", ["../a.wav", "/a.wav", "a/../../b.wav", "C:/a.wav", "..\\a.wav"])
def test_a_zip_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="not inside it"):
        members(zip_of(tmp_path / "a.zip", name, b"x"))


def tar_of(path: Path, name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int | None = None) -> Path:
    """Write a tar of one member."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, 4 if size is None else size
    header = info.tobuf(tarfile.GNU_FORMAT)
    path.write_bytes(header + b"data".ljust(512, b"\0") + bytes(1024))
    return path


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *[(name, tarfile.REGTYPE) for name in ("../a.wav", "/a.wav", "a/../../b.wav")],
        *[("a.wav", kind) for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE)],
        ("a.wav", tarfile.FIFOTYPE),
    ],
)
def test_a_tar_that_leads_out_has_no_such_member(tmp_path: Path, name: str, kind: bytes) -> None:
    listed = tars.listing(tar_of(tmp_path / "a.tar", name, kind, "/etc/passwd"))
    assert not listed.members
    assert listed.refused or listed.damage


@pytest.mark.parametrize("size", [2**33, 2**62])
def test_a_tar_whose_member_claims_gigabytes_is_damaged(tmp_path: Path, size: int) -> None:
    listed = tars.listing(tar_of(tmp_path / "a.tar", "a.wav", size=size))
    assert not listed.members
    assert listed.damage is not None


def test_a_long_name_that_claims_gigabytes_is_damage(tmp_path: Path) -> None:
    listed = tars.listing(tar_of(tmp_path / "a.tar", "././@LongLink", tarfile.GNUTYPE_LONGNAME, size=2**33))
    assert not listed.members
    assert listed.damage is not None


def test_a_zip_in_a_checkpoint_that_claims_gigabytes_is_refused(tmp_path: Path) -> None:
    import torch

    out = io.BytesIO()
    torch.save({"model": {"w": torch.ones(3)}}, out)
    data = out.getvalue().replace(b"K\x03\x85", b"J\xff\xff\xff\x7f\x85")
    (tmp_path / "a.pt").write_bytes(data)
    with pytest.raises(UserError, match=r"a.pt cannot be read"):
        hold(tmp_path / "a.pt", lambda _: [])


@pytest.mark.parametrize("name", ["--out", "-rf", "\x1b[2J", "\u202e", "a\nb", "$(touch x)", "a\0b"])
def test_a_name_with_a_meaning_is_shown_and_not_followed(tmp_path: Path, name: str) -> None:
    from nonverbal.cli import _unknown_command
    from nonverbal.text import one_line

    assert one_line(_unknown_command(name)).isprintable()
    with pytest.raises(UserError) as caught:
        read_recipe(str(tmp_path / name))
    assert one_line(str(caught.value)).isprintable()
