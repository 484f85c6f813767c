import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from patience import HANGS
from scans import assert_close, convolution, drawn, in_sequence, with_gradients

from nonverbal.models.selective_scan import causal_conv, selective_scan

HERE = Path(__file__).parent

COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from nonverbal.models import triton_kernels, triton_scan

NARROW = {"u", "delta", "z", "out", "grad", "du", "ddelta", "dz", "x", "dx"}
SIZES = {"rows", "steps", "width", "padded", "slots", "row", "step"}
constants = {"STATES": 24, "CHUNK": triton_scan.CHUNK, "BLOCK": triton_scan.BLOCK, "KEEP": True}
conv = {"TAPS": 4, "STEPS": triton_scan.CONV_STEPS, "TILES": triton_scan.CONV_TILES, "BLOCK": triton_scan.CONV_BLOCK}
for name in ("scan_forward", "scan_backward", "conv_forward", "conv_backward"):
    kernel = getattr(triton_kernels, name)
    fixed = {**constants, **(conv if "conv" in name else {})}
    fixed = {key: value for key, value in fixed.items() if key in kernel.arg_names}
    types, known = {}, {}
    for at, argument in enumerate(kernel.arg_names):
        size = argument in SIZES or argument.endswith(("_row", "_step"))
        array = "*bf16" if argument in NARROW else "*fp32"
        types[argument] = "constexpr" if argument in fixed else "i32" if size else array
        if argument not in {*fixed, "rows", "steps", "padded", "slots"}:
            known[at,] = [["tt.divisibility", 16]]
    warps = triton_scan.CONV_WARPS if "conv" in name else triton_scan.WARPS
    built = triton.compile(ASTSource(kernel, types, fixed, known), GPUTarget("cuda", 90, 32), {"num_warps": warps})
    print(name, len(built.asm["cubin"]))
"""


@pytest.mark.processes
@pytest.mark.slow  # several processes, or a compiler, that import torch
def test_values_and_gradients_under_the_interpreter():
    pytest.importorskip("triton")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(HERE / "interpreted_scans.py")]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    ran = subprocess.run(command, env=environment, cwd=HERE.parents[1], capture_output=True, text=True, timeout=HANGS)
    assert ran.returncode == 0, ran.stdout[-5000:] + ran.stderr[-2000:]
    assert re.search(r"\d\d passed", ran.stdout), ran.stdout


@pytest.mark.processes
def test_the_kernels_compile_for_a_gpu_without_one(tmp_path):
    pytest.importorskip("triton")
    source = tmp_path / "compile_kernels.py"
    source.write_text(COMPILE)
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment |= {"TRITON_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(HERE.parents[1])}
    ran = subprocess.run([sys.executable, source], env=environment, capture_output=True, text=True, timeout=HANGS)
    assert ran.returncode == 0, ran.stderr[-5000:]
    assert re.findall(r"(\w+) \d{4,}", ran.stdout) == ["scan_forward", "scan_backward", "conv_forward", "conv_backward"]


@pytest.mark.gpu
@pytest.mark.parametrize("scan", ["Triton", "mamba-ssm"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(2, 251, 576, 24), (3, 1, 33, 5), (1, 70, 2304, 16)])
def test_a_gpu_s_scan_agrees_and_repeats_itself(scan, dtype, shape):
    if scan == "mamba-ssm":
        pytest.importorskip("mamba_ssm")
    inputs = [value.detach().float() for value in drawn(*shape)]
    for at in (0, 1, 3, 4, 6):
        inputs[at] = inputs[at].to(dtype)
    expected = with_gradients(in_sequence, [value.double().requires_grad_() for value in inputs])
    given = [value.cuda().requires_grad_() for value in inputs]
    found, again = (with_gradients_on_gpu(lambda *values: selective_scan(*values, scan=scan), given) for _ in range(2))
    assert_close([value.cpu().double() for value in found], expected, 1e-5 if dtype == torch.float32 else 2**-7)
    assert scan != "Triton" or all(torch.equal(ours, theirs) for ours, theirs in zip(found, again, strict=True))


@pytest.mark.gpu
def test_more_elements_than_32_bits_count():
    # Rows of 2^31 elements and more in all; what only the last row holds must come out as it does alone.
    rows, steps, width = 260, 2048, 4224
    x = torch.zeros(rows, steps, width, dtype=torch.bfloat16, device="cuda")
    x[-1] = torch.randn(steps, width, device="cuda")
    weight, bias = torch.randn(width, 4, device="cuda"), torch.randn(width, device="cuda")
    assert torch.equal(causal_conv(x, weight, bias, "Triton")[-1:], causal_conv(x[-1:].clone(), weight, bias, "Triton"))
    a = -torch.ones(width, 2, device="cuda")
    b, c = torch.randn(2, 1, steps, 2, device="cuda")
    many = [x, x, a, b.expand(rows, -1, -1), c.expand(rows, -1, -1), bias, x, bias]
    with torch.no_grad():
        found = selective_scan(*many, scan="Triton")[-1:]
        alone = [value[-1:] if value.ndim == 3 else value for value in many]
        assert torch.equal(found, selective_scan(*alone, scan="Triton"))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_gpu_s_convolution_agrees(dtype):
    torch.manual_seed(0)
    inputs = [torch.randn(2, 251, 577).to(dtype), torch.randn(577, 4), torch.randn(577)]
    expected = with_gradients(convolution, [value.double().requires_grad_() for value in inputs])
    given = [value.cuda().requires_grad_() for value in inputs]
    found = with_gradients_on_gpu(lambda *values: causal_conv(*values, "Triton"), given)
    assert_close([value.cpu().double() for value in found], expected, 1e-5 if dtype == torch.float32 else 2**-7)


def with_gradients_on_gpu(function, inputs):
    output = function(*inputs)
    direction = torch.randn(output.shape, generator=torch.Generator().manual_seed(1)).bfloat16().to(output)
    return [output, *torch.autograd.grad(output, inputs, direction)]
