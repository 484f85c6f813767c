"""The processes of a run: how many were asked for, and how many there are."""

import contextlib
import os
from collections.abc import Iterator

import torch
from accelerate import PartialState

from nonverbal.errors import UserError


class Processes:
    """The processes that a launcher (accelerate, torchrun, srun) has started for this run.

    Raises:
        UserError: there are not as many as were asked for. accelerate, told to start two on a CPU, starts one.
    """

    def __init__(self, asked: int | None) -> None:
        if not torch.cuda.is_available():
            # DeepSpeed, which is imported wherever it is installed, otherwise warns that it finds no GPU.
            os.environ.setdefault("DS_ACCELERATOR", "cpu")
        self.state = PartialState(cpu=not torch.cuda.is_available())
        self.world, self.is_first = self.state.num_processes, self.state.is_main_process
        if asked is not None and asked != self.world:
            raise UserError(
                f"--trainer.processes asks for {asked}, but the launcher started {self.world}; "
                f"start them with: torchrun --standalone --nproc_per_node {asked} pretrain/train.py ..."
            )

    @contextlib.contextmanager
    def first_before_others(self) -> Iterator[bool]:
        """Say whether this is the first process; the others wait until it has left the block."""
        yield self.is_first
        self.state.wait_for_everyone()
