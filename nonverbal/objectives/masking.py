"""Draws masks of frames, and negatives among masked frames, on the host, from lengths and a seed."""

import numpy as np
import torch
from torch import Tensor

from nonverbal.errors import UserError

MIN_SPANS = 2
"""Least number of spans per clip (fairseq's ``mask_min_spans``)."""


def span_mask(frames: np.ndarray, probability: float, length: int, random: np.random.Generator) -> np.ndarray:
    """Mask spans of frames as wav2vec 2.0 does (Baevski et al., 2020, section 4.2; fairseq's ``compute_mask_indices``).

    A row of T frames gets max(2, floor(``probability`` x T / ``length`` + u)) spans, with u uniform in [0, 1); they
    start at different frames and may overlap. Then random frames are unmasked until all rows have the same number of
    masked frames.

    Args:
        frames: ``(N,)``, number of frames of each row.
        probability: share of frames that spans would mask if they did not overlap; 0.65 masks about 49%.
        length: number of frames in a span.
        random: the source of randomness.

    Returns:
        ``(N, max(frames))`` bool, True for masked frames, never in padding.

    Raises:
        UserError: a row is too short for the spans and an unmasked frame.
    """
    shortest = int(frames.min())
    if length + MIN_SPANS > shortest:
        raise UserError(
            f"`mask_length` must be at most {max(shortest - MIN_SPANS, 0)}, {MIN_SPANS} less than the {shortest} "
            f"frames of the shortest clip, but is {length}; lower it, or raise batches.min_seconds"
        )
    mask = np.zeros((len(frames), int(frames.max())), dtype=bool)
    for row, count in zip(mask, frames.tolist(), strict=True):
        _mask_spans(row, count, probability, length, MIN_SPANS, random)
    fewest = int(mask.sum(axis=1).min())
    for row in mask:
        masked = np.flatnonzero(row)
        row[random.choice(masked, len(masked) - fewest, replace=False)] = False
    return mask


def loose_mask(frames: np.ndarray, probability: float, length: int, random: np.random.Generator) -> np.ndarray:
    """Mask spans of each row independently, as in SpecAugment (Park et al., 2019) for wav2vec 2.0's fine-tuning.

    A row of T frames gets floor(``probability`` x T / ``length`` + u) spans, with u uniform in [0, 1), so possibly
    none; if T is at most ``length``, it gets none. Arguments and result are those of ``span_mask``, but rows may differ
    in their number of masked frames.
    """
    mask = np.zeros((len(frames), int(frames.max())), dtype=bool)
    for row, count in zip(mask, frames.tolist(), strict=True):
        if count > length:
            _mask_spans(row, count, probability, length, 0, random)
    return mask


def _mask_spans(
    row: np.ndarray, count: int, probability: float, length: int, fewest: int, random: np.random.Generator
) -> None:
    """Set spans of the first ``count`` values of a row."""
    spans = max(fewest, int(probability * count / length + random.random()))
    starts = random.choice(count - length, min(spans, count - length), replace=False)
    row[(starts[:, None] + np.arange(length)).ravel()] = True


def frame_tensors(mask: np.ndarray, frames: np.ndarray) -> dict[str, Tensor]:
    """Return a mask for objectives, with the indices of its frames, so that they need not be computed on the device.

    Args:
        mask: ``(N, S)`` bool, True for masked frames, K in each row.
        frames: ``(N,)``, number of frames of each row, at most S.

    Returns:
        ``mask``, ``(N, S)`` bool; ``masked``, ``(N x K,)`` int64, the indices of masked frames among all N x S; and, if
        rows differ in length, ``own``, int64, the indices of the frames that are not padding.
    """
    tensors = {"mask": torch.from_numpy(mask), "masked": torch.from_numpy(np.flatnonzero(mask))}
    if (frames < mask.shape[1]).any():
        tensors["own"] = torch.from_numpy(np.flatnonzero(np.arange(mask.shape[1]) < frames[:, None]))
    return tensors


def draw_negatives(rows: int, masked: int, count: int, random: np.random.Generator) -> np.ndarray:
    """Draw ``count`` negatives per target, uniformly and with replacement, from the other masked frames of its row.

    Returns:
        ``(rows, masked, count)`` int64, indices into the row's ``masked`` frames, never that of the target.
    """
    drawn = random.integers(masked - 1, size=(rows, masked, count))
    drawn += drawn >= np.arange(masked)[:, None]
    return drawn
