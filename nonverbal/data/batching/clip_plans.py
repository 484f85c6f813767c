"""Plans epochs of whole clips: which ones share a micro-batch, and in which order. Pure functions; no audio is read."""

from collections.abc import Sequence

import numpy as np

from nonverbal.data.batching.epochs import padded_stops

JITTER = 0.08
"""Largest relative change of lengths, drawn before clips are sorted by them: clips of similar length then have other
neighbours in each epoch, with little more padding."""

MAX_RATIO = 1.25
"""Largest ratio of the longest to the shortest row in a micro-batch of whole clips."""


def batch_sizes(clips: int, steps: int, per_step: int) -> np.ndarray:
    """Return the clips per micro-batch, ``(steps x per_step,)``, as equal as possible among steps and within one."""
    of_steps = _shared_out(clips, steps)
    return np.concatenate([_shared_out(int(own), per_step) for own in of_steps])


def training_plan(
    lengths: np.ndarray, steps: int, per_step: int, by_length: bool, random: np.random.Generator
) -> list[np.ndarray]:
    """Return the micro-batches of an epoch, steps x per_step of them: positions in ``lengths``, each exactly once.

    Args:
        lengths: ``(clips,)`` samples of each clip's row, above 0; at least as many clips as micro-batches.
        steps: number of steps in the epoch.
        per_step: number of micro-batches in a step.
        by_length: whether to put clips of similar length together; otherwise any clips are put together.
        random: from the seed and the epoch.
    """
    sizes = batch_sizes(len(lengths), steps, per_step)
    assert sizes.min() > 0, "fewer clips than micro-batches"
    if not by_length:
        return np.split(random.permutation(len(lengths)), np.cumsum(sizes)[:-1])
    # Clips of the same length are then in random order.
    clips = np.argsort(lengths * random.uniform(1 - JITTER, 1 + JITTER, len(lengths)), kind="stable")
    # Which micro-batch takes the shortest clips, which the next, and so on.
    places = random.permutation(len(sizes))
    cut = np.split(clips, np.cumsum(sizes[places])[:-1])
    return [cut[i] for i in np.argsort(places)]


def whole_plan(lengths: np.ndarray, rows: np.ndarray, budget: int) -> list[np.ndarray]:
    """Return micro-batches of whole clips, from short to long: positions in ``lengths``, each exactly once.

    Args:
        lengths: ``(clips,)`` samples of each clip's longest window.
        rows: ``(clips,)`` number of windows of each clip, which stay together.
        budget: largest number of samples in a micro-batch, including padding; a clip that has more is alone.
    """
    order = np.argsort(lengths, kind="stable")
    after = np.searchsorted(lengths[order], MAX_RATIO * lengths[order], side="right")
    return np.split(order, padded_stops(lengths[order], rows[order], after, budget)[:-1]) if len(order) else []


def padding(lengths: np.ndarray, plan: Sequence[np.ndarray]) -> float:
    """Return the share of padding in the model's input."""
    through = sum(len(clips) * int(lengths[clips].max()) for clips in plan)
    return 1 - int(lengths.sum()) / through


def _shared_out(items: int, among: int) -> np.ndarray:
    return items // among + (np.arange(among) < items % among)
