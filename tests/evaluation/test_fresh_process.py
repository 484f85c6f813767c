"""What a command does in a process that has loaded nothing before it."""

import subprocess
import sys

import pytest
from patience import HANGS
from tiny_shapes import SSAM

from nonverbal.models import ssam

CODE = """
import sys
import numpy as np
from nonverbal.evaluation.encoders import load_encoder
for name in sys.argv[1:]:
    print(load_encoder(name).frames(np.ones(32_000, dtype=np.float32)).shape)
"""


@pytest.fixture
def audio_mamba(tmp_path):
    shape = ssam.Architecture(**SSAM)
    model, _ = ssam.build_model(None, shape, {}, 0)
    ssam.export(model, model.state_dict(), tmp_path / "encoder")
    return tmp_path / "encoder"


@pytest.mark.processes
def test_an_audio_mamba_loads_without_the_code_that_lies_beside_it(audio_mamba):
    command = [sys.executable, "-c", CODE, str(audio_mamba), f"initialised:{audio_mamba}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANGS, check=False)
    assert done.stdout.splitlines() == ["(3, 50, 80)"] * 2, done.stderr
