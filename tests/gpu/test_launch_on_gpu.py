"""What launch-check sees and measures on a real GPU, with NCCL."""

import json
import subprocess
import sys

import pytest
import torch
from tiny_runs import ROOT, TORCHRUN

pytestmark = pytest.mark.gpu

PROGRAM = ROOT / "pretrain/launch_check.py"

MEASURE = """
import json, sys
from pathlib import Path
from nonverbal.training.launching.measures import measure, note_network
from nonverbal.training.processes import Processes
network = note_network()
measured = measure(Processes(1, 1, Path(sys.argv[1])), network)
Path(sys.argv[1], "measured.json").write_text(json.dumps(measured))
"""


def run(*command):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120, cwd=ROOT)


def test_a_process_names_its_gpu(tmp_path):
    result = run(sys.executable, PROGRAM, "--out", tmp_path / "run", "--json", tmp_path / "found.json")
    assert result.returncode == 0, result.stderr
    (facts,) = json.loads((tmp_path / "found.json").read_text())["facts"]
    properties = torch.cuda.get_device_properties(0)
    assert (facts["device"], facts["device_id"]) == (properties.name, str(properties.uuid))
    assert facts["versions"]["NCCL"] == ".".join(map(str, torch.cuda.nccl.version()))
    listed = run("nvidia-smi", "--query-gpu=uuid,pci.bus_id", "--format=csv,noheader").stdout.lower()
    assert facts["device_id"].lower() in listed
    assert facts["pci"].partition(":")[2] in listed


def test_two_processes_on_one_gpu_are_told_before_nccl_starts():
    count = torch.cuda.device_count() + 1
    result = run(*TORCHRUN, count, PROGRAM, "--timeout", 30)
    assert result.returncode != 0
    assert "have the same GPU" in result.stdout
    assert f"LOCAL_RANK is {count - 1}, but only {count - 1} GPU" in result.stdout


def test_nccl_adds_up_right_and_names_its_network(tmp_path):
    (tmp_path / "measure.py").write_text(MEASURE)
    result = run(*TORCHRUN, 1, tmp_path / "measure.py", tmp_path)
    assert result.returncode == 0, result.stderr
    measured = json.loads((tmp_path / "measured.json").read_text())
    assert [row["bytes"] for row in measured["all_reduce"]][-1] == 380_000_000
    assert all(row["right"] for row in measured["all_reduce"])
    assert measured["network"]
