"""Reading a folder of shards: ``index.json``, the clip table, and samples at their offsets in the tar files."""

import hashlib
import io
import os
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import soundfile

from nonverbal.data.arrays import read_array
from nonverbal.data.manifest import Clip, read_manifest
from nonverbal.errors import UserError
from nonverbal.files import json_of, sha256_of

FORMAT = "nonverbal-shards"
VERSION = 2
SAMPLE_RATE = 16_000

LONGEST = 3600 * SAMPLE_RATE
"""Largest number of samples of a part: the largest ``max_seconds`` of ``nonverbal prepare``."""

Split = Literal["train", "validation"]

SAME = "put back what was there, or run the command again, and leave the folder as it is while commands read it"
"""The remedy if a folder of shards has been changed while a command uses it."""

TABLE_DTYPE = np.dtype(
    [
        ("offset", "<u8"),  # of the FLAC file's first byte in its shard
        ("size", "<u4"),  # of the FLAC file, in bytes
        ("samples", "<u4"),  # at 16 kHz
        ("shard", "<u4"),  # row of index.json's "shards"
        ("clip", "<u4"),  # row of manifest.jsonl
        ("group", "<u4"),  # clips that share a recording, a speaker or their samples share a group
        ("corpus", "<u2"),  # row of index.json's "corpora"
        ("part", "<u2"),  # a long clip lies in equal parts, 0, 1, ...
    ]
)
"""The columns of the table, which has one row per part, in the order of the parts in the shards."""


Stamp = tuple[int, int]
"""Size of a file in bytes, and time of its last change in nanoseconds. If they differ, its content may have changed."""


@dataclass(frozen=True)
class ShardFolder:
    """An opened folder of shards. Each process opens a shard when it first reads from it."""

    folder: Path
    corpora: list[str]
    shards: list[dict[str, Any]]
    """Each shard's ``name``, ``split``, ``clips``, ``seconds``, ``bytes`` and ``sha256``."""
    table: np.ndarray
    """``(parts,)`` of ``TABLE_DTYPE``."""
    sha256: str
    """SHA-256 of ``index.json``, which lists the SHA-256 of all other files: it identifies the folder's content."""
    manifest_sha256: str | None = None
    """SHA-256 of ``manifest.jsonl`` in the index; None if the index does not list it."""
    stamps: dict[int, Stamp] = field(default_factory=dict, repr=False)
    """By index in ``shards``, the stamp of each shard when the folder was opened."""
    _files: dict[int, int] = field(default_factory=dict, repr=False)

    def rows(self, split: Split) -> np.ndarray:
        """Return the table rows of a split, ``(parts,)`` int64."""
        in_split = np.array([shard["split"] == split for shard in self.shards], dtype=bool)
        return np.flatnonzero(in_split[self.table["shard"]])

    def clips(self) -> list[Clip]:
        """Return the manifest: row i describes the parts whose table column ``clip`` is i.

        Raises:
            UserError: it is damaged, or is not the one that the index lists: labels of other clips.
        """
        path = self.folder / "manifest.jsonl"
        clips = list(read_manifest(path))
        if len(self.table) and self.table["clip"].max() >= len(clips):
            raise UserError(
                f"{path} has {len(clips)} clips, fewer than table.npy beside it names; copy the folder again"
            )
        if self.manifest_sha256 is not None and sha256_of(path) != self.manifest_sha256:
            raise UserError(
                f"{path} is not the manifest of the index.json with which the folder was opened, so its labels may be "
                "those of other clips; put back what nonverbal prepare wrote, or run the command again if the folder "
                "has just been replaced"
            )
        return clips

    def parts(self, clips: np.ndarray) -> list[np.ndarray]:
        """Return for each clip, given by its row in the manifest, the table rows of its parts in order."""
        order = np.lexsort((self.table["part"], self.table["clip"]))
        first, last = (np.searchsorted(self.table["clip"][order], clips, side) for side in ("left", "right"))
        return [order[a:b] for a, b in zip(first, last, strict=True)]

    def read(
        self, row: int, start: int = 0, stop: int | None = None, dtype: Literal["float32", "int16"] = "float32"
    ) -> np.ndarray:
        """Return samples ``start`` to ``stop`` of a part, float32 in [-1, 1], or the int16 values that FLAC holds."""
        part = self.table[row]
        shard = int(part["shard"])
        where = f"{self.folder / self.shards[shard]['name']}: the audio at byte {part['offset']}"
        remedy = f"check the folder with: nonverbal prepare --verify {self.folder}"
        try:
            if shard not in self._files:
                self._files[shard] = os.open(self.folder / self.shards[shard]["name"], os.O_RDONLY)
            data = os.pread(self._files[shard], int(part["size"]), int(part["offset"]))
            # After the read: what was written before it shows.
            self._check_unchanged(shard)
        except OSError as error:
            raise UserError(f"{where} cannot be read ({error.strerror}); {remedy}") from error
        try:
            with soundfile.SoundFile(io.BytesIO(data)) as file:
                # This comes before allocating the memory for as many samples as the header claims.
                if file.frames != int(part["samples"]) or file.channels != 1:
                    raise RuntimeError(f"{file.frames} samples in {file.channels} channels, not {part['samples']} in 1")
                file.seek(start)
                samples: np.ndarray = file.read(-1 if stop is None else stop - start, dtype=dtype)
                depth = file.subtype
        except (soundfile.LibsndfileError, RuntimeError) as error:
            raise UserError(f"{where} cannot be decoded ({error}); {remedy}") from error
        if depth != "PCM_16":
            raise UserError(f"{where} is {depth}, but parts have 16 bits (PCM_16); make the folder again")
        expected = (int(part["samples"]) if stop is None else stop) - start
        if len(samples) != expected:
            raise UserError(f"{where} has {len(samples)} samples where {expected} were expected; {remedy}")
        return samples

    def _check_unchanged(self, shard: int) -> None:
        """Refuse an open shard that has changed since the folder was opened, because its clips may be others.

        A shard that was only touched, or rewritten with the same content, is accepted: its hash decides.
        """
        now = _stamp(os.fstat(self._files[shard]))
        if now == self.stamps.get(shard, now):
            return
        path = self.folder / self.shards[shard]["name"]
        with open(self._files[shard], "rb", closefd=False) as file:
            file.seek(0)
            if hashlib.file_digest(file, "sha256").hexdigest() != self.shards[shard]["sha256"]:
                raise UserError(
                    f"{path} has been changed or replaced since the folder was opened; {SAME}; it is checked by: "
                    f"nonverbal prepare --verify {self.folder}"
                )
        self.stamps[shard] = now

    @property
    def seen(self) -> "Seen":
        """What another process needs in order to open the same folder in the same state."""
        return Seen(self.folder, self.sha256, tuple(self.stamps.items()))

    def __getstate__(self) -> dict[str, Any]:
        # File descriptors belong to one process, and the table may be large.
        return {"seen": self.seen}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state["seen"].open().__dict__)


