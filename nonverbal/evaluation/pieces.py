"""Embedding a folder of shards in pieces, each of which is a complete file or missing, with any number of processes.

A piece holds clips of similar length. Which clips are in which piece depends only on the shards and the clips, so that
a run that was killed finds its finished pieces again. Clips of a piece are read together, in batches if that is faster.
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
"""Largest size of a piece, in seconds and in clips; a single clip may be longer."""

LONGEST_TO_SHORTEST = 1.25
"""Largest ratio of lengths in a batch: padding is then at most a fifth of it."""


@dataclass(frozen=True)
class Work:
    """How embeddings are computed. Apart from rounding, they do not depend on it."""

    processes: int = 1
    """Each has its own copy of the model, on the next GPU if there are GPUs, otherwise with its share of the cores."""
    batch_seconds: float | None = None
    """Largest amount of audio in a batch, including padding; 0 for one clip at a time, which is as fast on a CPU.
    Unset: 160 on a GPU, 0 on a CPU."""
    seed: int = 0
    """Seed with which the encoder was loaded."""


@dataclass(frozen=True)
class Piece:
    """Clips whose embeddings are in one file."""

    number: int
    clips: tuple[int, ...]
    """Rows of the manifest."""
    parts: tuple[tuple[int, ...], ...]
    """For each clip, the rows of the table with its parts, in order."""

    @property
    def file(self) -> str:
        """The name of its file."""
        return f"{self.number:06}.safetensors"


@dataclass(frozen=True)
class Job:
    """What all pieces share."""

    encoder: str
    """Name of the encoder."""
    key: str
    """Key of the encoder."""
    shards: Seen
    pooled: Path
    """Folder of the pieces with pooled embeddings."""
    frames: Path | None
    """Folder of the pieces with frames, if these are stored."""
    work: Work

    def files(self, piece: Piece) -> list[Path]:
        """The files of a piece."""
        return [folder / piece.file for folder in (self.pooled, self.frames) if folder is not None]


def plan(shards: ShardFolder, clips: np.ndarray) -> list[Piece]:
    """Divide clips, ``(clips,)`` rows of the manifest, into pieces, from short clips to long ones."""
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
    """Make the files of pieces; ``advance`` is called with the number of clips that are done.

    Raises:
        UserError: audio cannot be read, a clip is too short, or a process was killed.
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
    """Compute a piece and write its files: frames first, so that a piece with embeddings also has its frames."""
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
        encoder: makes the frames.
        waveforms: ``(T,)`` for each clip.
        batch_seconds: see ``Work``.
        frames: whether to return the frames too.
        half: whether to return them in 16 bits.

    Returns:
        Embeddings ``(clips, layers, 2 x M)``, or ``(clips, layers, M)`` for an encoder that makes one frame per clip;
        and the frames of each clip, ``(layers, S, M)``, or an empty list if they were not requested.
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
    """Return the frames of each waveform of a batch, ``(layers, S, M)``: arrays, or tensors for batches or on a GPU."""
    if isinstance(encoder, ModelEncoder) and (len(waveforms) > 1 or encoder.device != "cpu"):
        return encoder.many(waveforms)
    return [encoder.frames(waveform) for waveform in waveforms]


def batches(lengths: Sequence[int], batching: str | None, batch_seconds: float) -> list[list[int]]:
    """Divide waveforms with these numbers of samples into batches, and return the positions in each batch.

    One at a time they keep their order; otherwise they go from short to long.

    Args:
        lengths: number of samples of each waveform.
        batching: ``any`` lengths in a batch (within ``LONGEST_TO_SHORTEST``), ``equal`` ones, or None: one at a time.
        batch_seconds: largest amount of audio in a batch, including padding; a longer waveform is alone.
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
    """Make a piece in another process, whose encoder and shards stay open between pieces."""
    encoder = _loaded(job.encoder, job.work.seed, threads)
    if encoder.key != job.key:
        raise UserError(f"{job.encoder} changed while the command ran: run the command again")
    make_piece(job, piece, encoder, job.shards.open())


@lru_cache(maxsize=1)
def _loaded(name: str, seed: int, threads: int) -> FrameEncoder:
    import torch

    torch.set_num_threads(threads)
    if torch.cuda.is_available():
        # Processes that are started one after another have consecutive numbers.
        number = re.search(r"\d+$", current_process().name)
        torch.cuda.set_device((int(number[0]) if number else 0) % torch.cuda.device_count())
    return load_frame_encoder(name, seed)
