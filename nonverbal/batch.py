"""The types that data pass to objectives, and objectives to the trainer."""

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
    """The stretch of one part of a shard folder that a row contains; empty if the row's crop excludes the part."""

    folder: int
    """Number of the shard folder."""
    part: int
    """Row of that folder's table."""
    start: int
    """First sample, at 16 kHz."""
    stop: int
    """The sample after the last."""


@dataclass(frozen=True)
class Rows:
    """The rows of a micro-batch and their pieces, which are known before any audio is read."""

    lengths: np.ndarray
    """``(N,)`` int64, in samples."""
    pieces: Sequence[Sequence[Piece]] = ()
    """For each row, the pieces that are joined. If they are shorter than the row, they are repeated from the beginning;
    they are never longer.

    Not needed for samplers that use only lengths."""


@dataclass
class Targets:
    """The targets of one micro-batch, drawn on the host from its rows and a seed, before audio is read.

    So every process knows the number of targets of a whole step before its first backward pass.
    """

    count: float
    """The number of targets of the micro-batch, or the sum of their weights, by which its loss is averaged; above 0.
    Weights have few binary digits, so that sums over a step are exact in any order."""
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
    """``(N, T)`` float32 in [-1, 1], 16 kHz, with zeros as padding. Before ``to``, they may be int16, as read."""
    lengths: Tensor
    """``(N,)`` int64, in samples."""
    ids: list[str]
    """The clips of each row, as ``shard folder row`` numbers, for messages."""
    targets: Targets
    seed: int
    step: int
    position: int
    """Number of the micro-batch in its step. Noise is a function of (seed, step, position)."""
    padded: bool
    """Whether a row is shorter than the batch. Known on the host, so that it need not be read from the device."""
    real_samples: int = 0
    """Number of samples of distinct audio, without padding and repetition."""
    corpus: str | None = None
    """In validation, the corpus of the batch, if each batch has only one."""
    after: tuple[int, int] = (0, 0)
    """In training, the (epoch, micro-batch) at which the stream continues after the batch's step."""

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device, with float32 waveforms: int16 values divided by 32768, as in libsndfile.

        The copy does not wait for the device if the memory is page-locked.
        """
        waveforms = self.waveforms.to(device, non_blocking=True)
        if waveforms.dtype == torch.int16:
            # Division by a power of two is exact. It is done on the device, because int16 halves the copy.
            waveforms = waveforms.float().mul_(2.0**-15)
        lengths = self.lengths.to(device, non_blocking=True)
        return replace(self, waveforms=waveforms, lengths=lengths, targets=self.targets.to(device))

    def pin_memory(self) -> "Batch":
        """Return the batch in page-locked memory; torch's ``DataLoader`` calls this if memory is to be pinned."""
        waveforms, lengths = self.waveforms.pin_memory(), self.lengths.pin_memory()
        return replace(self, waveforms=waveforms, lengths=lengths, targets=self.targets.pin_memory())


class Loss(NamedTuple):
    """The loss of one micro-batch as a sum, so that a step's loss does not depend on the number of processes.

    It is a tuple because ZeRO 3 finds tensors in tuples, and gathers weights when a gradient reaches them.
    """

    sum: Tensor
    """Scalar with gradient: the sum over the batch's targets."""
    metrics: dict[str, tuple[Tensor, Tensor]]
    """Name to (sum, weight), detached float32 scalars: the metric of many batches is sum of sums / sum of weights."""


Excerpt = tuple[slice, tuple[int, int]]
"""The samples of a row that are read, and how many of them are reflected at the beginning and at the end."""


class TargetSampler(ABC):
    """Draws the targets of a micro-batch, and determines which samples of its rows are read.

    It contains only numbers and arrays, so that it can be sent to data workers.
    """

    @abstractmethod
    def __call__(self, rows: Rows, random: np.random.Generator) -> Targets:
        """Draw targets for ``rows``. The sizes of the tensors depend only on lengths."""

    def excerpt(self, length: int, targets: Targets, row: int) -> Excerpt:
        """Return which of the ``length`` samples are read of row number ``row`` of ``targets``."""
        return slice(0, length), (0, 0)

    def width(self, lengths: np.ndarray) -> int:
        """Return T of the waveforms ``(N, T)`` for rows of ``lengths``, at least as long as each excerpt."""
        return int(lengths.max())


@dataclass(frozen=True)
class AddingSampler(TargetSampler):
    """Adds tensors to the targets of another sampler, and reads rows in the same way."""

    sampler: TargetSampler

    def __call__(self, rows: Rows, random: np.random.Generator) -> Targets:
        """Return the other sampler's targets, with the tensors of ``added``."""
        targets = self.sampler(rows, random)
        return replace(targets, tensors=targets.tensors | self.added(rows))

    @abstractmethod
    def added(self, rows: Rows) -> dict[str, Tensor]:
        """Return further tensors by name. Their sizes depend only on lengths."""

    def excerpt(self, length: int, targets: Targets, row: int) -> Excerpt:
        """As the other sampler."""
        return self.sampler.excerpt(length, targets, row)

    def width(self, lengths: np.ndarray) -> int:
        """As the other sampler."""
        return self.sampler.width(lengths)
