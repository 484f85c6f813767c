"""The processes of a run: how many were asked for, how many there are, and what they do together."""

import contextlib
import os
from collections.abc import Iterator
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object

from nonverbal.errors import UserError

Value = TypeVar("Value")

LOST = (
    "lost contact with another process of this run: it has ended, its machine cannot be reached, or it has not "
    "answered for {minutes:g} minutes (trainer.timeout_minutes); its own last message, if it had time for one, says "
    "why; run the same command again to continue from the last checkpoint"
)


class Processes:
    """The processes that a launcher (nonverbal, accelerate, torchrun, srun) has started for this run.

    Raises:
        UserError: there are not as many as were asked for. accelerate, told to start two on a CPU, starts one.
    """

    def __init__(self, asked: int | None, timeout_minutes: float) -> None:
        on_cpu = not torch.cuda.is_available()
        if on_cpu:
            # DeepSpeed, which is imported wherever it is installed, otherwise warns that it finds no GPU.
            os.environ.setdefault("DS_ACCELERATOR", "cpu")
        if os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true" or os.environ.get("ACCELERATE_USE_FSDP") == "true":
            raise UserError(
                "accelerate's configuration asks for DeepSpeed or FSDP, but how a run is spread belongs to its recipe: "
                "use --trainer.zero 1, 2 or 3, and a configuration that only starts processes, such as "
                "pretrain/launch/gpus.yaml"
            )
        self.timeout_minutes = timeout_minutes
        options = {"timeout": timedelta(minutes=timeout_minutes)} if "WORLD_SIZE" in os.environ else {}
        with self.in_contact():
            self.state = PartialState(cpu=on_cpu, **options)
        self.world, self.rank = self.state.num_processes, self.state.process_index
        self.device, self.is_first = self.state.device, self.state.is_main_process
        if asked is not None and asked != self.world:
            raise UserError(
                f"--trainer.processes asks for {asked}, but the launcher started {self.world}; start it without a "
                f"launcher, or with: torchrun --standalone --nproc_per_node {asked} pretrain/train.py ..."
            )

    @contextlib.contextmanager
    def first_before_others(self) -> Iterator[bool]:
        """Say whether this is the first process; the others wait until it has left the block."""
        yield self.is_first
        with self.in_contact():
            self.wait()

    def wait(self) -> None:
        """Return when all processes have come here."""
        self.state.wait_for_everyone()

    def add(self, *numbers: int) -> list[int]:
        """Return the sum of each number over all processes, which must all give as many. One message for all."""
        if self.world == 1:
            return list(numbers)
        # Kept until the next time: gloo's thread lets go of it after this one, and a thread that frees a tensor of
        # Python's waits for Python's lock, which hangs or aborts a process that is about to end.
        self.totals = torch.tensor(numbers)
        torch.distributed.all_reduce(self.totals)
        return [int(total) for total in self.totals.tolist()]

    def of_first(self, value: Value) -> Value:
        """Return the first process's value."""
        held: list[Value] = broadcast_object_list([value])
        return held[0]

    def of_each(self, value: Value) -> list[Value]:
        """Return the value of each process, by rank."""
        values: list[Value] = gather_object([value])
        return values

    @contextlib.contextmanager
    def in_contact(self) -> Iterator[None]:
        """Say in one line that another process is gone, which torch says in many.

        Raises:
            UserError: a collective operation in the block has failed.
        """
        try:
            yield
        except RuntimeError as error:
            if isinstance(error, torch.distributed.DistError) or "gloo" in str(error):
                raise UserError(LOST.format(minutes=self.timeout_minutes)) from error
            raise
