"""Weights as a function of a seed."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from nonverbal.seeding import Stream, torch_seed


@contextmanager
def drawn_from(seed: int, *position: int, stream: Stream = Stream.INIT) -> Iterator[None]:
    """Seed torch's generator on the CPU with these numbers in the block, and restore its state afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed(seed, stream, *position))
        yield
