"""Units: the cluster that each 20 ms of a shard folder's audio belongs to, in files beside the shards.

A folder of units contains ``units.json`` and, for each shard folder, one file of units and one with the places where
the units of each part end. The SHA-256 of its ``index.json`` identifies a shard folder, wherever it is.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nonverbal.data.arrays import read_array
from nonverbal.data.index import ShardFolder
from nonverbal.errors import UserError
from nonverbal.files import json_of, sha256_of, write_atomically

FORMAT = "nonverbal-units"
VERSION = 2
HOP, WINDOW = 320, 400
"""Samples from one frame to the next, and in a frame, as in wav2vec 2.0's and HuBERT's convolutions at 16 kHz."""


@dataclass(frozen=True)
class Units:
    """The units of one shard folder."""

    flat: np.ndarray
    """``(frames,)`` uint16, all parts one after the other, in the order of the shard folder's table."""
    ends: np.ndarray
    """``(parts,)`` int64, where each part's units end in ``flat``."""

    def of(self, row: int) -> np.ndarray:
        """Return the units of a part, ``(frames,)`` uint16."""
        return self.flat[self.ends[row - 1] if row else 0 : self.ends[row]]


@dataclass(frozen=True)
class UnitFolder:
    """An opened folder of units."""

    folder: Path
    clusters: int
    facts: dict[str, Any]
    """Content of ``units.json``: what the units were made from, and how."""
    sha256: str
    """SHA-256 of ``units.json``, and so of everything that it lists."""

    def units(self, shards: ShardFolder) -> Units:
        """Return the units of a shard folder.

        Raises:
            UserError: there are none, or they cannot be read.
        """
        name = self.facts["folders"].get(shards.sha256)
        if name is None or Path(name).name != name or "\0" in name:
            raise UserError(
                f"{self.folder} holds no units of {shards.folder} as it is now; make them with: "
                f"nonverbal cluster --data {shards.folder} --out ANOTHER_FOLDER"
            )
        flat, ends = (self._array(f"{name}{end}.npy") for end in ("", "-ends"))
        if not self._are_of(flat, ends, len(shards.table)):
            raise UserError(
                f"{self.folder} holds units of {shards.folder} that do not fit its parts, or are of none of "
                f"{self.clusters} clusters; make the units again"
            )
        return Units(flat, ends)

    def _are_of(self, flat: np.ndarray, ends: np.ndarray, parts: int) -> bool:
        if flat.dtype != np.uint16 or flat.ndim != 1 or ends.dtype != np.int64 or ends.shape != (parts,):
            return False
        rising = not parts or bool(ends[0] >= 0 and (np.diff(ends) >= 0).all() and ends[-1] == len(flat))
        return rising and int(flat.max(initial=0)) < self.clusters

    def _array(self, name: str) -> np.ndarray:
        try:
            array, sha256 = read_array(self.folder / name)
        except (OSError, ValueError) as error:
            raise UserError(f"{self.folder / name} cannot be read ({error}); make the units again") from error
        if sha256 != self.facts["files"].get(name):
            raise UserError(
                f"{self.folder / name} is not what {self.folder / 'units.json'} lists; make the units again"
            )
        return array


def open_units(folder: Path) -> UnitFolder:
    """Open a folder of units.

    Raises:
        UserError: it is not a folder of units, or has another version.
    """
    path = Path(folder) / "units.json"
    try:
        text = path.read_bytes()
        facts = json_of(text)
    except FileNotFoundError as error:
        raise UserError(
            f"{folder} is not a folder of units: it has no units.json; nonverbal cluster makes one"
        ) from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); make the units again") from error
    if not isinstance(facts, dict) or (facts.get("format"), facts.get("version")) != (FORMAT, VERSION):
        raise UserError(f"{path} is not of format {FORMAT!r} version {VERSION}; make the units again")
    clusters, of = facts.get("clusters"), (facts.get("folders"), facts.get("files"))
    texts = all(isinstance(one, dict) and all(isinstance(text, str) for text in one.values()) for one in of)
    if type(clusters) is not int or not 0 < clusters <= 1 << 16 or not texts:
        raise UserError(f"{path} does not say clusters, folders and files as units do; make the units again")
    return UnitFolder(Path(folder), clusters, facts, hashlib.sha256(text).hexdigest())


def write_units(folder: Path, facts: dict[str, Any], units: dict[str, list[np.ndarray]]) -> None:
    """Write units by the SHA-256 of their shard folder's index, as one array per part, and ``units.json`` last.

    Until then, the folder does not count as a folder of units.
    """
    names, arrays = {}, {}
    for sha256, parts in units.items():
        names[sha256] = sha256[:16]
        arrays[f"{sha256[:16]}.npy"] = np.concatenate(parts).astype(np.uint16)
        arrays[f"{sha256[:16]}-ends.npy"] = np.cumsum([len(part) for part in parts], dtype=np.int64)
    files = {}
    for name in sorted(arrays):
        np.save(folder / name, arrays[name])
        files[name] = sha256_of(folder / name)
    facts = {"format": FORMAT, "version": VERSION, **facts, "folders": names, "files": files}
    write_atomically(folder / "units.json", json.dumps(facts, indent=1) + "\n")


def frame_count(samples: int) -> int:
    """Return the number of frames of ``samples`` samples."""
    return max((samples - WINDOW) // HOP + 1, 0)


def frame_places(frames: int) -> np.ndarray:
    """Return the sample in the middle of each frame, ``(frames,)``."""
    return np.arange(frames) * HOP + WINDOW // 2


def frame_at(places: np.ndarray, frames: int) -> np.ndarray:
    """Return the frame, out of ``frames``, whose middle is nearest to each sample."""
    nearest: np.ndarray = (places - WINDOW // 2 + HOP // 2) // HOP
    return nearest.clip(0, frames - 1)
