"""What make installs where, with a stand-in for Python, which notes what pip is asked for."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

ROOT = Path(__file__).parents[1]
CPU = "--index-url https://download.pytorch.org/whl/cpu torch torchaudio"
PYTHON = """#!/bin/sh
case "$*" in
    "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
    *"pip list") echo "torch 2.9.1$BUILD" ;;
    *"pip install"*) echo "$*" >> asked; case "$*" in *whl/cpu*) exit $UNREACHABLE ;; esac ;;
esac
"""


def installed(
    folder: Path,
    target: str,
    programs: tuple[str, ...] = (),
    unreachable: int = 0,
    build: str = "+cpu",
    more: Mapping[str, str] = MappingProxyType({}),
) -> tuple[list[str], str]:
    """Return what pip is asked to install for a target, and what make prints, on a machine with certain programs."""
    shutil.copy(ROOT / "Makefile", folder)
    for name in ("pyproject.toml", "constraints.txt"):
        (folder / name).touch()
    (folder / "bin").mkdir()
    for name in ("python3", "g++", *programs):
        (folder / "bin" / name).write_text(PYTHON if name == "python3" else "")
        (folder / "bin" / name).chmod(0o755)
    for name in ("sh", "make", "cp", "mkdir", "touch", "test", "uname", "grep"):
        (folder / "bin" / name).symlink_to(str(shutil.which(name)))
    environment = {"PATH": str(folder / "bin"), "UNREACHABLE": str(unreachable), "BUILD": build, **more}
    made = subprocess.run(["make", target], cwd=folder, env=environment, capture_output=True, text=True, timeout=60)
    assert made.returncode == 0, made.stderr
    return (folder / "asked").read_text().splitlines(), made.stdout


@pytest.fixture(autouse=True)
def _pc_without_gpu() -> None:
    if os.path.exists("/dev/nvidiactl") or os.uname().sysname + os.uname().machine != "Linuxx86_64":
        pytest.skip("needs Linux on x86-64 without an NVIDIA GPU")


def test_a_machine_without_a_gpu_gets_torch_for_cpus_and_no_fairseq2(tmp_path: Path) -> None:
    torch, base, rest = installed(tmp_path, ".venv/.installed")[0]
    assert torch.endswith(CPU)
    assert base.endswith("--editable .")
    assert "dev" in rest
    assert "fairseq2" not in rest


def test_where_torch_for_cpus_cannot_be_had_the_other_is_installed_and_make_says_so(tmp_path: Path) -> None:
    (*_, base, rest), said = installed(tmp_path, ".venv/.installed", unreachable=1, build="")
    assert "cannot get torch for CPUs from https://download.pytorch.org/whl/cpu" in said
    assert base.endswith("--editable .")
    assert "fairseq2,deepspeed" in rest


@pytest.mark.parametrize(
    ("programs", "more"), [(("nvidia-smi",), {}), (("sbatch",), {}), ((), {"CPU_TORCH": ""})], ids=str
)
def test_gpus_and_clusters_and_who_asks_for_it_get_torch_for_cuda(
    tmp_path: Path, programs: tuple[str, ...], more: dict[str, str]
) -> None:
    asked, said = installed(tmp_path, ".venv/.base", programs, more=more)
    assert [line.rsplit("--", 1)[1] for line in asked] == ["editable ."]
    assert "torch for CPUs" not in said


def test_the_demo_installs_what_a_user_needs_alone(tmp_path: Path) -> None:
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/nonverbal").write_text("#!/bin/sh\n")
    (tmp_path / ".venv/bin/nonverbal").chmod(0o755)
    asked, _ = installed(tmp_path, "demo")
    assert [line.split()[-1] for line in asked] == ["torchaudio", "."]
