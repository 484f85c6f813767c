import json
import os
import signal
import socket
import subprocess
import sys
from datetime import timedelta
from types import SimpleNamespace

import pytest
import torch
from patience import HANGS
from tiny_runs import CLIPS, TORCHRUN, command_of, environment

from nonverbal.errors import UserError
from nonverbal.evaluation.encoders import models
from nonverbal.training import processes
from nonverbal.training.launching import check as launch_check
from nonverbal.training.launching import launch
from nonverbal.training.processes import Processes, check_accelerate
from pretrain import train

ADDING = """
import sys
from pathlib import Path
from nonverbal.training.processes import Processes
found = Processes(2, 1.0, Path("."))
# In one piece: both processes write here.
sys.stderr.write(f"{found.add(found.rank, 10 + found.rank, 1)} {found.add(2**40)}\\n")
found.wait()
found.leave()
"""

ABORTING = """
import os, sys, time
from nonverbal.training.launching import launch
launch.GRACE = 0.5
launch.torch.cuda.is_available = lambda: len(sys.argv) > 1
launch.launch(2, 7.5)
if os.environ["RANK"] == "1":
    os.abort()
time.sleep(1000)
"""

MEETING = """
from pathlib import Path
from nonverbal.training.processes import Processes
Processes(2, 1.0, Path("."))
"""

