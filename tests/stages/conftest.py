import json
import sys
from pathlib import Path

import pytest
from fake_slurm import Fakes
from studies import Commands, sounds

from nonverbal.stages.studying import costs
from nonverbal.stages.studying import running as module


@pytest.fixture
def fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fakes:
    """Slurm's commands, and Python as scripts start it."""
    fakes = Fakes(tmp_path)
    monkeypatch.setattr(sys, "executable", fakes.python)
    monkeypatch.setenv("NOTES", str(tmp_path))
    return fakes


@pytest.fixture
def study_given(tmp_path):
    """Return what a study is given: two of its corpora."""
    data = {name: sounds(tmp_path / "corpora" / name) for name in ("heard", "cries")}
    return {"data": [f"{name}={path}" for name, path in data.items()]}


@pytest.fixture
def fake_commands(monkeypatch):
    """Commands that are over at once, audio that nobody reads, and a machine that is always the same."""
    fake = Commands()
    monkeypatch.setattr(module, "run_command", fake)
    monkeypatch.setattr(costs, "machine", lambda: "a machine")
    monkeypatch.setattr(
        costs, "seconds_of", lambda folder, _: json.loads((folder / "index.json").read_text())["seconds"]
    )
    return fake