@dataclass(frozen=True)
class Seen:
    """The state of a folder of shards in which one process has opened it, for other processes."""

    folder: Path
    sha256: str
    stamps: tuple[tuple[int, Stamp], ...]

    def open(self) -> ShardFolder:
        """Return the folder, opened once in this process.

        Raises:
            UserError: the folder has changed since.
        """
        return _opened(self)


@lru_cache(maxsize=64)
def _opened(seen: Seen) -> ShardFolder:
    return replace(open_shards(seen.folder, seen.sha256), stamps=dict(seen.stamps))


def open_shards(folder: Path, sha256: str | None = None) -> ShardFolder:
    """Open a folder that ``nonverbal prepare`` wrote, and check that every shard exists and has its full size.

    Args:
        folder: the folder.
        sha256: required SHA-256 of its index; None: any.

    Raises:
        UserError: the folder is missing or damaged, or its index is another.
    """
    path = Path(folder) / "index.json"
    index, found = _index(path, sha256)
    stamps = _stamps(path, index["shards"])
    try:
        table, table_sha256 = read_array(path.parent / "table.npy")
    except (OSError, ValueError) as error:
        raise UserError(f"{path.parent / 'table.npy'} cannot be read ({error}); make the folder again") from error
    # At a wrong offset there may be audio too, but of another clip.
    same = table_sha256 == index["files"].get("table.npy")
    whole = table.dtype == TABLE_DTYPE and table.shape == (sum(shard["clips"] for shard in index["shards"]),)
    if not same or not whole or not _is_of(table, index):
        raise UserError(f"{path.parent / 'table.npy'} does not belong to {path}; make the folder again")
    manifest = index["files"].get("manifest.jsonl")
    return ShardFolder(Path(folder), index["corpora"], index["shards"], table, found, manifest, stamps)


