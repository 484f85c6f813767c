"""The Triton kernels under Triton's interpreter, on a CPU: pytest runs this file in a process of its own, with
TRITON_INTERPRET=1 from its start."""

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scans import assert_close, convolution, drawn, in_sequence, with_gradients
from triton.runtime import interpreter

from nonverbal.models import triton_scan

FLOAT32 = 2e-6

HALF = 2**-7
"""The interpreter cuts off where a GPU rounds to the nearest: a unit in the last of 8 bits."""


def patch(tensor, before=interpreter._patch_lang_tensor):
    # Of one number in an array of one dimension, numpy 2.4 makes no int.
    before(tensor)
    tensor.__index__ = lambda self: int(self.handle.data.item())


interpreter._patch_lang_tensor = patch


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Programs of few steps and channels, so that small shapes have many: the interpreter is slow."""
    for name, value in {"CHUNK": 4, "BLOCK": 8}.items():
        monkeypatch.setattr(triton_scan, name, value)
    monkeypatch.setattr(triton_scan, "_CONV", {"STEPS": 4, "BLOCK": 8, "num_warps": 1})
    monkeypatch.setattr(triton_scan, "CONV_STEPS", 4)
    monkeypatch.setattr(triton_scan, "CONV_TILES", 2)
    monkeypatch.setattr(triton_scan, "CONV_BLOCK", 8)


def narrow(inputs, dtype=torch.float32):
    return [value.detach().to(dtype).requires_grad_() for value in inputs]


@settings(max_examples=5, deadline=None)
@given(st.integers(1, 2), st.integers(1, 10), st.integers(1, 18), st.integers(1, 3))
@example(1, 1, 1, 1)
@example(2, 9, 17, 3)
def test_values_and_gradients_are_the_definition_s(rows, steps, width, states):
    inputs = drawn(rows, steps, width, states)
    expected = with_gradients(in_sequence, inputs)
    assert_close(with_gradients(triton_scan.scan, narrow(inputs)), expected, FLOAT32)


def test_with_the_programs_that_run_on_a_gpu(monkeypatch):
    monkeypatch.undo()
    inputs = drawn(1, triton_scan.CHUNK + 1, triton_scan.BLOCK + 1, 5)
    expected = with_gradients(in_sequence, inputs)
    assert_close(with_gradients(triton_scan.scan, narrow(inputs)), expected, FLOAT32)
    x = torch.randn(1, triton_scan.CONV_STEPS + 1, triton_scan.CONV_BLOCK + 1, dtype=torch.float64)
    given_ = [value.requires_grad_() for value in (x, torch.randn(x.shape[2], 4).double(), x[0, 0].clone())]
    found = with_gradients(triton_scan.conv, narrow(given_))
    assert_close(found, with_gradients(convolution, given_), FLOAT32)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype):
    inputs = [value.detach().float() for value in drawn(2, 9, 10, 3)]
    for at in (0, 1, 3, 4, 6):
        inputs[at] = inputs[at].to(dtype)
    expected = with_gradients(in_sequence, narrow(inputs, torch.float64))
    found = with_gradients(triton_scan.scan, [value.requires_grad_() for value in inputs])
    assert [value.dtype for value in found] == [value.dtype for value in (inputs[0], *inputs)]
    assert_close(found, expected, HALF)
    exact = [(ours, theirs) for ours, theirs in zip(found, expected, strict=True) if ours.dtype == torch.float32]
    assert_close([ours for ours, _ in exact], [theirs for _, theirs in exact], FLOAT32)


def test_parts_of_a_projection_and_turned_tensors_are_taken_as_they_are():
    u, delta, a, b, c, d, z, bias = (value.detach().float() for value in drawn(2, 9, 10, 3))
    u, z = torch.cat([u, z], -1).chunk(2, -1)
    _, b, c = torch.cat([b[..., :1], b, c], -1).split([1, 3, 3], -1)
    delta = delta.transpose(1, 2).contiguous().transpose(1, 2)
    z = z[:1].expand(2, -1, -1)
    inputs = [u, delta, a.t().contiguous().t(), b, c, d.expand(2, -1)[1], z, bias]
    found = with_gradients(triton_scan.scan, [value.requires_grad_() for value in inputs])
    assert_close(found, with_gradients(in_sequence, narrow(inputs, torch.float64)), FLOAT32)


def test_nothing_is_kept_where_no_gradient_is_asked_for(monkeypatch):
    inputs = narrow(drawn(2, 9, 10, 3))
    expected = triton_scan.scan(*inputs)
    sizes: list[tuple[object, ...]] = []
    empty = torch.empty

    def counted(*size, **rest):
        sizes.append(size)
        return empty(*size, **rest)

    monkeypatch.setattr(torch, "empty", counted)
    with torch.no_grad():
        assert torch.equal(triton_scan.scan(*inputs), expected)
    assert torch.equal(triton_scan.scan(*(value.detach() for value in inputs)), expected)
    assert sizes.count((2, 1, 3, 10)) == 2
    triton_scan.scan(*inputs)
    assert sizes.count((2, 2, 3, 10)) == 1


def test_a_second_derivative_is_refused():
    inputs = narrow(drawn(1, 3, 2, 2))
    gradient = torch.autograd.grad(triton_scan.scan(*inputs).square().sum(), inputs[0], create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        gradient[0].sum().backward()


@pytest.mark.parametrize("at", range(8))
def test_what_is_not_finite_shows_in_the_same_places(at):
    inputs = [value.detach().float() for value in drawn(2, 6, 10, 2)]
    inputs[at].view(-1)[3] = float("nan")
    found = triton_scan.scan(*inputs)
    assert torch.equal(found.isfinite(), in_sequence(*inputs).isfinite())
    assert not found.isfinite().all()


def test_small_step_sizes_are_not_lost():
    inputs = drawn(1, 5, 4, 2)
    inputs[1] = (inputs[1].detach() - 10).requires_grad_()
    expected = with_gradients(in_sequence, inputs)
    assert_close(with_gradients(triton_scan.scan, narrow(inputs)), expected, FLOAT32)


@settings(max_examples=5, deadline=None)
@given(st.integers(1, 2), st.integers(1, 20), st.integers(1, 10), st.integers(1, 5))
@example(2, 19, 9, 4)
def test_the_convolution_is_its_definition(rows, steps, width, taps):
    torch.manual_seed(0)
    shapes = (rows, steps, 2 * width), (width, taps), (width,)
    inputs = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]

    def part(function):
        return lambda x, *rest: function(x.chunk(2, -1)[1], *rest)

    found = with_gradients(part(triton_scan.conv), narrow(inputs))
    assert_close(found, with_gradients(part(convolution), inputs), FLOAT32)


def test_the_convolution_in_bfloat16():
    torch.manual_seed(0)
    x, weight, bias = torch.randn(2, 9, 10).bfloat16(), torch.randn(10, 4), torch.randn(10)
    found = with_gradients(triton_scan.conv, [value.requires_grad_() for value in (x, weight, bias)])
    assert [value.dtype for value in found] == [x.dtype, x.dtype, torch.float32, torch.float32]
    expected = with_gradients(convolution, narrow([x, weight, bias], torch.float64))
    assert_close(found, expected, HALF)
    assert_close(found[2:], expected[2:], FLOAT32)
