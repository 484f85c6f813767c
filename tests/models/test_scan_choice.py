import builtins
import sys
import types
import warnings

import pytest
import torch
from scans import assert_close, drawn, in_sequence, with_gradients

from nonverbal.errors import UserError
from nonverbal.models import scan_choice
from nonverbal.models.audio_mamba import AudioMambaConfig, AudioMambaForPreTraining, Mixer
from nonverbal.models.scan_choice import scan_name
from nonverbal.models.selective_scan import causal_conv, selective_scan
from nonverbal.models.ssam import use_scan

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def afresh():
    """No kernel has been tried."""
    for cached in (scan_choice.scan_name, scan_choice._tried):
        cached.cache_clear()
    yield
    for cached in (scan_choice.scan_name, scan_choice._tried):
        cached.cache_clear()


@pytest.fixture
def like_cuda(monkeypatch):
    """CUDA's kernels, for the CPU, on which a stand-in runs."""
    monkeypatch.setattr(scan_choice, "KERNELS", {"cpu": ("mamba-ssm", "Triton")})


def mamba_ssm_like(u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False):
    """mamba-ssm's function: what its kernel checks (csrc/selective_scan/selective_scan.cpp), and its meaning."""
    rows, width, steps = u.shape
    assert delta.shape == z.shape == u.shape
    assert B.shape == C.shape == (rows, A.shape[1], steps)
    assert D.shape == delta_bias.shape == (width,)
    assert u.dtype == delta.dtype == B.dtype == C.dtype == z.dtype
    assert u.dtype in (torch.float32, torch.float16, torch.bfloat16)
    assert A.dtype == D.dtype == delta_bias.dtype == torch.float32
    assert all(value.is_contiguous() for value in (u, delta, A, B, C, D, z, delta_bias))
    assert delta_softplus
    u, delta, B, C, z = (value.transpose(1, 2).float() for value in (u, delta, B, C, z))
    return in_sequence(u, delta, A, B, C, D, z, delta_bias).transpose(1, 2)


def install(monkeypatch, function):
    """Put a package mamba_ssm of this function where it is imported from."""
    interface = types.ModuleType("mamba_ssm.ops.selective_scan_interface")
    interface.selective_scan_fn = function
    for name in ("mamba_ssm", "mamba_ssm.ops"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, interface.__name__, interface)


def without_kernel(*_, **__):
    """As newer sources that were installed without CUDA's compiler."""
    raise NameError("name 'selective_scan_cuda' is not defined")


def of_wrong_values(*args, **options):
    return 1.01 * mamba_ssm_like(*args, **options)


class WrongGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, value):
        return value.clone()

    @staticmethod
    def backward(ctx, grad):
        return 1.01 * grad


def of_wrong_gradients(u, *rest, **options):
    return mamba_ssm_like(WrongGradient.apply(u).contiguous(), *rest, **options)


def of_no_number(*args, **options):
    return mamba_ssm_like(*args, **options) * float("nan")


