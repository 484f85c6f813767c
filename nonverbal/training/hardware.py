"""The hardware of a run: processor, GPUs, driver and libraries, for ``environment.json``.

Only the functions that need torch import it, because ``gpus`` works without it.
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
"""Facts about a GPU, with nvidia-smi's names for them."""

PATIENCE = 10.0
"""Seconds within which nvidia-smi must answer; on a faulty machine it may hang."""


def hardware() -> dict[str, Any]:
    """Return facts about this machine; unknown ones are None."""
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
    """Return nvidia-smi's facts about each GPU of this machine; empty if there is none, or nvidia-smi fails.

    They include GPUs that this process does not see (CUDA_VISIBLE_DEVICES).
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
    """Return None for a value that nvidia-smi does not know, which it puts in brackets: [N/A], [Not Supported]."""
    return None if value.startswith("[") else value.strip()


def _libraries() -> dict[str, Any]:
    """Return the versions of the libraries that torch uses on a GPU."""
    import torch

    if not torch.cuda.is_available():
        return {"cudnn": None, "nccl": None}
    # These modules are not annotated in every version of torch.
    cudnn: Any = torch.backends.cudnn
    nccl: Any = torch.cuda.nccl
    has_nccl = torch.distributed.is_nccl_available()
    return {"cudnn": cudnn.version(), "nccl": ".".join(map(str, nccl.version())) if has_nccl else None}
