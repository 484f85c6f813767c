"""Finds stretches that two sounds share: equal words give candidates, and the bits of the whole overlap decide.

Haitsma and Kalker, ISMIR 2002, sections 4 and 5. The words of one side are looked up in a sorted list of the other's,
unchanged and with some of their least reliable bits flipped.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from nonverbal.data.audit.fingerprints import HOP, LAG, RATE, SPAN, WEAK, Fingerprints

PROBES = 64
"""Number of look-ups for each word: the word itself, and the word with each of the likeliest sets of bits flipped."""
MATCHES = 32
"""Largest number of frames that a word is compared with over all its probes, the likeliest first. Without a limit, time
would grow with the square of the number of clips, and a sound that thousands of them share would take millions of
comparisons."""
LEAST_FRAMES = 8
"""Smallest number of words that are silent on neither side: 0.22 s of sound."""
HIGHEST_RATE = 0.35
"""Highest bit error rate: the paper's, section 4.1."""
DEVIATION = 0.0185
"""Standard deviation of the bit error rate of different sounds over 256 frames; proportional to 1/sqrt(frames). The
paper's is 0.0148, and 0.008 was measured here between unrelated sounds. The value is larger, so that takes of one word
by one speaker do not match (docs/audit.md)."""
SAME_RATE = 0.05
"""Bit error rate that counts for any overlap: that of copies that were only scaled or resampled."""
FALSE_PAIRS = 0.01
"""Expected number of pairs of unrelated clips among all that are found, if bit error rates are normally distributed."""
FRAMES_AT_ONCE = 1 << 14
"""Number of frames that are looked up together, which limits memory."""
PAIRS_AT_ONCE = 1 << 21
"""Number of frame pairs whose bits are compared together, which limits memory."""


@dataclass(frozen=True)
class Alignments:
    """Pairs of clips that share a stretch, the surest first. Arrays are ``(pairs,)``."""

    a: np.ndarray
    """Clip of one side, int64."""
    b: np.ndarray
    """Clip of the other side; within a single side, the higher number."""
    offset: np.ndarray
    """Seconds into the clip of ``a`` at which that of ``b`` begins; negative if it begins earlier."""
    overlap: np.ndarray
    """Seconds for which both clips continue from there."""
    rate: np.ndarray
    """Share of bits that differ, over the words of the overlap that are silent on neither side, in [0, 0.35]."""
    deviations: float
    """Number of standard deviations below 0.5 that was required."""
    compared: int
    """Number of frames that were found and compared."""
    left_out: int
    """Number of frames that were found but not compared, because a word had more than ``MATCHES``."""


@dataclass(frozen=True)
class _Index:
    """The words of a side that are not silent, sorted."""

    words: np.ndarray
    """``(distinct,)`` uint32, ascending."""
    starts: np.ndarray
    """``(distinct + 1,)`` int64: where each word's frames begin in ``frames``."""
    frames: np.ndarray
    """``(heard,)`` int64, ascending within a word."""


def align(a: Fingerprints, b: Fingerprints | None, advance: Callable[[int], None] = lambda clips: None) -> Alignments:
    """Find the pairs of a clip of ``a`` and one of ``b``, or of two of ``a``, that share a stretch.

    For each pair, the surest alignment is returned. ``advance`` is called with the number of clips of ``a`` that have
    been looked up since its last call.
    """
    other = a if b is None else b
    index = _index(other)
    alignments = len(a) * len(other.words) + len(other) * len(a.words)
    deviations = -NormalDist().inv_cdf(FALSE_PAIRS / max(alignments, 1))
    found, compared, left_out = [np.zeros((0, 6))], 0, 0
    for first, last in _clips_at_once(a.bounds):
        frames, partners, missed = _look_up(a, index, int(a.bounds[first]), int(a.bounds[last]))
        compared, left_out = compared + len(frames), left_out + missed
        found.append(_verified(a, other, *_candidates(a, other, frames, partners, b is None), deviations))
        advance(last - first)
    best = _surest(np.concatenate(found))
    clip_a, clip_b, offset, frames, rate = best.T
    return Alignments(
        clip_a.astype(np.int64),
        clip_b.astype(np.int64),
        offset * HOP / RATE,
        ((frames - 1) * HOP + SPAN) / RATE,
        rate,
        deviations,
        compared,
        left_out,
    )


