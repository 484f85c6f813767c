"""Rows of two encoders' self-attention maps, compared clip by clip and layer by layer.

Shapes: L layers, H heads, S frames, R rows at once.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nonverbal.errors import UserError
from nonverbal.evaluation.encoders.attending import Attending
from nonverbal.evaluation.pooling import windows

ROWS = 256
"""Of a map that are compared at once: what is held besides the two maps does not grow with a clip's square."""


@dataclass(frozen=True)
class ClipDistances:
    """Of a clip, means over its rows."""

    clip: int
    """Its row in the manifest."""
    rows: int
    """Frames; 0 where no window of it has two."""
    heads: np.ndarray
    """``(L, H, H)``: heads of the first encoder by heads of the second."""
    elsewhere: np.ndarray
    """``(L, H)``: rows of heads of one number, of frames half a clip apart."""


def clip_distances(both: Sequence[Attending], clip: int, waveform: np.ndarray, by_length: bool) -> ClipDistances:
    """Return how far apart two encoders attend on a clip, window by window and layer by layer.

    Args:
        both: the two.
        clip: its row in the manifest.
        waveform: ``(T,)`` float32, 16 kHz.
        by_length: divide the distances of a window by half the logarithm of its frames.

    Raises:
        UserError: the two make other frames, layers or heads.
    """
    layers, heads = _size(both)
    rows, total, elsewhere = 0, np.zeros((layers, heads, heads)), np.zeros((layers, heads))
    for window in windows(waveform, min(one.encoder.max_seconds for one in both)):
        frames = 0
        for layer, (first, second) in enumerate(zip(*(one.maps(window) for one in both), strict=True)):
            frames = _frames(first, second, len(window))
            if frames > 1:
                scale = 0.5 * math.log(frames) if by_length else 1.0
                apart, rolled = distances_of(first, second)
                total[layer] += apart / scale
                elsewhere[layer] += rolled / scale
        rows += frames if frames > 1 else 0
    return ClipDistances(clip, rows, total / max(rows, 1), elsewhere / max(rows, 1))


def _size(both: Sequence[Attending]) -> tuple[int, int]:
    """Return the layers of both and their heads."""
    if len({(one.layers, one.heads) for one in both}) > 1:
        sizes = " and ".join(f"{one.layers} layers of {one.heads} heads" for one in both)
        raise UserError(f"the two encoders must have the same layers and heads, but have {sizes}")
    return both[0].layers, both[0].heads


def _frames(first: Any, second: Any, samples: int) -> int:
    """Return the frames that both maps are of."""
    frames, others = int(first.shape[-1]), int(second.shape[-1])
    if frames != others:
        raise UserError(
            f"the two encoders must make the same frames, but of {samples} samples they make {frames} and {others}"
        )
    return frames


def distances_of(first: Any, second: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return Bhattacharyya distances between rows of two maps, summed over rows, in nats.

    Args:
        first: ``(H, S, S)`` float32, whose rows sum to 1.
        second: as ``first``.

    Returns:
        ``(H, H)`` of each head of ``first`` with each of ``second``, and ``(H,)`` of heads of one number, row t with
        row t + S / 2 around the end.
    """
    heads, frames = first.shape[:2]
    apart, rolled = np.zeros((heads, heads)), np.zeros(heads)
    one, other = first.sqrt(), second.sqrt()
    away = other.roll(-(frames // 2), 1)
    for start in range(0, frames, ROWS):
        rows = slice(start, start + ROWS)
        # (H, R, S) -> (R, H, S) and (R, S, H): a row's heads are compared by one product
        apart += _nats(one[:, rows].transpose(0, 1) @ other[:, rows].permute(1, 2, 0)).sum(0)
        rolled += _nats((one[:, rows] * away[:, rows]).sum(-1)).sum(-1)
    return apart, rolled


def _nats(shared: Any) -> np.ndarray:
    """Return distances by what rows share: rounding may give a little over 1, or 0 where nothing is shared."""
    import torch

    distances: np.ndarray = -shared.double().clamp(torch.finfo(torch.float32).tiny, 1).log().cpu().numpy()
    return distances
