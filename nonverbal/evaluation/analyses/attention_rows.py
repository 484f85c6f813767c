"""Rows of encoders' self-attention maps, compared clip by clip and layer by layer.

Shapes: P encoders besides the first, L layers, H heads, S frames, R rows at once.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nonverbal.data.index import ShardFolder
from nonverbal.data.progress import progress
from nonverbal.errors import UserError
from nonverbal.evaluation.analyses.held_out import Space, load_space
from nonverbal.evaluation.encoders.attending import Attending
from nonverbal.evaluation.pooling import windows
from nonverbal.seeding import Stream, generator

ROWS = 256
"""Number of rows of a map that are compared at once, so that memory besides the two maps is not quadratic in S."""


@dataclass(frozen=True)
class Distances:
    """How differently P encoders attend from a first one: means over the rows of a clip, then over clips."""

    clips: list[int]
    """Rows of the manifest."""
    short: int
    """Number of clips with one frame, whose rows have a single value; they are not in ``clips``."""
    rows: int
    """Number of frames of all clips."""
    heads: np.ndarray
    """``(P, L, H, H)``: heads of the first encoder by heads of the other."""
    elsewhere: np.ndarray
    """``(P, L, H)``: between heads of the same number, for rows of frames half a clip apart."""
    by_clip: np.ndarray
    """``(clips, P, L)``: means over pairs of heads of the same number."""
    keys: list[list[str]]
    """For each encoder, the keys of the weights of its folds."""


@dataclass(frozen=True)
class ClipDistances:
    """The distances of one clip; see ``Distances``."""

    rows: int
    """Number of frames; 0 if no window of the clip has two."""
    heads: np.ndarray
    elsewhere: np.ndarray


def attention_distances(
    folds: Sequence[Sequence[Space]], shards: ShardFolder, most: int | None, by_length: bool, seed: int
) -> Distances:
    """Return how differently encoders attend on the clips of all folds.

    Args:
        folds: as returned by ``paired_spaces``.
        shards: the folder that holds the clips.
        most: largest number of clips, drawn without replacement; None for all.
        by_length: see ``clip_distances``.
        seed: seed of the draw of clips, and of the random weights of ``initialised:``.

    Raises:
        UserError: an encoder has no self-attention, encoders differ in frames, layers or heads, or no clip has two
            frames.
    """
    keys: list[list[str]] = [[] for _ in folds[0]]
    clips: list[int] = []
    rows = short = 0
    heads: Any = 0.0
    elsewhere: Any = 0.0
    by_clip = []
    for clip, one in _of_folds(folds, shards, most, by_length, seed, keys):
        if not one.rows:
            short += 1
            continue
        clips.append(clip)
        rows, heads, elsewhere = rows + one.rows, heads + one.heads, elsewhere + one.elsewhere
        by_clip.append(np.diagonal(one.heads, axis1=2, axis2=3).mean(-1))
    if not clips:
        raise UserError("no clip has two frames or more, so there are no rows to compare")
    return Distances(clips, short, rows, heads / len(clips), elsewhere / len(clips), np.array(by_clip), keys)


def _of_folds(
    folds: Sequence[Sequence[Space]],
    shards: ShardFolder,
    most: int | None,
    by_length: bool,
    seed: int,
    keys: list[list[str]],
) -> Iterator[tuple[int, ClipDistances]]:
    """Yield clips with their distances, and append the keys of the weights to ``keys``."""
    every = [row for spaces in folds for row in spaces[0].rows.tolist()]
    wanted = _drawn(every, most, seed)
    with progress("attention", sum(row in wanted for row in every), "clips") as advance:
        for spaces in folds:
            encoders = [Attending(load_space(space, seed)) for space in spaces]
            for own, one in zip(keys, encoders, strict=True):
                own.append(one.encoder.key)
            rows = np.array([row for row in spaces[0].rows.tolist() if row in wanted], dtype=np.int64)
            for clip, parts in zip(rows.tolist(), shards.parts(rows), strict=True):
                waveform = np.concatenate([shards.read(int(part)) for part in parts])
                yield clip, clip_distances(encoders, waveform, by_length)
                advance(1)


def _drawn(rows: list[int], most: int | None, seed: int) -> set[int]:
    """Return at most ``most`` of the rows, drawn without replacement."""
    if most is None or most >= len(rows):
        return set(rows)
    return set(generator(seed, Stream.CLIPS).choice(np.sort(rows), most, replace=False).tolist())


def clip_distances(encoders: Sequence[Attending], waveform: np.ndarray, by_length: bool) -> ClipDistances:
    """Return how differently encoders attend on a clip, window by window and layer by layer.

    Args:
        encoders: the first is compared with each of the others.
        waveform: ``(T,)`` float32, 16 kHz.
        by_length: whether to divide the distances of a window by half the logarithm of its number of frames.

    Raises:
        UserError: the encoders differ in frames, layers or heads.
    """
    others, (layers, heads) = len(encoders) - 1, _size(encoders)
    rows, total, elsewhere = 0, np.zeros((others, layers, heads, heads)), np.zeros((others, layers, heads))
    for window in windows(waveform, min(one.encoder.max_seconds for one in encoders)):
        frames = 0
        for layer, (first, *rest) in enumerate(zip(*(one.maps(window) for one in encoders), strict=True)):
            for place, other in enumerate(rest):
                frames = _frames(first, other, len(window))
                if frames > 1:
                    scale = 0.5 * math.log(frames) if by_length else 1.0
                    apart, rolled = distances_of(first, other)
                    total[place, layer] += apart / scale
                    elsewhere[place, layer] += rolled / scale
        rows += frames if frames > 1 else 0
    return ClipDistances(rows, total / max(rows, 1), elsewhere / max(rows, 1))


def _size(encoders: Sequence[Attending]) -> tuple[int, int]:
    """Return the number of layers and heads, which all encoders must share."""
    if len({(one.layers, one.heads) for one in encoders}) > 1:
        sizes = "; ".join(f"{one.encoder.name} has {one.layers} layers of {one.heads} heads" for one in encoders)
        raise UserError(f"the encoders must have the same layers and heads, but {sizes}")
    return encoders[0].layers, encoders[0].heads


def _frames(first: Any, other: Any, samples: int) -> int:
    """Return the number of frames, which both maps must share."""
    frames, others = int(first.shape[-1]), int(other.shape[-1])
    if frames != others:
        raise UserError(
            f"the encoders must make the same frames, but from {samples} samples they make {frames} and {others}"
        )
    return frames


def distances_of(first: Any, second: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return Bhattacharyya distances between rows of two maps, summed over rows, in nats.

    Args:
        first: ``(H, S, S)`` float32, whose rows sum to 1.
        second: as ``first``.

    Returns:
        ``(H, H)`` for each head of ``first`` with each of ``second``; and ``(H,)`` for heads of the same number, with
        row t compared with row t + S / 2, wrapping around at the end.
    """
    heads, frames = first.shape[:2]
    apart, rolled = np.zeros((heads, heads)), np.zeros(heads)
    one, other = first.sqrt(), second.sqrt()
    away = other.roll(-(frames // 2), 1)
    for start in range(0, frames, ROWS):
        rows = slice(start, start + ROWS)
        # (H, R, S) -> (R, H, S) and (R, S, H): all pairs of heads are compared by one product per row
        apart += _nats(one[:, rows].transpose(0, 1) @ other[:, rows].permute(1, 2, 0)).sum(0)
        rolled += _nats((one[:, rows] * away[:, rows]).sum(-1)).sum(-1)
    return apart, rolled


def _nats(shared: Any) -> np.ndarray:
    """Return distances from Bhattacharyya coefficients, which rounding may put a little above 1, or at 0."""
    import torch

    distances: np.ndarray = -shared.double().clamp(torch.finfo(torch.float32).tiny, 1).log().cpu().numpy()
    return distances
