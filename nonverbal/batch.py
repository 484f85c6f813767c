"""What data hand to objectives, and objectives to the trainer."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

Metrics = dict[str, float]
"""Name to value, as in a row of ``metrics.jsonl``."""


class Piece(NamedTuple):
    """A stretch of one part of a shard folder, as a row holds it; empty where the row's crop leaves nothing of it."""

    folder: int
    """Which of the data's shard folders."""
    part: int
    """Row of that folder's table."""
    start: int
    """First sample, at 16 kHz."""
    stop: int
    """Sample after the last."""


@dataclass(frozen=True)
class Rows:
    """The rows of a micro-batch, and what they are made of: known before any audio is read."""

    lengths: np.ndarray
    """``(N,)`` int64, in samples."""
    pieces: Sequence[Sequence[Piece]] = ()
    """Of each row: pieces that are joined; if shorter than the row, repeated from the beginning. Never longer.

    Samplers that draw from lengths alone need none."""


@dataclass
class Targets:
    """What is to be predicted in one micro-batch, drawn on the host from its rows and a seed, before audio is read.

    So every process knows the number of targets of a whole step before its first backward.
    """

    count: float
    """What the loss of the micro-batch is averaged over, above 0: its targets, or the sum of their weights. Those of a
    step are added up in any order: weights are of few binary digits, so that their sums are exact."""
    tensors: dict[str, Tensor]
    """Masks, negatives and the like, moved to the device with the batch."""

    def to(self, device: torch.device) -> "Targets":
        """Return them on a device."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "Targets":
        """Return them in page-locked memory."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Targets":
        return replace(self, tensors={name: change(tensor) for name, tensor in self.tensors.items()})


@dataclass
class Batch:
    """One micro-batch."""

    waveforms: Tensor
    """``(N, T)`` float32 in [-1, 1], 16 kHz; zeros beyond a row's length. Until ``to`` they may be int16, as read."""
    lengths: Tensor
    """``(N,)`` int64, in samples."""
    ids: list[str]
    """What each row is made of: ``shard folder row`` numbers, for messages."""
    targets: Targets
    seed: int
    step: int
    position: int
    """Number of the micro-batch in its step. Noise is a function of (seed, step, position)."""
    padded: bool
    """Whether a row is shorter than the batch: known on the host, so that no device is asked for it."""
    real_samples: int = 0
    """Samples of distinct audio: neither padding nor repetition."""
    corpus: str | None = None
    """The corpus, in validation, where batches are of one corpus each."""
    after: tuple[int, int] = (0, 0)
    """In training, the (epoch, micro-batch) at which the stream goes on after the batch's step."""

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device, waveforms as float32: int16 values over 32768, as libsndfile reads them.

        The copy does not wait for the device where the memory is page-locked.
        """
        waveforms = self.waveforms.to(device, non_blocking=True)
        if waveforms.dtype == torch.int16:
            # By a power of two, so exact. Over there, because int16 is half of what has to be copied.
            waveforms = waveforms.float().mul_(2.0**-15)
        lengths = self.lengths.to(device, non_blocking=True)
        return replace(self, waveforms=waveforms, lengths=lengths, targets=self.targets.to(device))

    def pin_memory(self) -> "Batch":
        """Return the batch in page-locked memory; torch's ``DataLoader`` calls this where it is to pin."""
        waveforms, lengths = self.waveforms.pin_memory(), self.lengths.pin_memory()
        return replace(self, waveforms=waveforms, lengths=lengths, targets=self.targets.pin_memory())


class Loss(NamedTuple):
    """The loss of one micro-batch, as a sum, so that steps add up the same however they are shared out.

    A tuple, because ZeRO 3 looks for tensors in tuples, and gathers weights when gradient reaches them.
    """

    sum: Tensor
    """Scalar with gradient: the sum over the batch's targets."""
    metrics: dict[str, tuple[Tensor, Tensor]]
    """Name to (sum, weight), detached float32 scalars: the metric of many batches is sum of sums / sum of weights."""


Excerpt = tuple[slice, tuple[int, int]]
"""Which samples of a row are read, and how many of them are reflected at their beginning and at their end."""


class TargetSampler(ABC):
    """Draws the targets of a micro-batch, and says what is read of its rows.

    Holds numbers and arrays only, so that it travels to data workers.
    """

    @abstractmethod
    def __call__(self, rows: Rows, random: np.random.Generator) -> Targets:
        """Draw for ``rows``. The size of the tensors depends on lengths alone."""

    def excerpt(self, length: int, targets: Targets, row: int) -> Excerpt:
        """Return what is read of a row of ``length`` samples, the ``row``-th of those that ``targets`` are of."""
        return slice(0, length), (0, 0)

    def width(self, lengths: np.ndarray) -> int:
        """Return T of the waveforms ``(N, T)`` of rows of ``lengths``, at least the samples of each excerpt."""
        return int(lengths.max())


@dataclass(frozen=True)
class AddingSampler(TargetSampler):
    """Adds to what another sampler draws; rows are read as for that one."""

    sampler: TargetSampler

    def __call__(self, rows: Rows, random: np.random.Generator) -> Targets:
        """Return the other sampler's targets, with the tensors of ``added``."""
        targets = self.sampler(rows, random)
        return replace(targets, tensors=targets.tensors | self.added(rows))

    @abstractmethod
    def added(self, rows: Rows) -> dict[str, Tensor]:
        """Return further tensors, by name. The size of each depends on lengths alone."""

    def excerpt(self, length: int, targets: Targets, row: int) -> Excerpt:
        """As the other sampler."""
        return self.sampler.excerpt(length, targets, row)

    def width(self, lengths: np.ndarray) -> int:
        """As the other sampler."""
        return self.sampler.width(lengths)
