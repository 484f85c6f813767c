"""Which micro-batches a process requests from its data workers, and in which order."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
import torch

from nonverbal.batch import Batch, Targets

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Plan(Protocol[T_co]):
    """The micro-batches of an epoch, in order."""

    def __len__(self) -> int:
        """Return the number of micro-batches."""

    def __getitem__(self, number: int, /) -> T_co:
        """Return one of them."""


@dataclass(frozen=True)
class Request(Generic[T]):
    """A request to read one micro-batch, which the sampler passes to the data workers."""

    micro_batch: T
    """As in the plan."""
    step: int
    position: int
    """Number of the micro-batch in its step."""
    corpus: str | None = None
    """In validation, the corpus of the batch; its audio is then read without randomness."""
    after: tuple[int, int] = (0, 0)
    """In training, the (epoch, micro-batch) at which the stream continues after the step."""

    def batch(
        self, waveforms: np.ndarray, lengths: np.ndarray, ids: list[str], targets: Targets, seed: int, real: int
    ) -> Batch:
        """Return the requested batch.

        Args:
            waveforms: ``(N, T)`` int16 or float32.
            lengths: ``(N,)`` int64.
            ids: of the rows.
            targets: of the rows.
            seed: of the run.
            real: number of samples of distinct audio.
        """
        return Batch(
            waveforms=torch.from_numpy(waveforms),
            lengths=torch.from_numpy(lengths),
            ids=ids,
            targets=targets,
            seed=seed,
            step=self.step,
            position=self.position,
            padded=bool((lengths < waveforms.shape[1]).any()),
            real_samples=real,
            corpus=self.corpus,
            after=self.after,
        )


class TrainingRequests(Generic[T]):
    """The sampler: the endless stream of this process's micro-batches from a position on.

    Step s takes the next ``per_step`` micro-batches of the stream, whatever the number of processes;
    process r of n takes those whose position in the step is r, r + n, r + 2n, ...
    """

    def __init__(
        self,
        plan: Callable[[int], Plan[T]],
        per_step: int,
        steps: range,
        epoch: int,
        batch: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.plan, self.epoch, self.batch = plan, epoch, batch
        self.steps = steps
        self.per_step = per_step
        self.rank = rank
        self.world = world

    def __len__(self) -> int:
        return len(self.steps) * len(range(self.rank, self.per_step, self.world))

    def __iter__(self) -> Iterator[Request[T]]:
        batches = stream(self.plan, self.epoch, self.batch)
        for step in self.steps:
            step_batches = [next(batches) for _ in range(self.per_step)]
            epoch, number, _ = step_batches[-1]
            for position in range(self.rank, self.per_step, self.world):
                yield Request(step_batches[position][2], step, position, after=(epoch, number + 1))


def stream(plan: Callable[[int], Plan[T]], epoch: int, batch: int) -> Iterator[tuple[int, int, T]]:
    """Yield (epoch, number in the epoch, micro-batch) from a position on, for ever: epochs follow without a gap."""
    while True:
        batches = plan(epoch)
        for number in range(batch, len(batches)):
            yield epoch, number, batches[number]
        epoch, batch = epoch + 1, 0
