"""Rows of encoders' self-attention maps, compared clip by clip and layer by layer.

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
    """Of a clip, how far P other encoders attend from a first one: means over its rows."""

    clip: int
    """Its row in the manifest."""
    rows: int
    """Frames; 0 where no window of it has two."""
    heads: np.ndarray
    """``(P, L, H, H)``: heads of the first encoder by heads of the other."""
    elsewhere: np.ndarray
    """``(P, L, H)``: rows of heads of one number, of frames half a clip apart."""


def clip_distances(encoders: Sequence[Attending], clip: int, waveform: np.ndarray, by_length: bool) -> ClipDistances:
    """Return how far apart encoders attend on a clip, window by window and layer by layer.

    Args:
        encoders: the first is compared with each of the others.
        clip: its row in the manifest.
        waveform: ``(T,)`` float32, 16 kHz.
        by_length: divide the distances of a window by half the logarithm of its frames.

    Raises:
        UserError: they make other frames, layers or heads.
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
    return ClipDistances(clip, rows, total / max(rows, 1), elsewhere / max(rows, 1))


def _size(encoders: Sequence[Attending]) -> tuple[int, int]:
    """Return the layers of all and their heads."""
    if len({(one.layers, one.heads) for one in encoders}) > 1:
        sizes = "; ".join(f"{one.encoder.name} has {one.layers} layers of {one.heads} heads" for one in encoders)
        raise UserError(f"the encoders must have the same layers and heads, but {sizes}")
    return encoders[0].layers, encoders[0].heads


def _frames(first: Any, other: Any, samples: int) -> int:
    """Return the frames that both maps are of."""
    frames, others = int(first.shape[-1]), int(other.shape[-1])
    if frames != others:
        raise UserError(
            f"the encoders must make the same frames, but of {samples} samples they make {frames} and {others}"
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
