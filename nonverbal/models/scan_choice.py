"""Chooses the kernel that computes the selective scan on a device, after a test of each kernel on a few numbers.

That a kernel's package can be imported does not show that it works: mamba-ssm may lack its CUDA code and report it only
when it is called, Triton needs a C compiler when it first launches a kernel, and both may be built for another torch or
device. This file needs only torch, and is copied into checkpoints.
"""

import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from .scan_kernel import library

Scan = Literal["auto", "mamba-ssm", "Triton", "C++", "PyTorch"]
"""Implementation of the scan; ``auto``: the first kernel that works, in the order of ``KERNELS``, or else PyTorch."""

KERNELS: dict[str, tuple[Scan, ...]] = {"cuda": ("mamba-ssm", "Triton"), "cpu": ("C++",)}
"""The kernels for each kind of device, in the order in which they are tried."""

MISSING = "it is not installed"
"""Reason for a kernel whose package is missing, which is not a fault if another kernel works."""

NEAR = 1e-3
"""Largest difference between a kernel's float32 results and those of the definition, relative to the largest value."""


@lru_cache(maxsize=16)
def scan_name(device: torch.device) -> Scan:
    """Return the implementation that ``auto`` chooses on a device.

    Warns once about a kernel that is installed but fails, and once if no kernel works.
    """
    failed = []
    for name in KERNELS.get(device.type, ()):
        if (why := refusal(name, device)) is None:
            break
        failed.append((name, why))
    else:
        name = "PyTorch"
    # No warning that mamba-ssm is missing if Triton works.
    if said := [f"{kernel} cannot be used ({why})" for kernel, why in failed if name == "PyTorch" or why != MISSING]:
        slow = ", which is many times slower" if name == "PyTorch" else ""
        warnings.warn(f"the selective scan uses {name}{slow}; {', and '.join(said)}", stacklevel=5)
    return name


def refusal(scan: Scan, device: torch.device) -> str | None:
    """Return why an implementation cannot run on a device, or None if it can."""
    if scan in ("auto", "PyTorch"):
        return None
    if scan not in KERNELS.get(device.type, ()):
        kinds = " or ".join(kind for kind, names in KERNELS.items() if scan in names)
        return f"it is for {kinds} devices"
    if scan == "C++":
        return built if isinstance(built := library(), str) else None
    return _tried(scan, device)


def kernel_for(scan: Scan, *tensors: Tensor) -> Scan:
    """Return the implementation for a scan of these tensors.

    Raises:
        RuntimeError: the requested kernel cannot be used.
    """
    device = tensors[0].device
    # Compilers and tracers only follow PyTorch's operations; their tensors are of other classes, without memory.
    followed = torch.compiler.is_compiling() or bool(torch._C._is_tracing())
    plain = all(type(value) in (Tensor, torch.nn.Parameter) and value.device == device for value in tensors)
    if followed or not plain or scan == "PyTorch":
        return "PyTorch"
    if scan == "auto":
        scan = scan_name(device)
    elif why := refusal(scan, device):
        raise RuntimeError(f"the selective scan cannot use {scan} on {device}: {why}")
    fits = tensors[0].numel() and all(value.dtype != torch.float64 for value in tensors)
    return scan if scan == "C++" or fits else "PyTorch"


def cuda_kernel(scan: Scan) -> Callable[..., Tensor] | None:
    """Return the function of a CUDA kernel, with the arguments of ``selective_scan``; None for other implementations.

    Raises:
        ImportError: its package is missing or incompatible.
    """
    if scan == "mamba-ssm":
        return _by_mamba_ssm
    if scan == "Triton":
        from .triton_scan import scan as by_triton

        return by_triton
    return None


@lru_cache(maxsize=16)
def _tried(scan: Scan, device: torch.device) -> str | None:
    """Compare a kernel's values and gradients on a few numbers with the definition. Returns what is wrong, or None."""
    try:
        kernel = cuda_kernel(scan)
        assert kernel is not None
        with torch.inference_mode(False), torch.set_grad_enabled(True), torch.autocast(device.type, enabled=False):
            inputs = _few(device)
            found = _with_gradients(kernel, inputs)
            expected = _with_gradients(_definition, [value.detach().double().requires_grad_() for value in inputs])
        apart = max(
            float((ours - theirs).abs().max() / theirs.abs().max())
            for ours, theirs in zip(found, expected, strict=True)
        )
    except ModuleNotFoundError as error:
        return MISSING if error.name == "mamba_ssm" else str(error)
    except Exception as error:  # a kernel built for another torch or device can fail in many ways
        return f"{type(error).__name__}: {error}"
    # Written so that NaN counts as different.
    return None if apart <= NEAR else f"its results are wrong: they differ by {apart:.1g} of the largest value"


def _few(device: torch.device) -> list[Tensor]:
    """Return arguments of ``selective_scan``, two rows of 20 steps. Drawn on the CPU, so the same for all devices."""
    random = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random)

    rows, steps, width, states = 2, 20, 64, 24
    u, delta, z = normal(3, rows, steps, width)
    b, c = normal(2, rows, steps, states)
    a = -torch.arange(1.0, states + 1).repeat(width, 1)
    inputs = (u, delta - 2, a, b, c, normal(width), z, normal(width))
    return [value.to(device).requires_grad_() for value in inputs]


def _definition(
    u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor, z: Tensor, bias: Tensor
) -> Tensor:
    dt = F.softplus(delta + bias)
    state, outputs = u.new_zeros(len(u), *a.shape), []
    for t in range(u.shape[1]):
        state = (dt[:, t, :, None] * a).exp() * state + (dt[:, t] * u[:, t])[..., None] * b[:, t, None]
        outputs.append((state * c[:, t, None]).sum(-1))
    return (torch.stack(outputs, 1) + d * u) * F.silu(z)


def _with_gradients(function: Callable[..., Tensor], inputs: list[Tensor]) -> list[Tensor]:
    output = function(*inputs)
    direction = torch.linspace(-1, 1, output.numel(), dtype=output.dtype, device=output.device).view(output.shape)
    return [output.detach(), *torch.autograd.grad(output, inputs, direction)]


def _by_mamba_ssm(
    u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor, z: Tensor, bias: Tensor
) -> Tensor:
    """Call mamba-ssm, which takes ``(N, D, T)``, one type for tensors with a time axis, and float32 for the others."""
    from mamba_ssm.ops.selective_scan_interface import selective_scan_fn

    kernel: Any = selective_scan_fn
    x, dt, b, c, gate = (value.to(u.dtype).transpose(1, 2).contiguous() for value in (u, delta, b, c, z))
    fixed = a.float().contiguous()
    y: Tensor = kernel(x, dt, fixed, b, c, d.float(), z=gate, delta_bias=bias.float(), delta_softplus=True)
    return y.transpose(1, 2)
