import ctypes
import multiprocessing
import os
import threading
import warnings

import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given
from hypothesis import strategies as st
from scans import assert_close, convolution, drawn, in_sequence, with_gradients
from transformers import MambaConfig
from transformers.models.mamba.modeling_mamba import MambaMixer

from nonverbal.models import scan_choice, scan_kernel
from nonverbal.models.selective_scan import causal_conv, selective_scan

EXACT = 1e-11
"""Of float64, with room for sums that cancel."""

BOTH = pytest.mark.parametrize("scan", ["C++", "PyTorch"])


@BOTH
@given(st.integers(1, 4), st.integers(1, 70), st.integers(1, 70), st.integers(1, 4), st.integers(1, 5))
@example(1, 1, 1, 1, 1)
@example(1, 65, 33, 3, 5)
def test_values_and_gradients_are_the_definition_s(scan, rows, steps, width, states, threads):
    inputs = drawn(rows, steps, width, states)
    expected = with_gradients(in_sequence, inputs)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = with_gradients(lambda *values: selective_scan(*values, scan=scan), inputs)
    finally:
        torch.set_num_threads(before)
    assert_close(found, expected, EXACT)


@BOTH
def test_float32_is_as_exact_as_the_definition_in_float32(scan):
    inputs = drawn(3, 250, 40, 24)
    narrow = [value.detach().float().requires_grad_() for value in inputs]
    expected = with_gradients(in_sequence, inputs)
    found = with_gradients(lambda *values: selective_scan(*values, scan=scan), narrow)
    assert_close(found, expected, 2e-6)


@BOTH
def test_a_tiny_case_by_hand(scan):
    # dt = log 2, as softplus(0); exp(dt A) = 1/2; z so large that silu(z) = z.
    u = torch.tensor([[[1.0], [2.0], [4.0]]], dtype=torch.float64)
    zero, one = torch.zeros_like(u), torch.ones_like(u)
    gate = torch.full_like(u, 64.0)
    found = selective_scan(u, zero, -one[0, :1], one, 3 * one, 10 * one[0, 0], gate, zero[0, 0], scan)
    ln2 = 0.6931471805599453
    # h = 1, 2.5, 5.25, times log 2
    expected = [64 * (3 * ln2 * h + 10 * x) for h, x in ((1, 1), (2.5, 2), (5.25, 4))]
    assert torch.allclose(found.flatten(), torch.tensor(expected, dtype=torch.float64))


@BOTH
def test_gradients_by_finite_differences(scan):
    assert torch.autograd.gradcheck(lambda *values: selective_scan(*values, scan=scan), drawn(2, 5, 3, 2))


