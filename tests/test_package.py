"""The package itself: what is said of its version, and its wheel where nothing else is installed."""

import ast
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tiny_demo import tiny_demo

import nonverbal
from nonverbal.data.synthetic import write_corpus

ROOT = Path(__file__).parent.parent
PROGRAMS = ("nonverbal", "pretrain", "finetune", "evaluate", "demo")
STANDARD = sys.stdlib_module_names
NOT_FOR_USERS = ("benchmarks", "docs", "fuzz", "dev")
COMES_WITH = {
    "fsspec": "datasets", "mamba_ssm": "mamba-ssm", "markupsafe": "jinja2", "pyarrow": "datasets",
    "sklearn": "scikit-learn", "threadpoolctl": "scikit-learn", "triton": "torch", "yaml": "pyyaml",
}  # fmt: skip
"""Package of Python to the requirement that brings it, where their names differ."""


def imports(node: ast.AST, within: bool = False) -> Iterator[tuple[str, bool]]:
    """Yield the packages that code imports, and whether a function imports them: then it may do without."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name.split(".")[0], within) for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module and not child.level:
            yield child.module.split(".")[0], within
        yield from imports(child, within or isinstance(child, ast.FunctionDef))


def test_the_package_needs_what_its_code_imports_and_nothing_else():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    optional = project["optional-dependencies"].items()
    extras = [one for name, requirements in optional if name not in NOT_FOR_USERS for one in requirements]
    base, extra = (
        {re.split(r"[^\w-]", requirement.lower())[0] for requirement in requirements}
        for requirements in (project["dependencies"], extras)
    )
    files = [path for folder in PROGRAMS for path in (ROOT / folder).rglob("*.py")]
    found = {pair for path in files for pair in imports(ast.parse(path.read_text(encoding="utf-8")))}
    found = {(COMES_WITH.get(name, name), within) for name, within in found if name not in {*STANDARD, *PROGRAMS}}
    assert {name for name, within in found if not within} <= base
    assert {name for name, _ in found} <= base | extra
    assert base <= {name for name, _ in found} | {"tensorboard"}  # torch.utils.tensorboard needs it


def test_the_version_is_the_same_wherever_it_stands():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    changes = re.findall(r"^## (\S+), ", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert citation["version"] == changes[0] == nonverbal.__version__


@pytest.mark.processes
@pytest.mark.slow  # builds a wheel, and makes an environment
def test_the_wheel_works_in_an_environment_of_its_own(tmp_path):
    pip = [sys.executable, "-m", "pip"]
    build = [*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", f"--wheel-dir={tmp_path}", str(ROOT)]
    subprocess.run(build, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    venv.create(tmp_path / "own", with_pip=False)
    own = tmp_path / "own/bin/python"
    subprocess.run([*pip, f"--python={own}", "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)
    # What the package needs, without this checkout: a folder that a .pth file names has no .pth files of its own read.
    (site,) = (tmp_path / "own/lib").glob("python*/site-packages")
    (site / "needed.pth").write_text(sysconfig.get_path("purelib"))

    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*arguments, program="nonverbal"):
        command = [str(tmp_path / "own/bin" / program), *map(str, arguments)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)

    assert run("-c", "import nonverbal; print(nonverbal.__file__)", program="python").stdout.startswith(str(site))
    assert run("--version").stdout == f"nonverbal {nonverbal.__version__}\n"
    write_corpus(tmp_path / "sounds", range(4), 2, 0)
    made = run("prepare", f"laughs={tmp_path / 'sounds'}", "--out", tmp_path / "shards")
    assert made.returncode == 0, made.stderr
    recipe = "recipes/pretrain/wav2vec2_tiny.yaml"
    # A recipe comes out of the wheel, and a program out of it reads it.
    refused = run("pretrain", recipe, "--data", tmp_path / "nothing", "--out", tmp_path / "run")
    assert refused.returncode == 2
    assert "nothing" in refused.stderr
    assert run("demo", *tiny_demo(tmp_path)).returncode == 0
    assert (tmp_path / "demo/report.html").is_file()
