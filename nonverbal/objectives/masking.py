"""Which frames are masked, and which of them are each other's negatives; drawn on the host, from lengths and a seed."""

import numpy as np
import torch
from torch import Tensor

from nonverbal.errors import UserError

MIN_SPANS = 2
"""Spans that even the shortest clip gets (fairseq's ``mask_min_spans``)."""


def span_mask(frames: np.ndarray, probability: float, length: int, random: np.random.Generator) -> np.ndarray:
    """Mask spans of frames as wav2vec 2.0 does (Baevski et al., 2020, section 4.2; fairseq's ``compute_mask_indices``).

    A row of T frames gets max(2, floor(``probability`` x T / ``length`` + u)) spans, u uniform in [0, 1); they start
    at different frames and may overlap. Then frames drawn at random are unmasked again until all rows have the same
    number of masked frames.

    Args:
        frames: ``(N,)`` frames of each row.
        probability: share of frames that spans would mask if they did not overlap; about 0.65 masks 49%.
        length: frames in a span.
        random: the source of randomness.

    Returns:
        ``(N, max(frames))`` bool, True where masked, never beyond a row's frames.

    Raises:
        UserError: a row is too short to hold the spans and leave a frame unmasked.
    """
    shortest = int(frames.min())
    if length + MIN_SPANS > shortest:
        raise UserError(
            f"`mask_length` must be at most the {max(shortest - MIN_SPANS, 0)} frames of the shortest clip but two, "
            f"but is {length} instead; raise batches.min_seconds"
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
    """Mask spans of each row on its own, as SpecAugment does (Park et al., 2019) for wav2vec 2.0's fine-tuning.

    A row of T frames gets floor(``probability`` x T / ``length`` + u) spans, u uniform in [0, 1): perhaps none, and
    none where T is at most ``length``. Arguments and result are those of ``span_mask``, which leaves all rows with the
    same number of masked frames.
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
    """Return a mask as objectives read it: the places of frames too, which a device would otherwise be asked for.

    Args:
        mask: ``(N, S)`` bool, True where a frame is masked; K are masked in each row.
        frames: ``(N,)`` frames of each row, the longest of S.

    Returns:
        ``mask``, ``(N, S)`` bool; ``masked``, ``(N x K,)`` int64, the places of masked frames among all N x S; and
        where rows differ in length ``own``, int64, the places of the frames that are not padding.
    """
    tensors = {"mask": torch.from_numpy(mask), "masked": torch.from_numpy(np.flatnonzero(mask))}
    if (frames < mask.shape[1]).any():
        tensors["own"] = torch.from_numpy(np.flatnonzero(np.arange(mask.shape[1]) < frames[:, None]))
    return tensors


def draw_negatives(rows: int, masked: int, count: int, random: np.random.Generator) -> np.ndarray:
    """Draw ``count`` negatives a target, uniformly and with replacement, among the other masked frames of its row.

    Returns:
        ``(rows, masked, count)`` int64, each an index into the row's ``masked`` frames, never the target's own.
    """
    drawn = random.integers(masked - 1, size=(rows, masked, count))
    drawn += drawn >= np.arange(masked)[:, None]
    return drawn
