import sys
from pathlib import Path

import pytest
from fake_slurm import Fakes


@pytest.fixture
def fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fakes:
    """Slurm's commands, and Python as scripts start it."""
    fakes = Fakes(tmp_path)
    monkeypatch.setattr(sys, "executable", fakes.python)
    monkeypatch.setenv("NOTES", str(tmp_path))
    return fakes
