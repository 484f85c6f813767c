"""Facts about the operating system and processor, and settings of the allocator and of GPUs."""

import ctypes
import importlib.metadata
import os
from pathlib import Path

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
"""Parameters of glibc's ``mallopt``."""

BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}
"""Linux's names for units that multiply bfloat16: the first two on x86, the last on Arm."""

ISA_WITHOUT_BF16 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI")
"""Values of ``ONEDNN_MAX_CPU_ISA`` with which oneDNN does not use bf16 units."""


def has_bf16_units() -> bool:
    """Return whether this processor has units for bfloat16. Without them, each product is emulated, which is slow.

    If the system does not list the processor's features, the answer is no.
    """
    held_to = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper()
    return held_to not in ISA_WITHOUT_BF16 and not BF16_FLAGS.isdisjoint(processor_flags())


def processor_flags() -> list[str]:
    """Return the features of the first processor that Linux lists; empty on other systems."""
    return (_processor("flags", "Features") or "").split()


def processor_name() -> str | None:
    """Return Linux's name for the first processor; None if it has none, as on most Arm systems."""
    return _processor("model name")


def _processor(*names: str) -> str | None:
    """Return the value of the first of ``names`` in /proc/cpuinfo, for the first processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n")
    except OSError:
        return None
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(names)), None)


def keep_freed_memory() -> None:
    """Have glibc's allocator keep freed memory instead of returning it to the system. No effect without glibc.

    A training step allocates and frees gigabytes. If the memory were new each time, the kernel would have to clear each
    page, which takes a tenth of a step.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "gnu_get_libc_version"):
        library.mallopt(M_MMAP_MAX, 0)
        library.mallopt(M_TRIM_THRESHOLD, -1)
        library.mallopt(M_TOP_PAD, 1 << 26)


def set_up_gpus() -> None:
    """Have GPUs compute float32 products in float32, and use PyTorch's attention kernels. No effect without a GPU.

    cuDNN would compute convolutions in TF32, with 10 bits of fraction. It would also compile its attention for each
    length and number of rows, which takes a tenth of a second on an H100, without being faster than PyTorch's.
    """
    import torch

    # These are the older of torch's two interfaces. If only the newer one is used, torch 2.9 raises an error when a
    # library reads the older one.
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.enable_cudnn_sdp(False)


def version_of(package: str) -> str | None:
    """Return the version of an installed package; None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
