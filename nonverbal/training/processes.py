"""The processes of a run: they meet, exchange values, and leave."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import torch
import torch.distributed
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object

from nonverbal.errors import UserError
from nonverbal.system import set_up_gpus
from nonverbal.training.rendezvous import check_answer, in_use, is_in_use, said

Value = TypeVar("Value")


@dataclass(frozen=True)
class Wording:
    """The names of a command's settings in messages, and the remedies."""

    processes: str = "--trainer.processes"
    timeout: str = "trainer.timeout_minutes"
    again: str = "run the same command again to continue from the last checkpoint"
    memory: str = "lower batches.batch_seconds (fine-tuning: batches.batch_clips) or start fewer processes"


TRAINING = Wording()

NOT_LOST = ("invalid usage", "invalid argument", "unhandled cuda error", "unhandled system error")
"""NCCL's names for errors that no other process has caused."""

ACCELERATE_HARMLESS = {
    "ACCELERATE_MIXED_PRECISION": ("no", "accelerate launch --mixed_precision no, and --trainer.precision"),
    "ACCELERATE_DYNAMO_BACKEND": ("no", "accelerate launch --dynamo_backend no"),
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": ("1", "batches.batches_per_step"),
    "ACCELERATE_USE_DEEPSPEED": ("false", "--trainer.zero 1, 2 or 3"),
    "ACCELERATE_USE_FSDP": ("false", "--trainer.zero 1, 2 or 3"),
    "ACCELERATE_USE_MEGATRON_LM": ("false", "--trainer.zero 1, 2 or 3"),
    "ACCELERATE_USE_PARALLELISM_CONFIG": ("false", "--trainer.zero 1, 2 or 3"),
}
"""Variables with which accelerate's configuration changes the training: the value without effect, and what to use
instead. Every ``Accelerator`` reads them, whoever has set them."""


class Processes:
    """The processes that a launcher (nonverbal, accelerate, torchrun, srun) has started for this run.

    On GPUs, NCCL exchanges tensors, and gloo the few numbers of the host, which ``add`` sums: with NCCL, the host would
    wait for everything that is queued on the GPU.

    Raises:
        UserError: their number is not the requested one (on a CPU, accelerate starts one process if told to start two),
            accelerate's configuration would change how the run trains, or the other processes cannot be reached.
    """

    def __init__(self, asked: int | None, timeout_minutes: float, records: Path, wording: Wording = TRAINING) -> None:
        """Connect to the other processes.

        Args:
            asked: required number of processes; None: any number.
            timeout_minutes: how long a process waits for another at most.
            records: folder for NCCL's records of its last operations before a timeout.
            wording: of the command.
        """
        on_cpu = not torch.cuda.is_available()
        if on_cpu:
            # If DeepSpeed is installed, it is imported, and would warn that it finds no GPU.
            os.environ.setdefault("DS_ACCELERATOR", "cpu")
        check_accelerate(on_cpu)
        set_up_gpus()
        self.timeout_minutes, self.wording = timeout_minutes, wording
        timeout = timedelta(minutes=timeout_minutes)
        options = {"timeout": timeout} if "WORLD_SIZE" in os.environ else {}
        with self.in_contact():
            if options:
                check_answer(timeout.total_seconds())
            if not on_cpu and os.environ.get("LOCAL_RANK", "-1") != "-1":
                _keep_records(records)
                _meet_on_gpus(timeout)
            # If there is a process group, accelerate uses it.
            self.state = PartialState(cpu=on_cpu, **options)
        self.world, self.rank = self.state.num_processes, self.state.process_index
        self.device, self.is_first = self.state.device, self.state.is_main_process
        if asked is not None and asked != self.world:
            raise UserError(
                f"{wording.processes} asks for {asked}, but the launcher started {self.world}; start it without a "
                f"launcher, or with: torchrun --standalone --nproc_per_node {asked} pretrain/train.py ..."
            )

    @contextlib.contextmanager
    def first_before_others(self) -> Iterator[bool]:
        """Yield whether this is the first process. At the end of the block, all processes wait for each other."""
        yield self.is_first
        with self.in_contact():
            self.wait()

    def wait(self) -> None:
        """Wait until all processes have called this. It does not wait for the GPU."""
        self.add(0)

    def add(self, *numbers: float) -> list[float]:
        """Return the sum of each number over all processes, in one all-reduce. All must pass the same number of values.

        The sums are in double precision, so sums of integers are exact and do not depend on the order.
        """
        if self.world == 1:
            return list(numbers)
        # The tensor is kept until the next call, because gloo's thread releases it later than this one. A thread that
        # frees a tensor of Python waits for Python's lock, which hangs or aborts a process that is about to end.
        self.totals = torch.tensor(numbers, dtype=torch.float64)
        torch.distributed.all_reduce(self.totals)
        totals: list[float] = self.totals.tolist()
        return totals

    def of_first(self, value: Value) -> Value:
        """Return the first process's value."""
        held: list[Value] = broadcast_object_list([value])
        return held[0]

    def of_each(self, value: Value) -> list[Value]:
        """Return the value of each process, by rank."""
        values: list[Value] = gather_object([value])
        return values

    def leave(self) -> None:
        """Leave the process group, when all processes have come to the end. After an error, the others may never come.

        NCCL may hang or print errors if a process only exits. gloo does not, and destroying its group would join
        threads that may wait for Python's lock.
        """
        if torch.distributed.is_initialized():
            with self.in_contact():
                self.state.wait_for_everyone()
            if self.device.type == "cuda":
                torch.distributed.destroy_process_group()

    @contextlib.contextmanager
    def in_contact(self) -> Iterator[None]:
        """Turn torch's errors of collective operations, which have many lines, into one line.

        Raises:
            UserError: a collective operation in the block has failed.
        """
        try:
            yield
        except RuntimeError as error:
            of_torch, text = isinstance(error, torch.distributed.DistError), str(error)
            if of_torch and is_in_use(error):
                raise UserError(in_use(os.environ.get("MASTER_ADDR", ""), os.environ.get("MASTER_PORT", ""))) from error
            if of_torch and any(kind in text for kind in NOT_LOST):
                raise UserError(
                    f"NCCL failed: {said(error)}; NCCL_DEBUG=INFO shows how NCCL is set up. Each process needs a GPU "
                    "of its own, and space in /dev/shm (docker run --shm-size)"
                ) from error
            if of_torch or "gloo" in text:
                raise UserError(f"{lost(self.timeout_minutes, self.wording)} ({said(error)})") from error
            raise


