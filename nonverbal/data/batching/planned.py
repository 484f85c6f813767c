"""Batches by a plan for each epoch, read ahead, for a trainer."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

import torch
from torch.utils.data import Dataset

from nonverbal.batch import Batch
from nonverbal.data.batching.read_ahead import LEAST_AHEAD, check_shared_memory, micro_batches_ahead, read_ahead
from nonverbal.data.batching.requests import Plan, Request, TrainingRequests

T = TypeVar("T")


class PlannedData(ABC, Generic[T]):
    """A trainer's data: training micro-batches by a plan for each epoch, and validation micro-batches, always the same.

    Args:
        dataset: returns the batch of a training ``Request``.
        validation_dataset: returns the batch of a validation request.
        validation_requests: the requests of a validation pass.
        batches_per_step: number of micro-batches in a step, whatever the number of processes.
        workers: number of processes that read ahead; 0 to read in this one.
        timeout: seconds to wait for a batch.
    """

    def __init__(
        self,
        dataset: Dataset[Batch],
        validation_dataset: Dataset[Batch],
        validation_requests: list[Request[T]],
        batches_per_step: int,
        workers: int,
        timeout: float,
    ) -> None:
        self._training_dataset, self._validation_dataset = dataset, validation_dataset
        self.validation_requests = validation_requests
        self.batches_per_step, self.workers, self.timeout = batches_per_step, workers, timeout

    @abstractmethod
    def plan(self, epoch: int) -> Plan[T]:
        """Return the micro-batches of an epoch: the same at every call, in every process."""

    @abstractmethod
    def largest(self) -> int:
        """Return the bytes of the largest micro-batch that may be read ahead."""

    def training(self, steps: range, epoch: int, batch: int, rank: int, world: int) -> Iterator[Batch]:
        """Return process ``rank``'s batches of ``steps``, beginning with micro-batch ``batch`` of ``epoch``.

        Workers start when the first batch is requested.

        Raises:
            UserError: the batches that are read ahead do not fit in shared memory.
        """
        requests = TrainingRequests(self.plan, self.batches_per_step, steps, epoch, batch, rank, world)
        of_a_step, ahead = len(range(rank, self.batches_per_step, world)), LEAST_AHEAD
        if self.workers:
            ahead = micro_batches_ahead(of_a_step, self.workers)
            # Besides these: the batches of validation, which is also read ahead; and, unless batches are copied to
            # pinned memory, those of a step while the next ones are taken, or in validation one and the next.
            held = 0 if torch.cuda.is_available() else of_a_step + max(of_a_step, 2)
            in_workers = self.workers * (ahead + LEAST_AHEAD)
            check_shared_memory((in_workers + held) * self.largest())
        return read_ahead(self._training_dataset, requests, self.workers, self.timeout, ahead)

    def validation(self, rank: int, world: int) -> Iterable[Batch]:
        """Return process ``rank``'s batches of a validation pass."""
        return read_ahead(self._validation_dataset, self.validation_requests[rank::world], self.workers, self.timeout)
