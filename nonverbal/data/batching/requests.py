"""Which micro-batches a process asks of its data workers, and in which order."""

from collections.abc import Iterator
from dataclasses import dataclass

from nonverbal.data.batching.epochs import BatchSettings, ClipTable, stream, validation_epoch
from nonverbal.data.batching.micro_batches import MicroBatch


@dataclass(frozen=True)
class Request:
    """One micro-batch to be read: what the sampler hands to the data workers."""

    micro_batch: MicroBatch
    step: int
    position: int
    """Number of the micro-batch in its step."""
    corpus: str | None = None
    """In validation, the corpus of the batch; crops are then central, not random."""
    after: tuple[int, int] = (0, 0)
    """In training, the (epoch, micro-batch) at which the stream goes on after the step."""


class TrainingRequests:
    """The sampler: the endless stream of this process's micro-batches, from a position on.

    Step s takes the next ``batches_per_step`` micro-batches of the stream, whatever the number of processes;
    process r of n takes those whose position in the step is r, r + n, r + 2n, ...
    """

    def __init__(
        self,
        table: ClipTable,
        settings: BatchSettings,
        seed: int,
        steps: range,
        epoch: int,
        batch: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.arguments = (table, settings, seed, epoch, batch)
        self.steps = steps
        self.per_step = settings.batches_per_step
        self.rank = rank
        self.world = world

    def __len__(self) -> int:
        return len(self.steps) * len(range(self.rank, self.per_step, self.world))

    def __iter__(self) -> Iterator[Request]:
        batches = stream(*self.arguments)
        for step in self.steps:
            step_batches = [next(batches) for _ in range(self.per_step)]
            epoch, number, _ = step_batches[-1]
            for position in range(self.rank, self.per_step, self.world):
                yield Request(step_batches[position][2], step, position, after=(epoch, number + 1))


def validation_requests(table: ClipTable, settings: BatchSettings, seed: int) -> list[Request]:
    """Return the requests of a validation pass, always the same: fixed crops, fixed targets."""
    batches = validation_epoch(table, settings, seed)
    return [Request(batch, 0, number, corpus) for number, (corpus, batch) in enumerate(batches)]
