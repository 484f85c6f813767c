"""What is asked of the operating system."""

import ctypes
import importlib.metadata
import os
from pathlib import Path

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
"""Of glibc's ``mallopt``."""

BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}
"""What Linux calls units that multiply bfloat16: on x86 the first two, on Arm the last."""

ISA_WITHOUT_BF16 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI")
"""Instruction sets to which ``ONEDNN_MAX_CPU_ISA`` may hold oneDNN, and that leave bf16 units unused."""


def has_bf16_units() -> bool:
    """Whether this processor multiplies bfloat16 in units of its own. Elsewhere each product is emulated, slowly.

    Where the system does not tell, there are none.
    """
    held_to = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper()
    return held_to not in ISA_WITHOUT_BF16 and not BF16_FLAGS.isdisjoint(processor_flags())


def processor_flags() -> list[str]:
    """Return what Linux says that the first processor can do; empty on other systems."""
    return (_processor("flags", "Features") or "").split()


def processor_name() -> str | None:
    """Return what Linux calls the first processor; None where it has no name, as on most of Arm."""
    return _processor("model name")


def _processor(*names: str) -> str | None:
    """What /proc/cpuinfo says of the first processor, by any of ``names``."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n")
    except OSError:
        return None
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(names)), None)


def keep_freed_memory() -> None:
    """Have glibc's allocator keep what is freed, rather than give it back to the system; nothing without glibc.

    A training step takes and frees gigabytes. Where they are new each time, the kernel clears every page of them, which
    is a tenth of a step.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "gnu_get_libc_version"):
        library.mallopt(M_MMAP_MAX, 0)
        library.mallopt(M_TRIM_THRESHOLD, -1)
        library.mallopt(M_TOP_PAD, 1 << 26)


def set_up_gpus() -> None:
    """Have GPUs compute float32 in float32, and attend by kernels that are there already; nothing without a GPU.

    cuDNN would convolve in TF32, with 10 bits of fraction. And it would compile its attention anew for each length and
    number of rows, a tenth of a second on an H100, to be no faster afterwards than the one that comes with PyTorch.
    """
    import torch

    # The older of torch's two ways to say so: after the newer one alone, torch 2.9 refuses to tell what the older says,
    # and libraries still ask.
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.enable_cudnn_sdp(False)


def version_of(package: str) -> str | None:
    """Return the version of an installed package; None where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