def lost(minutes: float, wording: Wording) -> str:
    """Return the message that another process has not answered within ``minutes``."""
    return (
        "lost contact with another process of this run: it has ended, its machine cannot be reached, or it has not "
        f"answered for {minutes:g} minutes ({wording.timeout}); its own last message, if there is one, says why; "
        f"{wording.again}"
    )


def local_rank_problem(local_rank: int, count: int) -> str | None:
    """Return what is wrong with LOCAL_RANK, with which accelerate and DDP choose the GPU, or None.

    Args:
        local_rank: its value.
        count: number of GPUs that this process sees.
    """
    if local_rank < count:
        return None
    return (
        f"LOCAL_RANK is {local_rank}, but only {count} {'GPU is' if count == 1 else 'GPUs are'} visible "
        f"(CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES')}); start one process per GPU, and "
        "set LOCAL_RANK=0 if each process sees only its own GPU"
    )


def check_accelerate(on_cpu: bool) -> None:
    """Refuse an accelerate configuration that would change the training unknown to the recipe: scale, cast, compile.

    Raises:
        UserError: names the variable and what to use instead.
    """
    harmless = dict(ACCELERATE_HARMLESS)
    if not on_cpu:
        harmless["ACCELERATE_USE_CPU"] = ("false", 'CUDA_VISIBLE_DEVICES=""')
    for name, (value, instead) in harmless.items():
        asked = os.environ.get(name, value)
        if asked.lower() != value:
            raise UserError(
                f"accelerate's configuration sets {name}={asked}, but only the recipe may say how a run trains; use "
                f"{instead}, and a configuration that only starts processes, such as pretrain/launch/gpus.yaml"
            )


def _keep_records(folder: Path) -> None:
    """Have NCCL's watchdog record the last operations of each process in ``FOLDER/nccl-rank-N`` before it ends one.

    Variables that the user has set are kept, also those with names from before torch 2.9.
    """
    if os.environ.get("RANK", "0") == "0":
        # NCCL does not create the folder, and may time out before the run has created it.
        folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("TORCH_NCCL_DUMP_ON_TIMEOUT", "1")
    if "TORCH_NCCL_TRACE_BUFFER_SIZE" not in os.environ:
        os.environ.setdefault("TORCH_FR_BUFFER_SIZE", "2000")
    if "TORCH_NCCL_DEBUG_INFO_TEMP_FILE" not in os.environ:
        os.environ.setdefault("TORCH_FR_DUMP_TEMP_FILE", str(folder / "nccl-rank-"))


def _meet_on_gpus(timeout: timedelta) -> None:
    """Create the process group with gloo and NCCL. accelerate would create one with NCCL only."""
    local_rank = int(os.environ["LOCAL_RANK"])
    if problem := local_rank_problem(local_rank, torch.cuda.device_count()):
        raise UserError(problem)
    device = torch.device("cuda", local_rank)
    torch.cuda.set_device(device)
    torch.distributed.init_process_group("cpu:gloo,cuda:nccl", timeout=timeout, device_id=device)
