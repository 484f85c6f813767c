"""Embeddings of the clips of a folder of shards, computed once and stored by content; frames on request."""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from nonverbal.data.index import SAMPLE_RATE, ShardFolder
from nonverbal.data.progress import progress
from nonverbal.errors import UserError
from nonverbal.evaluation.encoders import Encoder, FrameEncoder, ManifestEncoder
from nonverbal.evaluation.frames import KeptFrames, announce, open_frames, write_index
from nonverbal.evaluation.pieces import Job, Piece, Work, make, plan
from nonverbal.files import locked, make_readable, room_for
from nonverbal.text import slug

POOLING = "mean and population standard deviation over all frames"

ONE_FRAME = "the one frame"


def embed(
    encoder: Encoder, shards: ShardFolder, clips: np.ndarray, cache: Path, work: Work | None = None
) -> np.ndarray:
    """Return embeddings ``(clips, layers, 2 x dim)`` float32: each dimension's mean over a clip's frames, then its std.

    For an encoder that makes one frame per clip there is no standard deviation: ``(clips, layers, dim)``. Embeddings
    are stored in ``cache`` as safetensors, by the hashes of the encoder, of the shards' index and of ``clips``; stored
    embeddings of a larger set of clips of the same shards are used too. They are written as they are computed, so the
    next call continues one that was killed. The content of the manifest is not stored.

    Args:
        encoder: the encoder that makes the frames.
        shards: holds the audio, in parts of at most 10 s, which are joined: see ``nonverbal.evaluation.pooling``.
        clips: rows of the shards' manifest, ``(clips,)`` int64.
        cache: folder of stored embeddings, which is created if missing.
        work: how to compute them.

    Raises:
        UserError: a stored file is damaged, audio cannot be read, or the disk is full.
    """
    rows = np.asarray(clips, dtype="<i8")
    if isinstance(encoder, ManifestEncoder):
        manifest = shards.clips()
        return np.stack([encoder.values(manifest[row]) for row in rows])
    place = Place(encoder, shards, rows, Path(cache))
    found = place.pooled()
    return place.compute(work or Work(), frames=False) if found is None else found


def embed_frames(
    encoder: FrameEncoder,
    shards: ShardFolder,
    clips: np.ndarray,
    cache: Path,
    work: Work | None = None,
    say: Callable[[str], None] = print,
) -> KeptFrames:
    """Store all frames of all layers in 16 bits, in addition to the embeddings, and open them: see ``embed``.

    Args:
        encoder: see ``embed``.
        shards: see ``embed``.
        clips: see ``embed``.
        cache: see ``embed``.
        work: see ``embed``.
        say: called with the size before anything is computed.

    Raises:
        UserError: as for ``embed``; or there is not enough disk space, or 16 bits cannot hold some values.
    """
    place = Place(encoder, shards, np.asarray(clips, dtype="<i8"), Path(cache))
    if not place.frames.joinpath("index.json").exists():
        announce(encoder, shards, place.clips, place.cache, say)
        place.compute(work or Work(), frames=True)
    return open_frames(place.frames, place.key)