def highest_rate(frames: np.ndarray, deviations: float) -> np.ndarray:
    """Return the bit error rate up to which an overlap of ``frames`` frames with sound counts; below 0 if none does."""
    chance = 0.5 - deviations * DEVIATION * np.sqrt(256 / np.maximum(frames, 1))
    return np.where(frames < LEAST_FRAMES, -1.0, np.clip(chance, SAME_RATE, HIGHEST_RATE))


def flips() -> np.ndarray:
    """Return which of the ``WEAK`` least reliable bits each probe flips, ``(PROBES, WEAK)`` bool; the first flips none.

    These are the sets with the smallest sum of ranks, which are the likeliest if reliability grows evenly with rank (Lv
    et al., "Multi-Probe LSH", VLDB 2007, section 4.4).
    """
    sets = np.array(list(itertools.product([False, True], repeat=WEAK)))
    order = np.argsort(sets @ np.arange(1, WEAK + 1), kind="stable")
    chosen: np.ndarray = sets[order[:PROBES]]
    return chosen


def _index(side: Fingerprints) -> _Index:
    frames = np.flatnonzero(side.heard)
    keyed = side.words[frames].astype(np.uint64) << np.uint64(32) | frames.astype(np.uint64)
    keyed.sort()
    words, starts = np.unique((keyed >> np.uint64(32)).astype(np.uint32), return_index=True)
    return _Index(words, np.append(starts, len(keyed)), (keyed & np.uint64(0xFFFFFFFF)).astype(np.int64))


