"""What the check of a launch finds, with two real processes and, where a fault cannot be had here, with stand-ins."""

import errno
import fcntl
import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from patience import HANGS
from tiny_runs import ROOT, TORCHRUN, environment

from nonverbal.errors import UserError
from nonverbal.training.launching import check as launch_check
from nonverbal.training.launching import facts as launch_facts
from nonverbal.training.launching import measures as launch_measures
from nonverbal.training.launching import shared_folder
from nonverbal.training.launching.check import CheckConfig, Meeting
from nonverbal.training.launching.facts import Facts

PROGRAM = ROOT / "pretrain/launch_check.py"
GPU = Facts(
    0, 0, "node1", None, 2, "NVIDIA H100", "GPU-aa", visible="0,1", open_files=9999, versions={"torch": "2.9.1"}
)


@pytest.fixture
def shards(make_shards):
    return make_shards([("a", 1.0, "train"), ("a", 1.0, "validation")]).folder


def started(rank, port, *arguments, code=None, world="2"):
    """Start one of two processes of a launch, as srun would."""
    names = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": world}
    names |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    program = [str(PROGRAM)] if code is None else ["-c", code]
    return subprocess.Popen(
        [sys.executable, *program, *map(str, arguments)],
        env=environment() | names,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def both(first, second, code=None):
    """Run two processes, each with its own arguments; return the exit codes and outputs."""
    port = free_port()
    running = [started(0, port, *first), started(1, port, *second, code=code)]
    outputs = [process.communicate(timeout=HANGS) for process in running]
    return [process.returncode for process in running], outputs


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.mark.processes
@pytest.mark.parametrize("launcher", [(sys.executable,), (*TORCHRUN, "2")])
def test_a_good_launch_of_two_processes(tmp_path, shards, launcher):
    out, found = tmp_path / "runs/first", tmp_path / "found.json"
    settings = ["--processes=2", f"--out={out}", f"--data={shards}", f"--staging={tmp_path}/disk", f"--json={found}"]
    result = subprocess.run([*launcher, PROGRAM, *settings], capture_output=True, text=True, env=environment())
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith("launch-check: nothing is wrong\n")
    # It leaves nothing behind.
    assert not (tmp_path / "runs").exists()
    told = json.loads(found.read_text())
    assert (told["ok"], told["problems"]) == (True, [])
    assert [one["local_rank"] for one in told["facts"]] == [0, 1]
    assert all(one["device"] == "CPU" and one["staging_needed"] > 0 for one in told["facts"])
    assert told["facts"][0]["data"] == told["facts"][1]["data"] != []
    assert told["folder"]["flock"] == "works"
    assert [row["bytes"] for row in told["all_reduce"]] == list(launch_measures.CPU_SIZES)
    for row in told["all_reduce"]:
        assert row["wrong_on"] == []
        assert row["algorithm"] == pytest.approx(row["bytes"] / row["seconds"])
        # With two processes, 2 (n - 1) / n is 1.
        assert row["bus"] == pytest.approx(row["algorithm"])
    # Both have the clock of this machine.
    assert all(abs(one["clock_offset"]) <= one["clock_error"] for one in told["measured"])


def test_one_process_alone(tmp_path, shards, monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    found = launch_check.check(CheckConfig(out=tmp_path, data=[shards]), Meeting(5))
    assert (found.problems, found.all_reduce, found.folder["flock"]) == ([], [], "works")
    found = launch_check.check(CheckConfig(processes=2), Meeting(5))
    assert found.problems == ["--processes asks for 2, but the launcher started 1: set both to the same number"]


@pytest.mark.processes
@pytest.mark.slow  # several processes, or a compiler, that import torch
def test_another_out_and_other_shards_on_one_process(tmp_path, shards, make_shards):
    other = make_shards([("b", 1.0, "train")], "others").folder
    found = tmp_path / "found.json"
    codes, outputs = both(
        ["--out", tmp_path / "one", "--data", shards, "--json", found],
        ["--out", tmp_path / "two", "--data", other],
    )
    assert codes == [1, 1], outputs
    told = json.loads(found.read_text())
    host = told["facts"][0]["host"]
    assert not told["ok"]
    index, folder = told["problems"]
    assert index.startswith("--data (SHA-256 of index.json) differs: ")
    assert index.endswith(f" for process 1 on {host}; give all nodes the same shards")
    assert folder.startswith(f"process 1 on {host} does not see what process 0 on {host} wrote to {tmp_path}/one (")
    assert "--out must be on a file system that all nodes share" in folder
    # What they can still do together is measured.
    assert len(told["all_reduce"]) == 3
    assert f"wrong: {folder}\n" in outputs[0][0]
    assert outputs[1][0].replace("\n", "").startswith("[Gloo]") or outputs[1][0] == ""


@pytest.mark.processes
def test_shards_that_one_process_cannot_read(tmp_path, shards):
    found = tmp_path / "found.json"
    codes, _ = both(["--data", shards, "--json", found], ["--data", tmp_path / "nowhere"])
    assert codes == [1, 1]
    (problem,) = json.loads(found.read_text())["problems"]
    assert "process 1 on" in problem
    assert f"{tmp_path}/nowhere is not a folder of shards" in problem


@pytest.mark.processes
def test_a_clock_that_differs(tmp_path):
    shift = (
        "import runpy, time, sys; now = time.time; time.time = lambda: now() + 100; "
        f"runpy.run_path({str(PROGRAM)!r}, run_name='__main__')"
    )
    found = tmp_path / "found.json"
    codes, outputs = both(["--json", found], [], code=shift)
    assert codes == [0, 0], outputs
    told = json.loads(found.read_text())
    assert told["measured"][1]["clock_offset"] == pytest.approx(100, abs=told["measured"][1]["clock_error"] + 1e-4)
    assert "is 100.0 s ahead of that of" in told["warnings"][-1]


@pytest.mark.processes
def test_a_process_that_never_starts_is_named():
    process = started(0, free_port(), "--timeout", 2)
    _, errors = process.communicate(timeout=HANGS)
    assert process.returncode == 2
    assert errors.startswith(
        "nonverbal: no answer within 2 s from process 1 on an unknown node (examining its node and the shards; "
    )


@pytest.mark.processes
@pytest.mark.slow
def test_process_0_that_never_starts_is_named():
    port = free_port()
    process = started(1, port, "--timeout", 2)
    _, errors = process.communicate(timeout=HANGS)
    assert process.returncode == 2
    assert "nonverbal (process 1): process 1 on" in errors
    assert f"cannot reach process 0 at 127.0.0.1:{port}" in errors


@pytest.mark.processes
@pytest.mark.slow
def test_a_process_that_hangs_in_its_file_system_is_named(tmp_path):
    # A pipe that nobody writes to: opening it waits for ever.
    (tmp_path / "shards").mkdir()
    os.mkfifo(tmp_path / "shards/index.json")
    port = free_port()
    stuck = started(1, port, "--data", tmp_path / "shards")
    process = started(0, port, "--timeout", 4)
    _, errors = process.communicate(timeout=HANGS)
    stuck.kill()
    stuck.communicate()
    assert process.returncode == 2
    host = os.uname().nodename
    assert errors.startswith(f"nonverbal: no answer within 4 s from process 1 on {host} (examining its node and the ")


@pytest.mark.processes
@pytest.mark.slow
def test_a_process_that_stops_in_an_all_reduce_is_named(tmp_path):
    stop = (
        "import os, runpy, signal; import nonverbal.training.launching.measures as measures; "
        "measures.all_reduce = lambda *_: os.kill(os.getpid(), signal.SIGSTOP); "
        f"runpy.run_path({str(PROGRAM)!r}, run_name='__main__')"
    )
    port = free_port()
    stuck = started(1, port, code=stop)
    process = started(0, port, "--timeout", 4)
    _, errors = process.communicate(timeout=HANGS)
    stuck.send_signal(signal.SIGKILL)
    stuck.communicate()
    assert process.returncode == 2
    assert f"no answer within 4 s from process 1 on {os.uname().nodename} (summing numbers together" in errors


def test_a_launcher_that_says_no_place_to_meet(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_PORT", raising=False)
    with pytest.raises(UserError, match="WORLD_SIZE is 2, but MASTER_ADDR is .* and MASTER_PORT ''"):
        Meeting(1)


def test_a_measure_that_does_not_end_is_left(monkeypatch):
    monkeypatch.setattr(launch_check, "Processes", lambda *_: time.sleep(30))
    assert "took longer than 0.2 s" in launch_check.measured_within(0.2)["error"]


def test_what_nccl_writes_is_removed_also_where_it_hangs(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for name in ("NCCL_DEBUG", "NCCL_DEBUG_SUBSYS", "NCCL_DEBUG_FILE"):
        # Put back after the test, also where it was not set.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    began = threading.Event()

    def hang(*_):
        began.set()
        time.sleep(30)

    monkeypatch.setattr(launch_check, "Processes", hang)
    launch_check.measured_within(0.5)
    assert began.is_set()
    assert "nonverbal-nccl-" in os.environ["NCCL_DEBUG_FILE"]
    assert list(tmp_path.iterdir()) == []


def test_an_early_failure_waits_for_what_the_others_will_say(monkeypatch):
    waited = {}

    def exchange(stage, content, least=0.0, most=math.inf):
        waited[stage] = most
        return [content, content]

    monkeypatch.setattr(launch_check, "measured_within", lambda _: {"error": "no GPU"})
    meeting = SimpleNamespace(rank=0, world=2, exchange=exchange)
    monkeypatch.setattr(launch_check, "gather", lambda *_: replace(GPU, device_id=None))
    found = launch_check.check(CheckConfig(timeout=40), meeting)
    assert 44 < waited["measured"] <= 45
    assert found.problems == ["process 0 on node1: the processes cannot communicate: no GPU"] * 2


def test_a_store_that_is_gone_at_the_end_is_no_error(monkeypatch):
    class Gone:
        def check(self, _):
            return True

        def get(self, _):
            return b"null"

        def set(self, key, _):
            if key.startswith("end/"):
                raise torch.distributed.DistNetworkError("failed to send")

    monkeypatch.delenv("WORLD_SIZE", raising=False)
    meeting = Meeting(1)
    meeting.rank, meeting.world, meeting.store = 1, 2, Gone()
    meeting.end()


HANGING = """
import os, sys, threading, runpy, nonverbal.training.launching.check as launch_check
from nonverbal.errors import UserError
class Stuck:
    def __del__(self):
        threading.Event().wait()
def check(*_):
    # As a thread in NCCL would at a normal exit: an object that is freed then waits.
    sys.modules["stuck"] = Stuck()
    raise UserError("no answer")
launch_check.check = check
"""


@pytest.mark.processes
def test_what_hangs_at_exit_does_not_keep_a_user_error_waiting():
    code = f"{HANGING}runpy.run_path({str(PROGRAM)!r}, run_name='__main__')"
    process = started(0, free_port(), code=code, world="1")
    _, errors = process.communicate(timeout=HANGS)
    assert (process.returncode, errors) == (2, "nonverbal: no answer\n")


@pytest.mark.processes
def test_a_port_in_use_is_named():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        process = started(0, port, "--timeout", 2)
        _, errors = process.communicate(timeout=HANGS)
    assert process.returncode == 2
    assert f"nonverbal: port {port} of 127.0.0.1 is in use by another program" in errors


def test_a_wrong_sum_is_noticed(monkeypatch):
    group = SimpleNamespace(device=torch.device("cpu"), rank=1, world=3, is_first=False, wait=lambda: None)
    wrong = {"done": False}

    def add_up(values, flip=False):
        # What three processes have is 1, 2 and 3 times the pattern; this one has 2 times.
        values *= 3
        if flip and not wrong["done"]:
            values[-1] += 1
            wrong["done"] = True

    monkeypatch.setattr(launch_measures.distributed, "all_reduce", add_up)
    assert launch_measures.all_reduce(group, 4096, 1)["right"]
    monkeypatch.setattr(launch_measures.distributed, "all_reduce", lambda values: add_up(values, flip=True))
    row = launch_measures.all_reduce(group, 4096, 1)
    assert not row["right"]
    rows = launch_measures.summary([{"all_reduce": [row | {"right": True}]}, {"all_reduce": [row]}])
    assert rows[0]["wrong_on"] == [1]
    assert launch_check.wrong_sum(rows[0]).startswith(
        "the sum of 4096 bytes over all processes is wrong on process 1: "
    )


def test_the_largest_sums_are_exact_in_float32():
    assert 97 * 580 * 581 // 2 < 2**24


def test_bandwidths_are_those_of_nccl_tests():
    rows = [{"all_reduce": [{"bytes": 400, "seconds": seconds, "right": True}]} for seconds in (1.0, 2.0, 1.0, 1.0)]
    # The slowest counts; 2 (4 - 1) / 4 is 1.5.
    (row,) = launch_measures.summary(rows)
    assert (row["seconds"], row["algorithm"], row["bus"]) == (2.0, 200.0, 300.0)


def test_two_processes_on_one_gpu_and_one_without(tmp_path):
    others = [replace(GPU, rank=1, local_rank=1), replace(GPU, rank=2, host="node2")]
    (problem,) = launch_facts.launch_problems([GPU, *others])
    assert problem.startswith("processes 0, 1 on node1 have the same GPU (NVIDIA H100, GPU-aa): ")
    lacking = replace(GPU, rank=1, device="CPU", device_id=None)
    (problem,) = launch_facts.launch_problems([GPU, lacking])
    assert problem.startswith("process 1 on node1 without a GPU, but the others have one: ")


def test_other_versions_on_one_node():
    other = replace(GPU, rank=1, host="node2", device_id="GPU-bb", versions={"torch": "2.11.0"})
    assert launch_facts.launch_problems([GPU, other]) == [
        "torch differs: 2.9.1 for process 0 on node1; 2.11.0 for process 1 on node2; install the same version on all "
        "nodes"
    ]


def test_what_is_only_doubtful():
    poor = replace(GPU, rank=1, device_id="GPU-bb", open_files=1024, shared_memory=64 << 20, timezone="+0100")
    far = replace(GPU, shared_memory=64 << 20, numa=[0], device_numa=1)
    zone, files, memory, numa = launch_facts.cautions([far, poor])
    assert zone.startswith("time zone differs: none for process 0 on node1; +0100 for process 1 on node1; ")
    assert files == "process 1 on node1 may open only 1024 files: set ulimit -n to 4096 or more"
    assert memory.startswith("/dev/shm of node1 has 67.1 MB free for 2 processes: ")
    assert "a run may refuse to start or end with a bus error; see docs/pretrain.md, Reading ahead" in memory
    assert numa.startswith("process 0 on node1 on cores of another NUMA node")
    assert launch_facts.other_problems([far, poor]) == []


def test_numa_nodes_of_cores(tmp_path):
    for node, cores in (("node0", "0-3,8-11\n"), ("node1", "4-7,12-15\n"), ("node2", "\n")):
        (tmp_path / node).mkdir()
        (tmp_path / node / "cpulist").write_text(cores)
    assert launch_facts.numa_of({1, 9}, tmp_path) == [0]
    assert launch_facts.numa_of({3, 4}, tmp_path) == [0, 1]
    assert launch_facts.numa_of({1}, tmp_path / "none") == []


def test_shards_that_do_not_fit(shards, tmp_path, monkeypatch):
    usage = SimpleNamespace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    facts = launch_facts.gather(0, 1, None, [shards], tmp_path / "disk")
    assert facts.problems[0].startswith(
        f"{tmp_path}/disk has 1 kB free, but the shards that are to be copied there need"
    )
    # What has been copied before needs nothing.
    (tmp_path / "disk" / facts.data[0][:16]).mkdir(parents=True)
    assert launch_facts.gather(0, 1, None, [shards], tmp_path / "disk").problems == []


def told(*sights):
    """Stand in for the other processes, which have seen this of the folder."""

    def exchange(stage, content, least=0.0):
        # Also with a --timeout under their patience, the others must come to say what they do not see.
        assert least > shared_folder.PATIENCE or stage == "written"
        return [content, *sights] if stage == "seen" else [content]

    return SimpleNamespace(rank=0, exchange=exchange)


def test_locks_that_fail_or_are_not_noticed(tmp_path, monkeypatch):
    facts = [GPU, replace(GPU, rank=1, host="node2")]
    monkeypatch.setattr(shared_folder, "LITTLE", 0)
    folder, wrong, doubtful = shared_folder.look_together(tmp_path, told({"seen": True, "lock": "held"}), facts)
    assert (folder["flock"], wrong, doubtful) == ("works", [], [])
    # As with Lustre mounted with -o localflock.
    folder, wrong, doubtful = shared_folder.look_together(tmp_path, told({"seen": True, "lock": "taken"}), facts)
    assert (folder["flock"], wrong) == ("has no effect on process 1", [])
    assert doubtful[0].startswith(f"flock has no effect on process 1 in {tmp_path}: two runs could write")

    def unsupported(*_):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", unsupported)
    folder, wrong, doubtful = shared_folder.look_together(tmp_path, told({"seen": True}), facts)
    assert folder["flock"] == "fails (Function not implemented)"
    assert list(tmp_path.iterdir()) == []


def test_a_full_or_forbidden_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(shared_folder, "LITTLE", 1 << 60)
    _, _, doubtful = shared_folder.look_together(tmp_path, told(), [GPU])
    assert "a few checkpoints and the encoder may not fit" in doubtful[0]
    (tmp_path / "file").touch()

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", full)
        _, wrong, _ = shared_folder.look_together(tmp_path / "run", told(), [GPU])
    assert "cannot write to" in wrong[0]
    assert "(No space left on device)" in wrong[0]
    assert not (tmp_path / "run").exists()
    _, wrong, _ = shared_folder.look_together(tmp_path / "file/run", told(), [GPU])
    assert wrong == [
        f"process 0 on node1 cannot write to {tmp_path}/file/run (Not a directory): choose a writable --out"
    ]


@pytest.mark.parametrize(
    ("said", "network"),
    [
        ("", None),
        (
            "node1:7:9 [0] NCCL INFO NET/IB : Using [0]mlx5_0:1/IB [1]mlx5_1:1/IB [RO]; OOB ib0:10.1.0.1<0>\n"
            "node1:7:9 [0] NCCL INFO Using network IB\n",
            "IB: [0]mlx5_0:1/IB [1]mlx5_1:1/IB [RO]; OOB ib0:10.1.0.1<0>",
        ),
        (
            "node1:7:9 [0] NCCL INFO NET/Socket : Using [0]eth0:10.0.0.1<0>\n"
            "node1:7:9 [0] NCCL INFO Assigned NET plugin Socket to comm\n",
            "Socket: [0]eth0:10.0.0.1<0>",
        ),
        ("node1:7:9 [0] NCCL INFO Using network AWS Libfabric\n", "AWS"),
    ],
)
def test_the_network_that_nccl_names(said, network):
    assert launch_measures.network_of(said) == network


def test_settings_that_cannot_be(tmp_path):
    for settings, message in (
        ({"processes": 0}, "--processes must be at least 1"),
        ({"timeout": 0}, "--timeout must"),
        (
            {"json": tmp_path / "nowhere/found.json"},
            f"--json: the folder {tmp_path}/nowhere does not exist; create it first",
        ),
    ):
        with pytest.raises(UserError, match=message):
            CheckConfig(**settings)


def test_a_fault_that_nobody_foresaw_is_told_to_the_others(monkeypatch):
    def fail(_):
        raise ValueError("an odd file")

    monkeypatch.setattr(launch_facts, "_look_at_device", fail)
    assert launch_facts.gather(0, 1, None, [], None).problems == ["an odd file"]


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_gpus_that_were_hidden_are_not_missed(monkeypatch, hidden):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(launch_facts.glob, "glob", lambda _: ["/dev/nvidia0"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert launch_facts.gather(0, 1, None, [], None).problems[0].startswith("torch sees no GPU")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert launch_facts.gather(0, 1, None, [], None).problems == []


def test_what_a_gpu_says_of_itself(monkeypatch):
    """With stand-ins for torch's devices: a LOCAL_RANK beyond what is visible, and the names of the one taken."""
    gpu = SimpleNamespace(name="NVIDIA H100", uuid="aa-bb", pci_domain_id=0, pci_bus_id=0x3B, pci_device_id=0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: gpu)
    monkeypatch.setattr(torch.cuda.nccl, "version", lambda: (2, 27, 5))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-aa-bb")
    monkeypatch.setenv("LOCAL_RANK", "3")
    facts = launch_facts.gather(3, 4, None, [], None)
    assert (facts.device, facts.device_id, facts.pci) == ("NVIDIA H100", "aa-bb", "0000:3b:00.0")
    assert facts.versions["NCCL"] == "2.27.5"
    assert facts.problems[0].startswith("LOCAL_RANK is 3, but only 1 GPU is visible (CUDA_VISIBLE_DEVICES=GPU-aa-bb)")
