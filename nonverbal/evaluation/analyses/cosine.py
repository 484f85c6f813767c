"""Cosine distances between two encoders' vectors of the same clips, and values to compare them with."""

import math
from collections.abc import Sequence

import numpy as np

from nonverbal.errors import UserError
from nonverbal.evaluation.analyses.cka import FEWEST, cka
from nonverbal.seeding import Stream, generator

BINS = 10
STEP = 0.05
"""Step between the thresholds that are tried."""
SHIFTS = 10
"""Number of other clips with which each clip is compared, to estimate the distance between different clips."""


def cosine_distances(first: np.ndarray, other: np.ndarray, names: tuple[str, str]) -> np.ndarray:
    """Return the cosine distance of each pair of rows, ``(clips,)`` in [0, 2].

    Args:
        first: ``(clips, dim)``.
        other: the same shape.
        names: names of the encoders, for errors.

    Raises:
        UserError: the two have vectors of different widths, or a vector is zero and so has no direction.
    """
    if first.shape != other.shape:
        raise UserError(
            f"{names[0]} has vectors of {first.shape[1]} values and {names[1]} of {other.shape[1]}, between which "
            "there is no cosine; nonverbal analyze layers compares spaces of any width by CKA"
        )
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(other, axis=1)
    if (lengths == 0).any():
        raise UserError(f"{names[0]} or {names[1]} gives a clip a vector of zeros, which has no direction")
    return np.asarray(np.clip(1 - (first * other).sum(1) / lengths, 0, 2))


def edges_of(apart: Sequence[np.ndarray]) -> np.ndarray:
    """Return the edges of 10 bins from the smallest to the largest distance of any pair, rounded outwards to tenths."""
    smallest, largest = min(float(one.min()) for one in apart), max(float(one.max()) for one in apart)
    # 0.3 * 10 may differ slightly from 3: a value that is a multiple of .1 already stays.
    low, high = math.floor(smallest * 10 + 1e-9), math.ceil(largest * 10 - 1e-9)
    return np.round(np.linspace(low / 10, max(high, low + 1) / 10, BINS + 1), 2)


def smallest_holding(apart: Sequence[np.ndarray], hold: float) -> float:
    """Return the smallest multiple of .05 within which every pair has at least a share of its clips."""
    steps = range(1, round(2 / STEP) + 1)
    return next(round(n * STEP, 2) for n in steps if all((one <= round(n * STEP, 2)).mean() >= hold for one in apart))


def median_of_others(folds: Sequence[tuple[np.ndarray, np.ndarray]], seed: int) -> float | None:
    """Return the median cosine distance between two encoders' vectors of different clips of the same fold.

    Each clip is compared with 10 others, drawn without replacement, or with all if there are fewer. None if each fold
    has one clip.

    Args:
        folds: vectors ``(clips, dim)`` of both encoders.
        seed: seed of the order in which clips are drawn.
    """
    found = []
    for fold, (first, other) in enumerate(folds):
        order = generator(seed, Stream.OTHERS, fold).permutation(len(first))
        for shift in range(1, min(SHIFTS, len(first) - 1) + 1):
            found.append(cosine_distances(first[order], other[np.roll(order, shift)], ("first", "other")))
    return float(np.median(np.concatenate(found))) if found else None


def mean_cka(folds: Sequence[tuple[np.ndarray, np.ndarray]]) -> float | None:
    """Return the debiased linear CKA of two encoders, as a mean over folds weighted by clips.

    Folds with fewer than 4 clips are left out; None if none is left, or a space has all clips at the same point.
    """
    large = [fold for fold in folds if len(fold[0]) >= FEWEST]
    if not large:
        return None
    value = float(np.average([cka(*fold) for fold in large], weights=[len(fold[0]) for fold in large]))
    return value if math.isfinite(value) else None