LEAVING = """
import multiprocessing, os, runpy, sys, torch.distributed
sys.argv = sys.argv[1:]
end = os._exit
def say_and_end(code):
    text = "ends in its group" if torch.distributed.is_initialized() else "has left its group"
    if multiprocessing.parent_process() is None:
        print(text, file=sys.stderr, flush=True)
    end(code)
os._exit = say_and_end
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run(tmp_path, script, *arguments, launcher=(sys.executable,), variables=None):
    path = tmp_path / "script.py"
    path.write_text(script)
    command = [*launcher, str(path), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, env=environment() | (variables or {}), timeout=HANGS, check=False
    )


@pytest.mark.processes
def test_numbers_of_two_processes_are_added_in_one_message(tmp_path):
    result = run(tmp_path, ADDING, launcher=(*TORCHRUN, "2"))
    assert result.returncode == 0, result.stderr
    assert result.stderr.count(f"[1.0, 21.0, 2.0] [{2.0**41}]") == 2


def test_a_process_alone_adds_nothing(tmp_path):
    alone = Processes(1, 1.0, tmp_path)
    assert alone.add(3, 4) == [3, 4]
    alone.wait()
    alone.leave()


def aborted(tmp_path, *arguments):
    """What the launcher says of a process that ends itself by SIGABRT."""
    result = run(tmp_path, ABORTING, *arguments)
    assert result.returncode == 128 + signal.SIGABRT
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("nonverbal:")]
    return line


@pytest.mark.processes
def test_a_process_that_nccl_aborts_has_lost_contact(tmp_path):
    line = aborted(tmp_path, "on GPUs")
    assert line.startswith(
        "nonverbal: process 1 was ended by SIGABRT: usually NCCL's watchdog, after a CUDA error (see above) or a "
        "timeout: lost contact with another process of this run"
    )
    assert "not answered for 7.5 minutes (trainer.timeout_minutes)" in line
    assert line.endswith("run the same command again to continue from the last checkpoint")


@pytest.mark.processes
def test_without_gpus_an_abort_is_not_put_down_to_nccl(tmp_path):
    assert aborted(tmp_path) == (
        "nonverbal: process 1 was ended by SIGABRT; its own lines above say why; run the same command again to "
        "continue from the last checkpoint"
    )


def test_the_launcher_speaks_of_the_settings_of_its_command(monkeypatch):
    for name in launch.LAUNCHED:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UserError, match="^--trainer.processes asks for 2, one per GPU, but this machine has 1$"):
        launch.launch(2, 1.0)
    with pytest.raises(UserError, match="^--processes asks for 2, one per GPU, but this machine has 1$"):
        launch.launch(2, 1.0, launch_check.WORDING)
    children = object.__new__(launch._Children)
    children.timeout_minutes, children.wording = 1.0, launch_check.WORDING
    for available in (False, True):
        monkeypatch.setattr(torch.cuda, "is_available", lambda available=available: available)
        for number in (signal.SIGKILL, signal.SIGABRT):
            meaning = children._meaning(number)
            assert meaning.endswith("; run the check again after the remedy")
            assert "trainer." not in meaning
            assert "batches." not in meaning


def test_a_signal_outside_of_training_is_called_so(capsys):
    children = object.__new__(launch._Children)
    children.signals = SimpleNamespace(came=signal.SIGUSR1)
    assert children._code(1, -signal.SIGUSR1) == 128 + signal.SIGUSR1
    assert capsys.readouterr().err == "nonverbal: SIGUSR1 before or after the training\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_that_comes_when_all_is_saved_does_not_end_the_run(number):
    before = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGUSR1)}
    came = []
    # Fails the test, where the default would end it.
    signal.signal(number, lambda *_: came.append(number))
    left = []

    def leave():
        os.kill(os.getpid(), number)
        left.append(True)

    try:
        train.part(SimpleNamespace(leave=leave))
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
    assert (left, came) == ([True], [])


@pytest.mark.processes
def test_finished_processes_end_without_a_complaint(tmp_path, make_shards):
    command = command_of(make_shards(CLIPS).folder, tmp_path / "run", "trainer.steps=3")
    result = run(tmp_path, LEAVING, *command[1:], launcher=(*TORCHRUN, "2"))
    assert result.returncode == 0, result.stderr
    # Each ends at once: gloo's threads may keep a normal exit waiting.
    assert result.stderr.count("ends in its group") == 2
    assert "destroy_process_group" not in result.stderr
    assert "terminate called" not in result.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[Rank 1] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=3)", "lost contact"),
        ("NCCL error in: x.cpp:1, remote process exited or there was a network error", "lost contact"),
        ("NCCL error, remote process exited\nException raised from x.cpp:1", r"\(NCCL error, remote process exited\)$"),
        (
            "NCCL error in: x.cpp:1, unhandled system error (run with NCCL_DEBUG=INFO for details)\nLast error:\n"
            "Error while creating shared memory segment /dev/shm/nccl-a (size 9637888), error: No space left on device",
            "NCCL failed: .*No space left on device.*docker run --shm-size",
        ),
        ("NCCL error in: x.cpp:1, invalid usage\nDuplicate GPU detected", "NCCL failed: .* Duplicate GPU"),
        ("NCCL error in: x.cpp:1, unhandled cuda error\nout of memory", "NCCL failed: .*out of memory"),
    ],
)
def test_what_nccl_says_is_told_in_one_line(tmp_path, text, said):
    alone = Processes(None, 1.0, tmp_path)
    with pytest.raises(UserError, match=said), alone.in_contact():
        raise torch.distributed.DistBackendError(text)


def test_what_gloo_says_is_told_with_it(tmp_path):
    alone = Processes(None, 1.0, tmp_path)
    told = r"lost contact .* \(\[gloo/pair.cc:5\] Connection closed by peer\)$"
    with pytest.raises(UserError, match=told), alone.in_contact():
        raise RuntimeError("[gloo/pair.cc:5] Connection closed by peer")


@pytest.mark.processes
def test_a_port_in_use_is_named(tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        names = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        result = run(tmp_path, MEETING, variables=names)
    assert result.returncode == 1
    assert f"UserError: port {port} of 127.0.0.1 is in use by another program" in result.stderr
    assert "lost contact" not in result.stderr


def test_other_errors_are_left_as_they_are(tmp_path):
    with pytest.raises(RuntimeError, match="^invalid argument$"), Processes(None, 1.0, tmp_path).in_contact():
        raise RuntimeError("invalid argument")


def test_on_gpus_numbers_go_by_gloo_and_tensors_by_nccl(tmp_path, monkeypatch):
    asked = []
    for name, value in {"is_available": True, "device_count": 4, "set_device": None}.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda *given, **named: asked.append((given, named)))

    class State:
        num_processes, process_index, device, is_main_process = 2, 1, "cuda:1", False

    monkeypatch.setattr(processes, "PartialState", lambda **_: State())
    names = {"LOCAL_RANK": "1", "WORLD_SIZE": "2", "TORCH_FR_BUFFER_SIZE": "9"}
    monkeypatch.setattr(os, "environ", names | {"RANK": "1"})
    Processes(2, 3.0, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    device = torch.device("cuda", 1)
    assert asked == [(("cpu:gloo,cuda:nccl",), {"timeout": timedelta(minutes=3), "device_id": device})]
    assert os.environ["TORCH_NCCL_DUMP_ON_TIMEOUT"] == "1"
    assert os.environ["TORCH_FR_DUMP_TEMP_FILE"] == str(tmp_path / "run/nccl-rank-")
    assert os.environ["TORCH_FR_BUFFER_SIZE"] == "9"
    # NCCL does not make the folder of its records, and the first time-out may come before the run does.
    monkeypatch.setattr(os, "environ", names | {"RANK": "0", "LOCAL_RANK": "0"})
    monkeypatch.setattr(
        torch.distributed, "init_process_group", lambda *_, **__: (tmp_path / "run/nccl-rank-0").touch()
    )
    Processes(2, 3.0, tmp_path / "run")
    # accelerate would have DDP take the GPU of this number.
    monkeypatch.setattr(os, "environ", names | {"LOCAL_RANK": "4", "CUDA_VISIBLE_DEVICES": "0,1,2,3"})
    with pytest.raises(UserError, match=r"LOCAL_RANK is 4, but only 4 GPUs are visible \(CUDA_VISIBLE_DEVICES=0,1,2,3"):
        Processes(2, 3.0, tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "instead"),
    [
        ("ACCELERATE_MIXED_PRECISION", "fp16", "accelerate launch --mixed_precision no, and --trainer.precision"),
        ("ACCELERATE_MIXED_PRECISION", "bf16", "--trainer.precision"),
        ("ACCELERATE_DYNAMO_BACKEND", "INDUCTOR", "--dynamo_backend no"),
        ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4", "batches.batches_per_step"),
        ("ACCELERATE_USE_DEEPSPEED", "true", "--trainer.zero"),
        ("ACCELERATE_USE_FSDP", "true", "--trainer.zero"),
        ("ACCELERATE_USE_MEGATRON_LM", "true", "--trainer.zero"),
        ("ACCELERATE_USE_PARALLELISM_CONFIG", "true", "--trainer.zero"),
    ],
)
def test_what_accelerate_would_change_behind_the_recipe_is_refused(tmp_path, monkeypatch, name, value, instead):
    monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=f"accelerate's configuration sets {name}={value}.*{instead}"):
        Processes(None, 1.0, tmp_path)


def test_what_accelerate_always_sets_is_not_refused(monkeypatch):
    for name, value in {
        "ACCELERATE_MIXED_PRECISION": "no",
        "ACCELERATE_DYNAMO_BACKEND": "NO",
        "ACCELERATE_USE_CPU": "True",
    }.items():
        monkeypatch.setenv(name, value)
    check_accelerate(on_cpu=True)
    with pytest.raises(UserError, match='ACCELERATE_USE_CPU=True.*CUDA_VISIBLE_DEVICES=""'):
        check_accelerate(on_cpu=False)


@pytest.fixture
def tf32():
    """What cuDNN does by default, and what a library may have asked of products."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = True, False


