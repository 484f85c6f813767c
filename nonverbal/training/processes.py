"""The processes of a run: how many were asked for, how many there are, and what they do together."""

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
    """What messages call the settings of a command, and what they tell its user to do."""

    processes: str = "--trainer.processes"
    timeout: str = "trainer.timeout_minutes"
    again: str = "run the same command again to continue from the last checkpoint"
    memory: str = "lower batches.batch_seconds (fine-tuning: batches.batch_clips) or start fewer processes"


TRAINING = Wording()

NOT_LOST = ("invalid usage", "invalid argument", "unhandled cuda error", "unhandled system error")
"""What NCCL calls errors for which no other process is to blame."""

ACCELERATE_HARMLESS = {
    "ACCELERATE_MIXED_PRECISION": ("no", "accelerate launch --mixed_precision no, and --trainer.precision"),
    "ACCELERATE_DYNAMO_BACKEND": ("no", "accelerate launch --dynamo_backend no"),
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": ("1", "batches.batches_per_step"),
    "ACCELERATE_USE_DEEPSPEED": ("false", "--trainer.zero 1, 2 or 3"),
    "ACCELERATE_USE_FSDP": ("false", "--trainer.zero 1, 2 or 3"),
    "ACCELERATE_USE_MEGATRON_LM": ("false", "--trainer.zero 1, 2 or 3"),
    "ACCELERATE_USE_PARALLELISM_CONFIG": ("false", "--trainer.zero 1, 2 or 3"),
}
"""Variables by which accelerate's configuration reaches into training: the value that does nothing, and what to use
instead. accelerate reads them in every ``Accelerator``, whoever has set them."""


class Processes:
    """The processes that a launcher (nonverbal, accelerate, torchrun, srun) has started for this run.

    On GPUs tensors travel by NCCL, and the few numbers of the host, which ``add`` sums, by gloo: NCCL would have the
    host wait for all that the GPU has yet to do.

    Raises:
        UserError: there are not as many as were asked for (accelerate, told to start two on a CPU, starts one), or
            accelerate's configuration would change how the run trains.
    """

    def __init__(self, asked: int | None, timeout_minutes: float, records: Path, wording: Wording = TRAINING) -> None:
        """Meet the others.

        Args:
            asked: how many there must be; None: any number.
            timeout_minutes: longest that they wait for one another.
            records: folder for NCCL's records of what it was at when it timed out.
            wording: of the command that needs the processes.
        """
        on_cpu = not torch.cuda.is_available()
        if on_cpu:
            # DeepSpeed, which is imported wherever it is installed, otherwise warns that it finds no GPU.
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
            # Takes the process group as it is, where there is one.
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
        """Say whether this is the first process; the others wait until it has left the block."""
        yield self.is_first
        with self.in_contact():
            self.wait()

    def wait(self) -> None:
        """Return when all processes have come here. What the GPU has yet to do is not waited for."""
        self.add(0)

    def add(self, *numbers: float) -> list[float]:
        """Return the sum of each number over all processes, which must all give as many. One message for all.

        In double precision, so that whole numbers, and others of few binary digits, add up exactly in any order.
        """
        if self.world == 1:
            return list(numbers)
        # Kept until the next time: gloo's thread lets go of it after this one, and a thread that frees a tensor of
        # Python's waits for Python's lock, which hangs or aborts a process that is about to end.
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
        """Part from the others, when all have come to the end. Not after an error: the others may never come.

        NCCL may hang or complain where a process only exits. gloo needs nothing of the kind, and destroying its group
        joins threads that may wait for Python's lock.
        """
        if torch.distributed.is_initialized():
            with self.in_contact():
                self.state.wait_for_everyone()
            if self.device.type == "cuda":
                torch.distributed.destroy_process_group()

    @contextlib.contextmanager
    def in_contact(self) -> Iterator[None]:
        """Say in one line why the processes cannot go on together, which torch says in many.

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
                    f"NCCL failed: {said(error)}; NCCL_DEBUG=INFO shows how it set itself up. Each process needs a GPU "
                    "of its own, and room in /dev/shm (docker run --shm-size)"
                ) from error
            if of_torch or "gloo" in text:
                raise UserError(f"{lost(self.timeout_minutes, self.wording)} ({said(error)})") from error
            raise


def lost(minutes: float, wording: Wording) -> str:
    """Say that another process does not answer, which has waited for at most ``minutes``."""
    return (
        "lost contact with another process of this run: it has ended, its machine cannot be reached, or it has not "
        f"answered for {minutes:g} minutes ({wording.timeout}); its own last message, if it had time for one, says "
        f"why; {wording.again}"
    )


def local_rank_problem(local_rank: int, count: int) -> str | None:
    """Say what is wrong with LOCAL_RANK, by which accelerate and DDP choose the GPU; None where nothing is.

    Args:
        local_rank: its value.
        count: GPUs that this process sees.
    """
    if local_rank < count:
        return None
    return (
        f"LOCAL_RANK is {local_rank}, but only {count} {'GPU is' if count == 1 else 'GPUs are'} visible "
        f"(CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES')}); start one process a GPU, and give "
        "LOCAL_RANK=0 where each sees only its own"
    )


def check_accelerate(on_cpu: bool) -> None:
    """Refuse what accelerate's configuration would do to a run behind its recipe: scale losses, cast, compile.

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
                f"accelerate's configuration sets {name}={asked}, but how a run trains stands in its recipe alone: use "
                f"{instead}, and a configuration that only starts processes, such as pretrain/launch/gpus.yaml"
            )


def _keep_records(folder: Path) -> None:
    """Have NCCL's watchdog write what each process was at before it ends one: ``FOLDER/nccl-rank-N``, a pickle.

    What the user has set is left alone, also under the names that torch has used before 2.9.
    """
    if os.environ.get("RANK", "0") == "0":
        # NCCL does not make it, and may time out before the run has.
        folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("TORCH_NCCL_DUMP_ON_TIMEOUT", "1")
    if "TORCH_NCCL_TRACE_BUFFER_SIZE" not in os.environ:
        os.environ.setdefault("TORCH_FR_BUFFER_SIZE", "2000")
    if "TORCH_NCCL_DEBUG_INFO_TEMP_FILE" not in os.environ:
        os.environ.setdefault("TORCH_FR_DUMP_TEMP_FILE", str(folder / "nccl-rank-"))


def _meet_on_gpus(timeout: timedelta) -> None:
    """Make the process group. accelerate would make one of NCCL alone."""
    local_rank = int(os.environ["LOCAL_RANK"])
    if problem := local_rank_problem(local_rank, torch.cuda.device_count()):
        raise UserError(problem)
    device = torch.device("cuda", local_rank)
    torch.cuda.set_device(device)
    torch.distributed.init_process_group("cpu:gloo,cuda:nccl", timeout=timeout, device_id=device)
