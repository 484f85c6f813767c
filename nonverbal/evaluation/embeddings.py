"""Pooled embeddings of the clips of a folder of shards, computed once and kept."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from nonverbal.data.index import ShardFolder
from nonverbal.errors import UserError
from nonverbal.evaluation.encoders import FrameEncoder
from nonverbal.text import slug

POOLING = "mean and population standard deviation over all frames"


def embed(encoder: FrameEncoder, shards: ShardFolder, clips: np.ndarray, cache: Path) -> np.ndarray:
    """Return embeddings ``(clips, layers, 2 x dim)`` float32: each dimension's mean over a clip's frames, then its std.

    Kept in ``cache`` as safetensors, by the hashes of the encoder, of the shards' index and of ``clips``.

    Args:
        encoder: gives the frames.
        shards: holds the audio, in parts of at most 10 s; a clip is pooled over the frames of all its parts.
        clips: rows of the shards' manifest, ``(clips,)`` int64.
        cache: folder of kept embeddings, made where it is missing.

    Raises:
        UserError: a kept file is damaged, or audio cannot be read.
    """
    from safetensors.numpy import save_file

    rows = np.asarray(clips, dtype="<i8")
    key = {"encoder": encoder.key, "index": shards.sha256, "clips": hashlib.sha256(rows.tobytes()).hexdigest()}
    key["pooling"] = POOLING
    name = hashlib.sha256("|".join(key.values()).encode()).hexdigest()[:16]
    path = Path(cache) / f"{slug(encoder.name)}-{name}.safetensors"
    if path.exists():
        return _read(path, key, len(rows))
    pooled = np.stack([pool(map(encoder.frames, parts)) for parts in _parts(encoder, shards, rows)])
    path.parent.mkdir(parents=True, exist_ok=True)
    # The process's own name: two probes may compute the same embeddings at the same time.
    unfinished = path.with_suffix(f".{os.getpid()}.part")
    save_file({"pooled": pooled, "clips": rows}, unfinished, metadata={**key, "name": encoder.name})
    unfinished.replace(path)
    return pooled


def pool(parts: Iterable[np.ndarray]) -> np.ndarray:
    """Pool the frames of all parts of a clip, ``(layers, frames, dim)`` each, to ``(layers, 2 x dim)`` float32.

    Means and squared deviations are merged part by part (Chan et al., 1979), so a long clip needs no more memory.
    """
    count, mean, squares = 0, np.zeros(1), np.zeros(1)
    for part in parts:
        frames = part.astype(np.float64)
        own_mean = frames.mean(axis=1)  # (layers, frames, dim) -> (layers, dim)
        own_squares = ((frames - own_mean[:, None]) ** 2).sum(axis=1)
        total = count + frames.shape[1]
        gap = own_mean - mean
        mean = mean + gap * (frames.shape[1] / total)
        squares = squares + own_squares + gap**2 * (count * frames.shape[1] / total)
        count = total
    assert count, "a clip without frames"
    return np.concatenate([mean, np.sqrt(squares / count)], axis=1).astype(np.float32)


def _parts(encoder: FrameEncoder, shards: ShardFolder, clips: np.ndarray) -> Iterable[list[np.ndarray]]:
    """Yield the waveforms of each clip's parts, in their order."""
    from rich.console import Console
    from rich.progress import track

    table = shards.table
    order = np.lexsort((table["part"], table["clip"]))
    first, last = (np.searchsorted(table["clip"][order], clips, side) for side in ("left", "right"))
    title = f"embedding with {encoder.name}"
    console = Console(stderr=True)
    for i in track(range(len(clips)), title, transient=True, console=console, disable=not console.is_terminal):
        yield [shards.read(int(row)) for row in order[first[i] : last[i]]]


def _read(path: Path, key: dict[str, str], clips: int) -> np.ndarray:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata, pooled = file.metadata(), file.get_tensor("pooled")
    except SafetensorError as error:
        raise UserError(f"the kept embeddings {path} cannot be read ({error}); remove the file") from error
    if any(metadata.get(name) != value for name, value in key.items()) or len(pooled) != clips:
        raise UserError(f"the kept embeddings {path} are of other clips or another encoder; remove the file")
    result: np.ndarray = pooled
    return result
