"""The work of embedding a folder of shards, in pieces that are whole files or not there, over any number of processes.

A piece is some clips of like length. Which clips make which piece depends on the shards and the clips alone, so that a
killed run finds the pieces it has made. Clips of a piece are read at once, in batches where that is faster.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from multiprocessing import current_process
from pathlib import Path
from typing import Any

import numpy as np

from nonverbal.data.index import SAMPLE_RATE, Seen, ShardFolder
from nonverbal.data.preparing.settings import available_processors
from nonverbal.data.workers import over_processes
from nonverbal.errors import UserError
from nonverbal.evaluation.encoders import FrameEncoder, load_frame_encoder
from nonverbal.evaluation.encoders.models import ModelEncoder
from nonverbal.evaluation.pooling import Pool, windows
from nonverbal.files import whole

PIECE_SECONDS, PIECE_CLIPS = 240.0, 256
"""At most of a piece; one clip may be longer."""

LONGEST_TO_SHORTEST = 1.25
"""Of a batch: what is padded is at most a fifth of it."""


@dataclass(frozen=True)
class Work:
    """How embeddings are computed. They do not depend on it, apart from rounding."""

    processes: int = 1
    """Each with a model of its own, on the next GPU where there are GPUs, and with its share of the cores elsewhere."""
    batch_seconds: float | None = None
    """Most audio in a batch, padding included; 0 for one clip at a time, which a CPU is as fast with. Unset: 160 on a
    GPU, 0 on a CPU."""
    seed: int = 0
    """That the encoder was loaded with."""


@dataclass(frozen=True)
class Piece:
    """Clips whose embeddings are one file."""

    number: int
    clips: tuple[int, ...]
    """Rows of the manifest."""
    parts: tuple[tuple[int, ...], ...]
    """Of each clip, the rows of the table with its parts, in their order."""

    @property
    def file(self) -> str:
        """The name of its file."""
        return f"{self.number:06}.safetensors"


@dataclass(frozen=True)
class Job:
    """What all pieces have in common."""

    encoder: str
    """Its name."""
    key: str
    """Its key."""
    shards: Seen
    pooled: Path
    """Folder of the pieces with pooled embeddings."""
    frames: Path | None
    """Folder of the pieces with frames, where they are kept."""
    work: Work

    def files(self, piece: Piece) -> list[Path]:
        """The files of a piece."""
        return [folder / piece.file for folder in (self.pooled, self.frames) if folder is not None]


def plan(shards: ShardFolder, clips: np.ndarray) -> list[Piece]:
    """Cut clips, ``(clips,)`` rows of the manifest, into pieces: from short to long."""
    parts = [tuple(map(int, rows)) for rows in shards.parts(clips)]
    samples = np.array([shards.table["samples"][list(rows)].sum(dtype=np.int64) for rows in parts], dtype=np.int64)
    by_length = np.argsort(samples, kind="stable")
    cuts, seconds, begin = [0], 0.0, 0
    for place, clip in enumerate(by_length):
        own = samples[clip] / SAMPLE_RATE
        if place > begin and (seconds + own > PIECE_SECONDS or place - begin == PIECE_CLIPS):
            cuts.append(place)
            seconds, begin = 0.0, place
        seconds += own
    groups = [by_length[a:b] for a, b in zip(cuts, [*cuts[1:], len(by_length)], strict=True)]
    return [
        Piece(number, tuple(int(clips[i]) for i in group), tuple(parts[i] for i in group))
        for number, group in enumerate(groups)
        if len(group)
    ]


def make(job: Job, pieces: Sequence[Piece], encoder: FrameEncoder, advance: Callable[[int], None]) -> None:
    """Make the files of pieces; ``advance`` is told the clips that are done.

    Raises:
        UserError: audio cannot be read, a clip is too short, or a process was ended.
    """
    processes = min(job.work.processes, len(pieces))
    if processes <= 1:
        shards = job.shards.open()
        for piece in pieces:
            make_piece(job, piece, encoder, shards)
            advance(len(piece.clips))
        return
    threads = max(available_processors() // processes, 1)
    for done in over_processes(partial(_make_elsewhere, job, threads), pieces, processes):
        if done.crash is not None:
            raise UserError(
                f"{job.encoder} crashed its process ({done.crash}) at clips {done.item.clips[0]} to "
                f"{done.item.clips[-1]} of {job.shards.folder}; run it again with --processes 1"
            )
        advance(len(done.item.clips))


def make_piece(job: Job, piece: Piece, encoder: FrameEncoder, shards: ShardFolder) -> None:
    """Compute a piece and write its files: frames first, so that one that has its embeddings has its frames."""
    from safetensors.numpy import save_file

    waveforms = [np.concatenate([shards.read(row) for row in rows]) for rows in piece.parts]
    pooled, frames = embed_clips(encoder, waveforms, job.work.batch_seconds, job.frames is not None)
    metadata = {"encoder": job.key}
    if job.frames is not None:
        with whole(job.frames / piece.file) as path:
            save_file({str(clip): own for clip, own in zip(piece.clips, frames, strict=True)}, path, metadata)
    with whole(job.pooled / piece.file) as path:
        save_file({"pooled": pooled, "clips": np.array(piece.clips, dtype="<i8")}, path, metadata)


def embed_clips(
    encoder: FrameEncoder,
    waveforms: Sequence[np.ndarray],
    batch_seconds: float | None = None,
    frames: bool = False,
    half: bool = True,
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Embed whole clips.

    Args:
        encoder: gives the frames.
        waveforms: ``(T,)`` of each clip.
        batch_seconds: as ``Work`` has it.
        frames: whether to return them too.
        half: whether frames are in 16 bits.

    Returns:
        Embeddings ``(clips, layers, 2 x M)``, or ``(clips, layers, M)`` of an encoder that makes one frame of a clip;
        and of each clip its frames ``(layers, S, M)``, none where they are not asked for.
    """
    given = [(clip, cut) for clip, w in enumerate(waveforms) for cut in windows(w, encoder.max_seconds)]
    pools = [Pool(encoder.one_frame) for _ in waveforms]
    kept: list[np.ndarray | None] = [None] * len(given)
    for batch in batches([len(cut) for _, cut in given], _batching(encoder), _batch_seconds(encoder, batch_seconds)):
        for i, own in zip(batch, frames_of(encoder, [given[i][1] for i in batch]), strict=True):
            pools[given[i][0]].add(own)
            kept[i] = (_half(own, encoder.name) if half else _array(own)) if frames else None
    by_clip: list[list[np.ndarray]] = [[] for _ in waveforms]
    for (clip, _), array in zip(given, kept, strict=True):
        by_clip[clip] += [] if array is None else [array]
    joined = [np.concatenate(own, axis=1) for own in by_clip] if frames else []
    return np.stack([pool.result() for pool in pools]), joined


