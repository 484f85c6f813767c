import json
import os
import platform
from pathlib import Path

import pytest

from nonverbal.training import hardware
from nonverbal.training.run_folder import RunFolder

SMI = """#!/bin/sh
[ "$1" = --query-gpu=name,driver_version,clocks.sm,clocks.max.sm,power.limit,power.max_limit,memory.total ] || exit 1
[ "$2" = --format=csv,noheader,nounits ] || exit 1
echo "NVIDIA H100 80GB HBM3, 570.124.06, 1980, 1980, 700.00, 700.00, 81559"
echo "NVIDIA H100 80GB HBM3, 570.124.06, 345, 1980, [N/A], 700.00, 81559"
"""


@pytest.fixture
def smi(tmp_path, monkeypatch):
    """Return ``write(script)``, which puts a script in the place of nvidia-smi."""

    def write(script):
        (tmp_path / "nvidia-smi").write_text(script)
        (tmp_path / "nvidia-smi").chmod(0o755)

    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return write


def test_a_launch_writes_what_nvidia_smi_tells_of_each_gpu(smi, tmp_path):
    smi(SMI)
    (tmp_path / "run").mkdir()
    RunFolder(tmp_path / "run").write_environment(scan="C++")
    (launch,) = json.loads((tmp_path / "run/environment.json").read_text())
    first, second = launch["gpus"]
    assert (first["name"], first["driver"]) == ("NVIDIA H100 80GB HBM3", "570.124.06")
    assert (first["sm_clock_mhz"], first["max_sm_clock_mhz"], first["power_limit_w"]) == ("1980", "1980", "700.00")
    assert (second["sm_clock_mhz"], second["power_limit_w"]) == ("345", None)
    assert launch["scan"] == "C++"
    assert {"torch", "triton", "mamba-ssm"} <= launch["packages"].keys()
    assert {"cuda", "cudnn", "nccl", "processor", "threads"} <= launch.keys()


@pytest.mark.parametrize("script", ["#!/bin/sh\nexit 9\n", "#!/bin/sh\necho No devices were found\n", "no program\n"])
def test_an_nvidia_smi_that_fails_tells_nothing_and_hurts_nobody(smi, capfd, script):
    smi(script)
    assert hardware.gpus() == []
    assert capfd.readouterr().err == ""


def test_an_nvidia_smi_that_hangs_is_not_waited_for(smi, monkeypatch):
    monkeypatch.setattr(hardware, "PATIENCE", 0.2)
    smi("#!/bin/sh\nexec sleep 100\n")
    assert hardware.gpus() == []


def test_without_nvidia_smi_there_are_no_gpus(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert hardware.gpus() == []


def test_the_processor_is_called_what_the_system_calls_it():
    told = Path("/proc/cpuinfo").read_text() if platform.system() == "Linux" else ""
    name = hardware.hardware()["processor"]
    assert name is None if "model name" not in told else f": {name}\n" in told
