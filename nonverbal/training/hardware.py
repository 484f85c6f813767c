"""What a run computes on: its processor, GPUs, driver and libraries, for ``environment.json``.

torch is imported where it is asked: who wants to know of GPUs alone does without.
"""

import shutil
import subprocess
from typing import Any

from nonverbal.system import processor_name

QUERY = {
    "name": "name",
    "driver": "driver_version",
    "sm_clock_mhz": "clocks.sm",
    "max_sm_clock_mhz": "clocks.max.sm",
    "power_limit_w": "power.limit",
    "max_power_limit_w": "power.max_limit",
    "memory_mib": "memory.total",
}
"""Facts of a GPU by what nvidia-smi calls them."""

PATIENCE = 10.0
"""Seconds that nvidia-smi has to answer; on a machine in trouble it may hang."""


def hardware() -> dict[str, Any]:
    """Return what there is to know of this machine; what it does not tell is None."""
    import torch

    return {
        "processor": processor_name(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "gpus": gpus(),
        "cuda": torch.version.cuda,
        **_libraries(),
    }


def gpus() -> list[dict[str, str | None]]:
    """Return the facts of each GPU of this machine, as nvidia-smi has them; empty where there is none, or it fails.

    GPUs that this process does not see (CUDA_VISIBLE_DEVICES) are among them.
    """
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    command = [program, f"--query-gpu={','.join(QUERY.values())}", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [line.split(", ") for line in told.stdout.splitlines() if line.strip()]
    return [dict(zip(QUERY, map(_known, row), strict=True)) for row in rows if len(row) == len(QUERY)]


def _known(value: str) -> str | None:
    """nvidia-smi puts unknown values in brackets: [N/A], [Not Supported]."""
    return None if value.startswith("[") else value.strip()


def _libraries() -> dict[str, Any]:
    """The versions of what torch calls on a GPU."""
    import torch

    if not torch.cuda.is_available():
        return {"cudnn": None, "nccl": None}
    # Not annotated in every version of torch.
    cudnn: Any = torch.backends.cudnn
    nccl: Any = torch.cuda.nccl
    has_nccl = torch.distributed.is_nccl_available()
    return {"cudnn": cudnn.version(), "nccl": ".".join(map(str, nccl.version())) if has_nccl else None}
