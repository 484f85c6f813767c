"""Weights as a function of a seed."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from nonverbal.seeding import Stream, torch_seed


@contextmanager
def drawn_from(seed: int, *position: int, stream: Stream = Stream.INIT) -> Iterator[None]:
    """Let torch's generator on the CPU draw by these numbers alone in the block, and leave it as it was before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed(seed, stream, *position))
        yield
