"""The last stage of preparing: writes shards, their table and their index, and checks them later."""

import io
import json
import os
import tarfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nonverbal.data.index import FORMAT, SAMPLE_RATE, TABLE_DTYPE, VERSION, Split
from nonverbal.data.manifest import Clip, as_row, write_manifest
from nonverbal.errors import UserError
from nonverbal.files import read_json, sha256_of, whole, write_atomically
from nonverbal.seeding import Stream, generator

SPLITS: tuple[Split, ...] = ("train", "validation")


@dataclass(frozen=True)
class Part:
    """A stretch of a clip, no longer than the longest part of a shard, as FLAC in a scratch file."""

    clip: int
    """Row of the manifest."""
    number: int
    samples: int
    group: int
    split: Split
    file: Path
    offset: int
    size: int


def write_shards(folder: Path, clips: list[Clip], parts: list[Part], megabytes: float, seed: int) -> Iterator[int]:
    """Write shards, ``table.npy``, ``manifest.jsonl`` and, last, ``index.json``. Yields the bytes written so far.

    Parts are in random order over all corpora, so that any stretch of shards is a sample of the whole.
    """
    corpora = sorted({clip.corpus for clip in clips})
    shards: list[dict[str, Any]] = []
    rows: list[tuple[int, ...]] = []
    written = 0
    for number, split in enumerate(SPLITS):
        mine = [part for part in parts if part.split == split]
        order = generator(seed, Stream.SHARDS, number).permutation(len(mine))
        for count, members in enumerate(_by_size([mine[i] for i in order], megabytes * 1e6)):
            name = f"{split}-{count:06}.tar"
            offsets = _write_tar(folder / name, members, clips)
            for part, offset in zip(members, offsets, strict=True):
                corpus = corpora.index(clips[part.clip].corpus)
                rows.append((offset, part.size, part.samples, len(shards), part.clip, part.group, corpus, part.number))
            shards.append(_describe(folder / name, split, members))
            written += shards[-1]["bytes"]
            yield written
    np.save(folder / "table.npy", np.array(rows, dtype=TABLE_DTYPE))
    write_manifest(folder / "manifest.jsonl", clips)
    index = {
        "format": FORMAT,
        "version": VERSION,
        "sample_rate": SAMPLE_RATE,
        "seed": seed,
        "corpora": corpora,
        "files": {name: _sha256(folder / name) for name in ("table.npy", "manifest.jsonl")},
        "shards": shards,
    }
    write_atomically(folder / "index.json", json.dumps(index, indent=1) + "\n")


def verify(folder: Path) -> int:
    """Compare every shard, the table and the manifest with the index, and ``log-mel.npy`` with ``log-mel.json``.

    Returns the number of unchanged files.

    Raises:
        UserError: files have changed or are missing; names all of them.
    """
    from nonverbal.data.index import open_shards

    opened = open_shards(folder)
    index = read_json(folder / "index.json")
    expected = {shard["name"]: shard["sha256"] for shard in opened.shards} | index["files"]
    # A thread that hashes a file does not block the others.
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        found = threads.map(lambda name: _sha256(folder / name), expected)
    changed = [name for (name, sha256), now in zip(expected.items(), found, strict=True) if now != sha256]
    if changed:
        raise UserError(
            f"{', '.join(str(folder / name) for name in changed)} changed since index.json was written; copy them "
            "again from where they came, or remove the folder and prepare it again"
        )
    if not (folder / "log-mel.json").exists():
        return len(expected)
    # This imports torch and transformers, which takes seconds.
    from nonverbal.data.log_mel import open_log_mel

    open_log_mel(opened)
    return len(expected) + 1


def _by_size(parts: list[Part], most: float) -> Iterator[list[Part]]:
    """Divide parts into lists with at most ``most`` bytes of audio, or with a single part."""
    members: list[Part] = []
    size = 0
    for part in parts:
        if members and size + part.size > most:
            yield members
            members, size = [], 0
        members.append(part)
        size += part.size
    if members:
        yield members


def _write_tar(path: Path, parts: Iterable[Part], clips: list[Clip]) -> list[int]:
    """Write a shard completely or not at all. Returns the offset of each part's FLAC in it."""
    offsets = []
    # The same bytes as from webdataset's TarWriter, which imports torch: more than a second in every process.
    with whole(path) as unfinished, tarfile.open(unfinished, "w", format=tarfile.USTAR_FORMAT) as tar:
        for part in parts:
            clip = clips[part.clip]
            key = f"{clip.corpus}-{clip.sha256[:16]}-{part.number:04}"
            description = json.dumps({**as_row(clip), "part": part.number, "split": part.split}).encode()
            offsets.append(_add(tar, f"{key}.flac", _read(part)))
            _add(tar, f"{key}.json", description)
    return offsets


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> int:
    """Add a file without any trace of this machine or moment. Returns the offset of its first byte."""
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.uname, member.gname = len(data), 0o444, "nonverbal", "nonverbal"
    data_begins = tar.offset + tarfile.BLOCKSIZE
    tar.addfile(member, io.BytesIO(data))
    return data_begins


def _read(part: Part) -> bytes:
    with open(part.file, "rb") as file:
        file.seek(part.offset)
        return file.read(part.size)


def _describe(path: Path, split: Split, parts: list[Part]) -> dict[str, Any]:
    return {
        "name": path.name,
        "split": split,
        "clips": len(parts),
        "seconds": round(sum(part.samples for part in parts) / SAMPLE_RATE, 4),
        "bytes": path.stat().st_size,
        "sha256": _sha256(path),
    }


def _sha256(path: Path) -> str:
    return sha256_of(path) if path.is_file() else "missing"