def floats(seed=0):
    return [value.detach().float().requires_grad_() for value in drawn(2, 40, 20, 3, seed=seed)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_mamba_ssm_gets_what_it_wants_where_it_works(monkeypatch, like_cuda, dtype):
    install(monkeypatch, mamba_ssm_like)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert scan_name(CPU) == "mamba-ssm"
    inputs = [value.detach() for value in floats()]
    inputs[0] = inputs[0].to(dtype)
    expected = in_sequence(*(value.float() for value in inputs))
    found = selective_scan(*inputs)
    assert (found - expected).abs().max() < (0.03 if dtype == torch.bfloat16 else 1e-5) * expected.abs().max()


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (without_kernel, "NameError: name 'selective_scan_cuda' is not defined"),
        (of_wrong_values, "its results are wrong: they differ by 0.01 of the largest value"),
        (of_wrong_gradients, "its results are wrong: they differ by 0.01 of the largest value"),
        (of_no_number, "its results are wrong: they differ by nan"),
    ],
)
def test_a_mamba_ssm_that_does_not_work_is_left_out_and_said_once(monkeypatch, like_cuda, function, why):
    install(monkeypatch, function)
    with pytest.warns(
        UserWarning, match="uses PyTorch, which is many times slower; mamba-ssm cannot be used"
    ) as warned:
        found = with_gradients(selective_scan, floats())
    assert len(warned) == 1
    assert f"mamba-ssm cannot be used ({why}" in str(warned[0].message)
    assert_close(found, with_gradients(in_sequence, floats()), 2e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        selective_scan(*floats())


def fail_import(monkeypatch, error):
    def importing(name, *rest):
        if name.startswith("mamba_ssm"):
            raise error
        return before(name, *rest)

    before = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", importing)


def test_what_fails_at_the_import_is_quoted(monkeypatch, like_cuda):
    fail_import(monkeypatch, ImportError("selective_scan_cuda.so: undefined symbol"))
    assert scan_choice.refusal("mamba-ssm", CPU) == "ImportError: selective_scan_cuda.so: undefined symbol"


def test_triton_without_a_driver_is_said(monkeypatch, like_cuda):
    pytest.importorskip("triton")
    fail_import(monkeypatch, ModuleNotFoundError("No module named 'mamba_ssm'", name="mamba_ssm"))
    if torch.cuda.is_available():
        pytest.skip("there is a driver")
    with pytest.warns(
        UserWarning, match="; mamba-ssm cannot be used .it is not installed., and Triton cannot be used .RuntimeError"
    ):
        assert scan_name(CPU) == "PyTorch"


def test_nothing_is_said_of_what_is_not_installed_where_another_works(monkeypatch, like_cuda):
    fail_import(monkeypatch, ModuleNotFoundError("No module named 'mamba_ssm'", name="mamba_ssm"))
    kernels = {"mamba-ssm": scan_choice.cuda_kernel("mamba-ssm"), "Triton": in_sequence}
    monkeypatch.setattr(scan_choice, "cuda_kernel", kernels.get)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert scan_name(CPU) == "Triton"


def test_a_kernel_is_tried_whatever_surrounds_the_first_call(monkeypatch, like_cuda):
    install(monkeypatch, mamba_ssm_like)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert scan_name(CPU) == "mamba-ssm"


def test_a_scan_that_is_asked_for_runs_or_says_why_it_cannot(monkeypatch):
    inputs = floats()
    expected = in_sequence(*inputs)
    for scan in ("C++", "PyTorch"):
        assert_close([selective_scan(*inputs, scan=scan)], [expected], 2e-6)
    with pytest.raises(RuntimeError, match="cannot use Triton on cpu: it is for cuda devices"):
        selective_scan(*inputs, scan="Triton")
    with pytest.raises(RuntimeError, match="cannot use mamba-ssm on cpu: it is for cuda devices"):
        causal_conv(torch.randn(1, 4, 3), torch.randn(3, 4), torch.randn(3), "mamba-ssm")


def test_a_model_s_blocks_take_the_scan_that_a_recipe_names():
    model = AudioMambaForPreTraining(AudioMambaConfig(hidden_size=8, num_hidden_layers=2, state_size=2))
    assert use_scan(model, "auto", CPU) == scan_name(CPU) == "C++"
    assert use_scan(model, "PyTorch", CPU) == "PyTorch"
    assert [module.scan for module in model.modules() if isinstance(module, Mixer)] == ["PyTorch"] * 2
    with pytest.raises(UserError, match="ssam.scan is Triton.*on cpu: it is for cuda devices; .*--ssam.scan auto"):
        use_scan(model, "Triton", CPU)


def test_a_scan_without_a_compiler_is_refused_with_the_reason(monkeypatch):
    monkeypatch.setattr(scan_choice, "library", lambda: "no g++ or clang++ was found")
    with pytest.raises(UserError, match="ssam.scan is C..,.*no g.. or clang.. was found"):
        use_scan(torch.nn.Identity(), "C++", CPU)
