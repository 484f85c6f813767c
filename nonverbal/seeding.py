"""Randomness as a function of (seed, stream, position), so that no state must be saved or restored."""

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """The purpose of a draw. Streams are independent. Every run depends on their numbers, so they never change."""

    PLAN = 0
    CROP = 1
    TARGETS = 2
    NOISE = 3
    LAYER_DROP = 4
    SHARDS = 6
    INIT = 7
    SYNTHETIC = 8
    PROBE = 9
    CLUSTER = 10
    RESAMPLE = 11
    SWAP = 12
    PERMUTE = 13
    HEAD = 14
    AUGMENT = 15
    WORDS = 17
    OTHERS = 18
    CLIPS = 19


def generator(seed: int, stream: Stream, *position: int) -> np.random.Generator:
    """Return the generator for one place in a run, such as ``generator(seed, Stream.TARGETS, step, position)``.

    All numbers must be at least 0. The same numbers give the same draws on every machine.
    """
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, int(stream), *position])))


def torch_seed(seed: int, stream: Stream, *position: int) -> int:
    """Return a 63-bit seed for ``torch.manual_seed``, for noise that is drawn on the device of the tensors."""
    return int(generator(seed, stream, *position).integers(2**63 - 1))