@dataclass(frozen=True)
class Place:
    """The place where an encoder's embeddings of some clips are stored."""

    encoder: FrameEncoder
    shards: ShardFolder
    clips: np.ndarray
    cache: Path

    @cached_property
    def key(self) -> dict[str, str]:
        """Everything that the embeddings depend on."""
        return {
            "encoder": self.encoder.key,
            "index": self.shards.sha256,
            "clips": hashlib.sha256(self.clips.tobytes()).hexdigest(),
            "pooling": self._poolings[0],
        }

    @cached_property
    def file(self) -> Path:
        """The file with the embeddings: an existing one, even if the encoder had another name, or a new one."""
        name = hashlib.sha256("|".join(self.key.values()).encode()).hexdigest()[:16]
        there = sorted(self.cache.glob(f"*-{name}.safetensors"))
        return there[0] if there else self.cache / f"{slug(self.encoder.name)}-{name}.safetensors"

    @property
    def frames(self) -> Path:
        """The folder of frames."""
        return self.file.with_suffix(".frames")

    def pooled(self) -> np.ndarray | None:
        """Return stored embeddings of these clips, even if stored together with others; None if any are missing."""
        if self.file.exists():
            return _read(self.file, self.key, len(self.clips))["pooled"]
        for path, metadata in _kept(self.cache):
            same = all(metadata.get(name) == self.key[name] for name in ("encoder", "index"))
            if same and metadata.get("pooling") in self._poolings:
                pooled = self._among(path)
                if pooled is not None:
                    return pooled
        return None

    def compute(self, work: Work, frames: bool) -> np.ndarray:
        """Compute what is missing, piece by piece, and return the embeddings."""
        # Two probes may need the same embeddings at the same time: one computes them, the other waits.
        parts = self.file.with_suffix(".parts")
        with room_for(self.cache), locked(parts, wait=True):
            if not self._done(frames):
                self._compute(work, parts, frames)
            shutil.rmtree(parts, ignore_errors=True)
            return _read(self.file, self.key, len(self.clips))["pooled"]

    def _done(self, frames: bool) -> bool:
        return self.file.exists() and not (frames and not (self.frames / "index.json").exists())

    def _compute(self, work: Work, parts: Path, frames: bool) -> None:
        folder = self.frames if frames else None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        job = Job(self.encoder.name, self.encoder.key, self.shards.seen, parts, folder, work)
        pieces = plan(self.shards, self.clips)
        todo = [piece for piece in pieces if not all(_whole(path, piece, job.key) for path in job.files(piece))]
        with progress(f"embedding with {self.encoder.name}", len(self.clips), "clips") as advance:
            advance(len(self.clips) - sum(len(piece.clips) for piece in todo))
            make(job, todo, self.encoder, advance)
        if folder is not None:
            write_index(folder, self.key | {"name": self.encoder.name}, pieces)
        self._join(parts, pieces)

    def _join(self, parts: Path, pieces: list[Piece]) -> None:
        """Write the file of all pieces, in the order of the clips."""
        from safetensors.numpy import load_file, save_file

        read = [load_file(parts / piece.file) for piece in pieces]
        place = np.argsort(np.argsort(self.clips, kind="stable"), kind="stable")
        clips = np.concatenate([piece["clips"] for piece in read])
        pooled = np.concatenate([piece["pooled"] for piece in read])[np.argsort(clips, kind="stable")][place]
        unfinished = parts / "joined.safetensors"
        save_file({"pooled": pooled, "clips": self.clips}, unfinished, self.key | {"name": self.encoder.name})
        make_readable(unfinished)
        unfinished.replace(self.file)

    @cached_property
    def _poolings(self) -> list[str]:
        """Return the name of the way in which the clips are pooled, and names of equivalent ways.

        If every clip is a single part, not longer than the encoder's input, nothing is joined: this has the name that
        was used before parts were joined.
        """
        if self.encoder.one_frame:
            return [ONE_FRAME]
        joined = f"{POOLING}, of parts joined up to {self.encoder.max_seconds} s"
        table = self.shards.table
        rows = np.flatnonzero(np.isin(table["clip"], self.clips))
        once = len(rows) == len(self.clips) and table["samples"][rows].max(initial=0) <= (
            self.encoder.max_seconds * SAMPLE_RATE
        )
        return [POOLING, joined] if once else [joined]

    def _among(self, path: Path) -> np.ndarray | None:
        found = _read(path, {}, None)
        if not len(found["clips"]):
            return None
        order = np.argsort(found["clips"])
        at = np.searchsorted(found["clips"], self.clips, sorter=order)
        at = order[np.minimum(at, len(order) - 1)]
        if (found["clips"][at] != self.clips).any():
            return None
        taken: np.ndarray = found["pooled"][at]
        return taken


def _kept(cache: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """Yield the stored files of a folder with their keys, except files that cannot be read."""
    from safetensors import SafetensorError, safe_open

    for path in sorted(cache.glob("*.safetensors")):
        try:
            with safe_open(path, framework="numpy") as file:
                yield path, file.metadata() or {}
        except (SafetensorError, OSError):
            continue


def _whole(path: Path, piece: Piece, key: str) -> bool:
    """Whether a piece's file exists, and belongs to this plan and encoder."""
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        return False
    try:
        with safe_open(path, framework="numpy") as file:
            pooled = "clips" in file.keys()  # noqa: SIM118  (it is no dictionary)
            clips = file.get_tensor("clips").tolist() if pooled else [int(name) for name in file.keys()]  # noqa: SIM118
            return sorted(clips) == sorted(piece.clips) and (file.metadata() or {}).get("encoder") == key
    except (SafetensorError, ValueError, TypeError, OSError):
        return False


def _read(path: Path, key: dict[str, str], clips: int | None) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata, found = file.metadata() or {}, {name: file.get_tensor(name) for name in ("pooled", "clips")}
    except (SafetensorError, OSError, TypeError) as error:
        raise UserError(f"the cached embeddings {path} cannot be read ({error}); remove the file") from error
    pooled, rows = found["pooled"], found["clips"]
    if (pooled.ndim, rows.ndim, rows.dtype.kind) != (3, 1, "i") or pooled.dtype != np.float32:
        raise UserError(f"the cached embeddings {path} are not numbers by clip and layer; remove the file")
    other = any(metadata.get(name) != value for name, value in key.items())
    if other or len(found["pooled"]) != (len(found["clips"]) if clips is None else clips):
        raise UserError(f"the cached embeddings {path} belong to other clips or another encoder; remove the file")
    return found
