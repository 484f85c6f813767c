"""What CI runs, with stand-ins for make and Chromium."""

import os
import subprocess
from pathlib import Path

import pytest
from patience import HANGS

RUN = Path(__file__).parents[1] / ".ci" / "run"


def program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("codes", "starts", "made", "code", "said"),
    [
        ({}, True, ["check test", "chromium", "test-browser"], 0, ""),
        ({"check": 2}, True, ["check test"], 2, ""),
        ({"test-browser": 1}, True, ["check test", "chromium", "test-browser"], 1, ""),
        (
            {"test-browser": 124},
            True,
            ["check test", "chromium", "test-browser"],
            0,
            "NOT TESTED in a browser: it took more than five minutes",
        ),
        (
            {"chromium": 2},
            True,
            ["check test", "chromium"],
            0,
            "NOT TESTED in a browser: Chromium cannot be installed here",
        ),
        ({}, False, ["check test", "chromium"], 0, "NOT TESTED in a browser: Chromium does not start here"),
    ],
)
def test_the_browser_is_tested_where_one_can_be_had(
    tmp_path: Path, codes: dict[str, int], starts: bool, made: list[str], code: int, said: str
) -> None:
    cases = "".join(f"{target}) exit {number};; " for target, number in codes.items())
    program(tmp_path / "make", f'echo "$*" >> {tmp_path}/made; case "$1" in {cases}esac')
    program(tmp_path / "chromium", "exit 0" if starts else "exit 1")
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run([RUN], env=environment, capture_output=True, text=True, timeout=HANGS)
    assert (tmp_path / "made").read_text().splitlines() == made
    assert (done.returncode, done.stdout.strip()) == (code, said)