def frames_of(encoder: FrameEncoder, waveforms: Sequence[np.ndarray]) -> list[Any]:
    """Return for each waveform of a batch its frames ``(layers, S, M)``: arrays, or tensors of a batch or on a GPU."""
    if isinstance(encoder, ModelEncoder) and (len(waveforms) > 1 or encoder.device != "cpu"):
        return encoder.many(waveforms)
    return [encoder.frames(waveform) for waveform in waveforms]


def batches(lengths: Sequence[int], batching: str | None, batch_seconds: float) -> list[list[int]]:
    """Cut waveforms of so many samples into batches, and return the places of each batch's.

    One at a time they stay in their order; otherwise they go from short to long.

    Args:
        lengths: samples of each.
        batching: ``any`` lengths in a batch (within ``LONGEST_TO_SHORTEST``), ``equal`` ones, or None: one at a time.
        batch_seconds: most audio in a batch, padding included; a longer one is alone.
    """
    if batching is None or not batch_seconds:
        return [[place] for place in range(len(lengths))]
    ratio = LONGEST_TO_SHORTEST if batching == "any" else 1.0
    found: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        fits = (
            found
            and lengths[place] <= ratio * lengths[found[-1][0]]
            and (len(found[-1]) + 1) * lengths[place] <= batch_seconds * SAMPLE_RATE
        )
        if fits:
            found[-1].append(place)
        else:
            found.append([place])
    return found


def _batching(encoder: FrameEncoder) -> str | None:
    return encoder.batching if isinstance(encoder, ModelEncoder) else None


def _batch_seconds(encoder: FrameEncoder, asked: float | None) -> float:
    if asked is not None:
        return asked
    return 160.0 if getattr(encoder, "device", "cpu") == "cuda" else 0.0


def _half(frames: Any, name: str) -> np.ndarray:
    """Return frames in 16 bits, as an array."""
    with np.errstate(over="ignore"):
        half: np.ndarray = _array(frames).astype(np.float16)
    if not np.isfinite(half).all():
        raise UserError(f"{name} gives frames with values beyond {np.finfo(np.float16).max}, which 16 bits cannot hold")
    return half


def _array(frames: Any) -> np.ndarray:
    array: np.ndarray = frames if isinstance(frames, np.ndarray) else frames.cpu().numpy()
    return array


def _make_elsewhere(job: Job, threads: int, piece: Piece) -> None:
    """Make a piece in another process, whose encoder and shards stay open from piece to piece."""
    encoder = _loaded(job.encoder, job.work.seed, threads)
    if encoder.key != job.key:
        raise UserError(f"{job.encoder} changed while the command ran: run the command again")
    make_piece(job, piece, encoder, job.shards.open())


@lru_cache(maxsize=1)
def _loaded(name: str, seed: int, threads: int) -> FrameEncoder:
    import torch

    torch.set_num_threads(threads)
    if torch.cuda.is_available():
        # Processes that are started one after another have numbers that follow each other.
        number = re.search(r"\d+$", current_process().name)
        torch.cuda.set_device((int(number[0]) if number else 0) % torch.cuda.device_count())
    return load_frame_encoder(name, seed)