def _index(path: Path, sha256: str | None) -> tuple[dict[str, Any], str]:
    """Return the checked content of ``index.json``, and its SHA-256, which must be ``sha256`` unless that is None."""
    try:
        text = path.read_bytes()
        index = json_of(text)
    except OSError as error:
        raise UserError(
            f"{path.parent} is not a folder of shards: {path} cannot be read ({error.strerror}); "
            "make one with: nonverbal prepare NAME=FOLDER --out SHARDS"
        ) from error
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error}); make the folder again with nonverbal prepare") from error
    found = hashlib.sha256(text).hexdigest()
    if sha256 not in (None, found):
        raise UserError(f"{path.parent} holds other data by now than when this command opened it; {SAME}")
    if not isinstance(index, dict):
        raise UserError(f"{path} holds {type(index).__name__}, not an index; make the folder again")
    lacking = [key for key in ("format", "version", "corpora", "files", "shards") if key not in index]
    if lacking:
        raise UserError(f"{path} lacks {', '.join(lacking)}; make the folder again with nonverbal prepare")
    if index["format"] != FORMAT or index["version"] != VERSION:
        raise UserError(
            f"{path} has format {index['format']!r} version {index['version']!r}, but {FORMAT!r} version "
            f"{VERSION} is expected; make the folder again with nonverbal prepare"
        )
    if fault := _fault(index):
        raise UserError(f"{path}: {fault}; make the folder again with nonverbal prepare")
    return index, found


def _stamps(path: Path, shards: list[dict[str, Any]]) -> dict[int, Stamp]:
    """Return the stamp of each shard beside an index. Each must exist and have its full size."""
    stamps: dict[int, Stamp] = {}
    for number, shard in enumerate(shards):
        name = shard["name"]
        if Path(name).name != name or "\0" in name:
            raise UserError(f"{path} names the shard {name!r}, which is outside its folder")
        size = None
        if os.path.isfile(path.parent / name):
            size, _ = stamps[number] = _stamp(os.stat(path.parent / name))
        if size != shard["bytes"]:
            is_there = "is missing" if size is None else f"has {size} bytes"
            raise UserError(
                f"shard {path.parent / name} {is_there}, but index.json lists {shard['bytes']} bytes; "
                "copy it again, or remove the folder and run nonverbal prepare again"
            )
    return stamps


def _stamp(stat: os.stat_result) -> Stamp:
    return stat.st_size, stat.st_mtime_ns


_SHARD: dict[str, Any] = {"name": str, "split": str, "clips": int, "seconds": (int, float), "bytes": int, "sha256": str}
"""The keys of each shard, and the types of their values."""


def _fault(index: dict[str, Any]) -> str | None:
    """Return what in an index differs in type from what ``nonverbal prepare`` writes, or None."""
    corpora, files, shards = index["corpora"], index["files"], index["shards"]
    if not isinstance(corpora, list) or not all(isinstance(name, str) for name in corpora):
        return "corpora is not a list of names"
    if not isinstance(files, dict) or not all(isinstance(sha256, str) for sha256 in files.values()):
        return "files does not give hashes by name"
    if not isinstance(shards, list) or not all(isinstance(shard, dict) for shard in shards):
        return "shards is not a list of objects"
    for number, shard in enumerate(shards):
        for key, kind in _SHARD.items():
            value = shard.get(key)
            is_kind = isinstance(value, kind) and not isinstance(value, bool)
            if not is_kind or (kind is not str and not value >= 0):
                return f"{key} of shard {number} is {str(value)[:60]!r}"
    return None


def _is_of(table: np.ndarray, index: dict[str, Any]) -> bool:
    """Return whether each part has a shard and corpus of the index, lies within the shard, and is not too long."""
    if not len(table):
        return True
    if table["shard"].max() >= len(index["shards"]) or table["corpus"].max() >= len(index["corpora"]):
        return False
    ends = np.array([shard["bytes"] for shard in index["shards"]], dtype=np.uint64)[table["shard"]]
    sizes = table["size"].astype(np.uint64)
    inside = (table["offset"] <= ends) & (sizes <= ends - np.minimum(table["offset"], ends))
    return bool(inside.all() and table["samples"].max() <= LONGEST)