@BOTH
def test_a_second_derivative_is_refused(scan):
    inputs = drawn(1, 3, 2, 2)
    total = selective_scan(*inputs, scan=scan).square().sum()
    gradient = torch.autograd.grad(total, inputs[0], create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        gradient[0].sum().backward()


@BOTH
def test_parts_of_a_projection_and_turned_tensors_are_taken_as_they_are(scan):
    u, delta, a, b, c, d, z, bias = drawn(2, 40, 20, 3)
    u, z = torch.cat([u, z], -1).chunk(2, -1)
    _, b, c = torch.cat([b[..., :1], b, c], -1).split([1, 3, 3], -1)
    delta = delta.transpose(1, 2).contiguous().transpose(1, 2)
    z = z[:1].expand(2, -1, -1)
    inputs = [u, delta, a.t().contiguous().t(), b, c, d.expand(2, -1)[1], z, bias]
    assert_close([selective_scan(*inputs, scan=scan)], [in_sequence(*inputs)], EXACT)


@BOTH
@pytest.mark.parametrize(("rows", "steps", "width"), [(0, 3, 4), (2, 0, 4), (2, 3, 0)])
def test_nothing_gives_nothing(scan, rows, steps, width):
    found = with_gradients(lambda *values: selective_scan(*values, scan=scan), drawn(rows, steps, width, 2))
    assert found[0].shape == (rows, steps, width)
    assert all(not gradient.any() for gradient in found[1:])


@BOTH
@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
@pytest.mark.parametrize("at", range(8))
def test_what_is_not_finite_shows_in_the_same_places(scan, wrong, at):
    inputs = [value.detach().float() for value in drawn(2, 40, 20, 3)]
    inputs[at].view(-1)[3] = wrong
    found = selective_scan(*inputs, scan=scan)
    assert torch.equal(found.isfinite(), in_sequence(*inputs).isfinite())
    assert not found.isfinite().all()


def test_states_that_grow_are_left_to_pytorch():
    inputs = [value.detach().float() for value in drawn(1, 10, 3, 2)]
    inputs[2][0, 0] = 500.0
    found, expected = selective_scan(*inputs), in_sequence(*inputs)
    assert torch.equal(found.isfinite(), expected.isfinite())
    assert torch.allclose(found[..., 1:], expected[..., 1:], atol=1e-5)


@BOTH
@pytest.mark.parametrize("autocast", [True, False])
def test_bfloat16_is_computed_in_float32(scan, autocast):
    inputs = [value.detach().float() for value in drawn(2, 60, 40, 24)]
    for at in (0, 1, 3, 4, 6):
        inputs[at] = inputs[at].bfloat16()
    expected = with_gradients(in_sequence, [value.double().requires_grad_() for value in inputs])
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        narrow = [value.requires_grad_() for value in inputs]
        found = with_gradients(lambda *values: selective_scan(*values, scan=scan), narrow)
    for value, given_ in zip(found, [inputs[0], *inputs], strict=True):
        assert value.dtype == given_.dtype
    # Half a unit in the last of 8 bits, and where the result is float32, its error.
    assert_close(found, expected, 2**-8)
    for ours, theirs in zip(found, expected, strict=True):
        if ours.dtype == torch.float32:
            assert (ours - theirs).abs().max() < 2e-6 * theirs.abs().max()


@BOTH
def test_autocast_does_not_round_what_is_float32(scan):
    inputs = [value.detach().float().requires_grad_() for value in drawn(2, 40, 20, 3)]
    expected = with_gradients(in_sequence, [value.detach().double().requires_grad_() for value in inputs])
    with torch.autocast("cpu", torch.bfloat16):
        found = with_gradients(lambda *values: selective_scan(*values, scan=scan), inputs)
    assert_close(found, expected, 2e-6)


def test_types_may_differ():
    inputs = [value.detach().float() for value in drawn(2, 40, 20, 3)]
    expected = in_sequence(*inputs)
    inputs[0], inputs[6] = inputs[0].half(), inputs[6].bfloat16()
    found = selective_scan(*inputs)
    assert found.dtype == torch.float16
    assert (found.float() - expected).abs().max() < 0.02 * expected.abs().max()


@pytest.mark.parametrize("at", range(1, 8))
def test_shapes_that_do_not_fit_are_refused(at):
    inputs = drawn(2, 4, 3, 2)
    inputs[at] = inputs[at][..., :1]
    with pytest.raises(ValueError, match="must have shape"):
        selective_scan(*inputs)


@BOTH
def test_nothing_is_kept_where_no_gradient_is_asked_for(scan):
    inputs = drawn(2, 40, 20, 3)
    with torch.no_grad():
        found = selective_scan(*inputs, scan=scan)
    assert not found.requires_grad
    assert_close([found], [in_sequence(*inputs)], EXACT)
    only = [value.detach() for value in inputs]
    only[4].requires_grad_()
    ours, theirs = (f(*only).sum() for f in (lambda *v: selective_scan(*v, scan=scan), in_sequence))
    assert_close(torch.autograd.grad(ours, only[4]), torch.autograd.grad(theirs, only[4]), EXACT)


@BOTH
def test_it_is_the_scan_of_transformers_mixer(scan):
    torch.manual_seed(0)
    mixer = MambaMixer(MambaConfig(hidden_size=8, state_size=3, expand=2, time_step_rank=2), layer_idx=0).double()
    hidden = torch.randn(2, 21, 8, dtype=torch.float64)
    x, gate = mixer.in_proj(hidden).chunk(2, -1)
    x = causal_conv(x, mixer.conv1d.weight[:, 0], mixer.conv1d.bias, scan)
    step, b, c = mixer.x_proj(x).split([2, 3, 3], -1)
    delta = F.linear(step, mixer.dt_proj.weight)
    y = selective_scan(x, delta, -mixer.A_log.exp(), b, c, mixer.D, gate, mixer.dt_proj.bias, scan)
    # It takes the decay and what goes into the states in float32.
    assert torch.allclose(mixer.out_proj(y), mixer.slow_forward(hidden), atol=1e-6)


@BOTH
@given(st.integers(1, 3), st.integers(1, 9), st.integers(1, 40), st.integers(1, 5))
def test_the_convolution_is_its_definition(scan, rows, steps, width, taps):
    torch.manual_seed(0)
    shapes = (rows, steps, 2 * width), (width, taps), (width,)
    x, weight, bias = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes)

    def part(function):
        return lambda x, *rest: function(x.chunk(2, -1)[1], *rest)

    found = with_gradients(part(lambda *values: causal_conv(*values, scan)), [x, weight, bias])
    assert_close(found, with_gradients(part(convolution), [x, weight, bias]), EXACT)


@BOTH
def test_the_convolution_in_bfloat16_under_autocast(scan):
    torch.manual_seed(0)
    x, weight, bias = torch.randn(2, 50, 33).bfloat16(), torch.randn(33, 4), torch.randn(33)
    with torch.autocast("cpu", torch.bfloat16):
        found = with_gradients(lambda *v: causal_conv(*v, scan), [v.requires_grad_() for v in (x, weight, bias)])
    expected = with_gradients(convolution, [v.detach().double().requires_grad_() for v in (x, weight, bias)])
    assert [value.dtype for value in found] == [x.dtype, x.dtype, weight.dtype, bias.dtype]
    assert_close(found, expected, 0.03)