def rounds_to_tf32():
    return torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32


def test_float32_is_float32_on_gpus(tmp_path, tf32):
    torch.backends.cuda.enable_cudnn_sdp(True)
    assert rounds_to_tf32()
    Processes(None, 1.0, tmp_path)
    assert not rounds_to_tf32()
    # cuDNN would compile its attention anew for each length.
    assert not torch.backends.cuda.cudnn_sdp_enabled()
    assert torch.get_float32_matmul_precision() == "highest"


def test_encoders_run_in_float32(tf32, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert models.device() == "cuda"
    assert not rounds_to_tf32()


gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


@pytest.mark.processes
@pytest.mark.gpu
@gpu
def test_a_run_on_a_gpu_meets_and_leaves_by_nccl(tmp_path, make_shards):
    command = command_of(make_shards(CLIPS).folder, tmp_path / "run", "trainer.steps=3")
    result = run(tmp_path, LEAVING, *command[1:], launcher=(*TORCHRUN, "1"))
    assert result.returncode == 0, result.stderr
    assert "has left its group" in result.stderr
    assert "destroy_process_group" not in result.stderr
    (launch,) = json.loads((tmp_path / "run/environment.json").read_text())
    assert launch["nccl"] is not None
    assert launch["cudnn"] is not None
    assert launch["gpus"][0]["driver"] is not None


@pytest.mark.processes
@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() != 1, reason="two processes must be made to share one GPU")
def test_two_processes_on_one_gpu_are_told_so(tmp_path):
    beyond = run(tmp_path, ADDING, launcher=(*TORCHRUN, "2"))
    assert "UserError: LOCAL_RANK is 1, but only 1 GPU is visible" in beyond.stderr
    result = run(tmp_path, f"import os\nos.environ['LOCAL_RANK'] = '0'{ADDING}", launcher=(*TORCHRUN, "2"))
    assert result.returncode != 0
    assert "UserError: NCCL failed: " in result.stderr
    assert "Each process needs a GPU of its own" in result.stderr


@pytest.mark.gpu
@gpu
def test_a_gpu_convolves_float32_exactly(tmp_path, tf32):
    torch.manual_seed(0)
    x, weight = torch.randn(4, 512, 1000, device="cuda"), torch.randn(512, 512, 3, device="cuda")
    exact = torch.nn.functional.conv1d(x.double(), weight.double())

    def error():
        return float((torch.nn.functional.conv1d(x, weight) - exact).norm() / exact.norm())

    rounded = error()
    Processes(None, 1.0, tmp_path)
    assert error() < 1e-5 < rounded
