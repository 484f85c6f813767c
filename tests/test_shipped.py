"""Programs, recipes and templates are those beside the package, whatever else is installed or lies in the way."""

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from nonverbal.cli import PROGRAMS
from nonverbal.errors import UserError
from nonverbal.shipped import find_file, find_shipped

ROOT = Path(__file__).parent.parent


def test_recipes_are_found_from_anywhere(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert find_file("recipes/pretrain/wav2vec2_tiny.yaml").is_file()
    (tmp_path / "mine.yaml").write_text("")
    assert find_file("mine.yaml") == Path("mine.yaml")
    with pytest.raises(UserError, match="'nowhere.yaml' here or .*shipped recipes: .*recipes/pretrain/voc2vec.yaml"):
        find_file("nowhere.yaml")


def test_a_misspelt_recipe_is_told_the_nearest_of_its_folder_and_of_the_shipped_ones(tmp_path):
    (tmp_path / "digits.yaml").write_text("")
    with pytest.raises(UserError, match=f"did you mean {tmp_path / 'digits.yaml'}\\?"):
        find_file(str(tmp_path / "digit.yaml"))
    with pytest.raises(UserError, match=r"did you mean recipes/pretrain/wav2vec2_tiny.yaml\?"):
        find_file("recipes/wav2vec2-tiny.yaml")


def test_a_folder_comes_before_what_is_shipped(tmp_path):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes/demo.yaml").write_text("")
    assert find_file("recipes/demo.yaml", tmp_path) == tmp_path / "recipes/demo.yaml"
    assert find_file("recipes/demo_ssam.yaml", tmp_path) == ROOT / "recipes/demo_ssam.yaml"
    with pytest.raises(UserError, match=f"no file 'nowhere.yaml' in {tmp_path} or among the shipped ones"):
        find_file("nowhere.yaml", tmp_path)


@pytest.mark.parametrize("program", [path for path, _ in PROGRAMS.values()])
def test_the_tests_import_the_programs_of_the_checkout(program):
    module = import_module(program.removesuffix(".py").replace("/", "."))
    assert module.__file__ == str(find_shipped(program)) == str(ROOT / program)


@pytest.mark.processes
@pytest.mark.slow  # several processes, or a compiler, that import torch
def test_a_package_that_is_called_as_a_folder_of_programs_is_not_taken_for_it(tmp_path):
    for name in ("evaluate", "finetune", "pretrain", "demo"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('not ours')")
    test = f"{__file__}::{test_the_tests_import_the_programs_of_the_checkout.__name__}[evaluate/compare.py]"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", test]
    result = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    )
    assert result.returncode == 0, result.stdout
    assert "1 passed" in result.stdout