def _clips_at_once(bounds: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield ranges of clips, (first, one past the last), of about ``FRAMES_AT_ONCE`` frames, or of one longer clip."""
    first = 0
    while first < len(bounds) - 1:
        last = int(np.searchsorted(bounds, bounds[first] + FRAMES_AT_ONCE, side="right")) - 1
        last = max(last, first + 1)
        yield first, last
        first = last


def _look_up(a: Fingerprints, index: _Index, start: int, stop: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Return pairs of frames of ``a`` and of the index whose words are equal up to a flip, and how many were left out.

    The pairs are two arrays ``(pairs,)`` of frame numbers.
    """
    frames = start + np.flatnonzero(a.heard[start:stop])
    masks = np.uint32(1) << a.weak[frames].astype(np.uint32)
    # (probes, frames): sums of distinct powers of two
    probes = a.words[frames] ^ (flips().astype(np.uint32) @ masks.T)
    keyed = probes.ravel().astype(np.uint64) << np.uint64(32) | np.arange(probes.size, dtype=np.uint64)
    # In sorted order, they move through the index instead of jumping.
    keyed.sort()
    wanted, which = (keyed >> np.uint64(32)).astype(np.uint32), (keyed & np.uint64(0xFFFFFFFF)).astype(np.int64)
    place = np.minimum(np.searchsorted(index.words, wanted), max(len(index.words) - 1, 0))
    there = index.words[place] == wanted if len(index.words) else np.zeros(len(place), dtype=bool)
    place, which = place[there], which[there]
    counts = np.zeros(probes.shape, dtype=np.int64)
    counts.flat[which] = np.diff(index.starts)[place]
    allowed = np.where(counts.cumsum(0) <= MATCHES, counts, 0)
    allowed[0] = np.minimum(counts[0], MATCHES)
    taken = allowed.flat[which]
    entries = np.repeat(index.starts[place] - np.cumsum(taken) + taken, taken) + np.arange(taken.sum())
    matched = np.repeat(frames[which % max(len(frames), 1)], taken)
    return matched, index.frames[entries], int((counts - allowed).sum())


def _candidates(
    a: Fingerprints, b: Fingerprints, frames: np.ndarray, partners: np.ndarray, within: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Turn pairs of frames into distinct alignments of clips: clip of ``a``, clip of ``b``, offset in frames."""
    promising = _promising(a, b, frames, partners)
    frames, partners = frames[promising], partners[promising]
    clip_a = np.searchsorted(a.bounds, frames, side="right") - 1
    clip_b = np.searchsorted(b.bounds, partners, side="right") - 1
    offset = frames - a.bounds[clip_a] - partners + b.bounds[clip_b]
    if within:
        swap = clip_a > clip_b
        clip_a, clip_b = np.where(swap, clip_b, clip_a), np.where(swap, clip_a, clip_b)
        offset = np.where(swap, -offset, offset)
        apart = clip_a != clip_b
        clip_a, clip_b, offset = clip_a[apart], clip_b[apart], offset[apart]
    order = np.lexsort((offset, clip_b, clip_a))
    rows = np.stack([clip_a, clip_b, offset])[:, order]
    new = np.ones(rows.shape[1], dtype=bool)
    new[1:] = (rows[:, 1:] != rows[:, :-1]).any(0)
    clip_a, clip_b, offset = rows[:, new]
    return clip_a, clip_b, offset


def _promising(a: Fingerprints, b: Fingerprints, frames: np.ndarray, partners: np.ndarray) -> np.ndarray:
    """Whether the words one lag before and after those found differ in at most 40% of their bits.

    Many chance matches fail this test, but hardly any copies do, so it saves comparisons of whole overlaps. Words
    beyond the end of a clip are not tested.
    """
    errors, compared = np.zeros(len(frames), dtype=np.int64), np.zeros(len(frames), dtype=np.int64)
    for step in (-LAG, LAG):
        inside = _same_clip(a, frames, step) & _same_clip(b, partners, step)
        i, j = frames[inside] + step, partners[inside] + step
        errors[inside] += np.bitwise_count(a.words[i] ^ b.words[j])
        compared[inside] += 32
    return errors <= 0.4 * compared


def _same_clip(side: Fingerprints, frames: np.ndarray, step: int) -> np.ndarray:
    clip = np.searchsorted(side.bounds, frames, side="right")
    return (frames + step >= side.bounds[clip - 1]) & (frames + step < side.bounds[clip])


def _verified(
    a: Fingerprints, b: Fingerprints, clip_a: np.ndarray, clip_b: np.ndarray, offset: np.ndarray, deviations: float
) -> np.ndarray:
    """Return alignments below the threshold, ``(pairs, 6)``: clip, clip, offset, frames, bit error rate, certainty."""
    start_a = a.bounds[clip_a] + np.maximum(offset, 0)
    start_b = b.bounds[clip_b] - np.minimum(offset, 0)
    frames = np.minimum(a.bounds[clip_a + 1] - start_a, b.bounds[clip_b + 1] - start_b)
    rate, heard = np.ones(len(frames)), np.zeros(len(frames), dtype=np.int64)
    ends = np.cumsum(frames)
    first = 0
    while first < len(frames):
        before = ends[first] - frames[first]
        last = max(int(np.searchsorted(ends, before + PAIRS_AT_ONCE, side="right")), first + 1)
        some = slice(first, last)
        rate[some], heard[some] = _bit_error_rate(a, b, start_a[some], start_b[some], frames[some])
        first = last
    surety = (0.5 - rate) * np.sqrt(heard)
    rows = np.stack([clip_a, clip_b, offset, frames, rate, surety], axis=1)
    kept: np.ndarray = rows[rate <= highest_rate(heard, deviations)]
    return kept


def _bit_error_rate(
    a: Fingerprints, b: Fingerprints, start_a: np.ndarray, start_b: np.ndarray, frames: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return bit error rates of stretches, and how many frames are silent on neither side, ``(stretches,)`` each."""
    begins = np.cumsum(frames) - frames
    within = np.arange(frames.sum()) - np.repeat(begins, frames)
    i, j = np.repeat(start_a, frames) + within, np.repeat(start_b, frames) + within
    both = a.heard[i] & b.heard[j]
    heard = np.add.reduceat(both.astype(np.int64), begins)
    wrong = np.add.reduceat(np.bitwise_count(a.words[i] ^ b.words[j]).astype(np.int64) * both, begins)
    return wrong / np.maximum(32 * heard, 1), heard


def _surest(rows: np.ndarray) -> np.ndarray:
    """Keep the surest row of each pair of clips, order the pairs by certainty, and drop its column."""
    order = np.lexsort((-rows[:, -1], rows[:, 1], rows[:, 0]))
    rows = rows[order]
    new = np.ones(len(rows), dtype=bool)
    new[1:] = (rows[1:, :2] != rows[:-1, :2]).any(1)
    rows = rows[new]
    best: np.ndarray = rows[np.argsort(-rows[:, -1], kind="stable"), :-1]
    return best