def test_the_convolution_refuses_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match="weight must have shape"):
        causal_conv(torch.randn(2, 5, 3), torch.randn(1, 4), torch.randn(3))
    with pytest.raises(ValueError, match="bias must have shape"):
        causal_conv(torch.randn(2, 5, 3), torch.randn(3, 4), torch.randn(1))


def test_a_tracer_follows_pytorch():
    inputs = [value.detach() for value in drawn(2, 5, 3, 2)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(lambda *values: selective_scan(*values), tuple(inputs))
    others = [value.detach() for value in drawn(2, 5, 3, 2, seed=2)]
    assert_close([traced(*others)], [in_sequence(*others)], EXACT)


def test_meta_tensors_have_shapes_alone():
    assert selective_scan(*(value.to("meta") for value in drawn(2, 5, 3, 2))).shape == (2, 5, 3)


def in_child(inputs, expected, failed):
    failed.value = not torch.allclose(selective_scan(*inputs), expected)


def test_a_forked_process_runs_the_kernel_with_threads():
    inputs = [value.detach() for value in drawn(2, 5, 3, 2)]
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        expected = selective_scan(*inputs)
        context = multiprocessing.get_context("fork")
        failed = context.Value(ctypes.c_int, 2)
        child = context.Process(target=in_child, args=(inputs, expected, failed))
        child.start()
        child.join(60)
        child.kill()
    finally:
        torch.set_num_threads(before)
    assert failed.value == 0


def test_threads_may_call_it_at_once():
    inputs = [value.detach() for value in drawn(3, 60, 40, 4)]
    expected, found = selective_scan(*inputs), []
    threads = [threading.Thread(target=lambda: found.append(selective_scan(*inputs))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(value, expected) for value in found)
    assert len(found) == 4


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """An empty cache, of files and in memory."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CXX", raising=False)
    scan_kernel.library.cache_clear()
    scan_choice.scan_name.cache_clear()
    yield tmp_path
    scan_kernel.library.cache_clear()
    scan_choice.scan_name.cache_clear()


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def assert_falls_back(said):
    inputs = drawn(2, 40, 20, 3)
    with pytest.warns(UserWarning, match=said) as warned:
        found = with_gradients(selective_scan, inputs)
    assert len(warned) == 1
    assert_close(found, with_gradients(in_sequence, inputs), EXACT)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        selective_scan(*inputs)


def test_without_a_compiler_it_is_pytorch_and_said_once(fresh, monkeypatch):
    monkeypatch.setenv("PATH", str(fresh))
    assert_falls_back("no g\\+\\+ or clang")


def test_a_compiler_that_fails_is_quoted(fresh, monkeypatch):
    monkeypatch.setenv("CXX", script(fresh / "c++", "echo this is too old >&2; exit 1"))
    assert_falls_back("this is too old")


@pytest.mark.parametrize(
    ("value", "said"), [("g++ '", "CXX cannot be read .No closing quotation"), ("/none/g++", "CXX names /none/g\\+\\+")]
)
def test_a_compiler_that_is_not_there_is_named(fresh, monkeypatch, value, said):
    monkeypatch.setenv("CXX", value)
    assert_falls_back(said)


def test_what_cannot_be_loaded_is_not_kept(fresh, monkeypatch):
    monkeypatch.setenv("CXX", script(fresh / "c++", 'while [ "$1" != -o ]; do shift; done; echo no library > "$2"'))
    assert_falls_back("scan.so")
    assert not list(fresh.glob("cache/**/*.so"))


def test_a_compiler_that_hangs_is_not_waited_for(fresh, monkeypatch):
    monkeypatch.setattr(scan_kernel, "COMPILE_SECONDS", 0.5)
    monkeypatch.setenv("CXX", script(fresh / "c++", "sleep 5"))
    assert_falls_back("timed out")


def test_a_cache_that_cannot_be_written_serves_nobody_else(fresh):
    (fresh / "cache").write_text("a file where a folder should be")
    with pytest.warns(UserWarning, match="every process has to build .* set XDG_CACHE_HOME"):
        assert isinstance(scan_kernel.library(), ctypes.CDLL)


def test_a_damaged_cache_is_built_again_by_whoever_comes_at_once(fresh):
    cached = scan_kernel._cached()
    cached.parent.mkdir(parents=True)
    cached.write_text("damaged")
    found = []
    threads = [threading.Thread(target=lambda: found.append(scan_kernel._load())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    assert os.listdir(cached.parent) == [cached.name]
    assert ctypes.CDLL(str(cached)).forward_float


def test_a_user_without_a_home_gets_pytorch(fresh, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")

    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(scan_kernel.Path, "home", nowhere)
    assert_falls_back("XDG_CACHE_HOME")
