"""The folder of sounds that most tests of ``nonverbal prepare`` read."""

import shutil

import numpy as np
import pytest
from prepared import noise, write


@pytest.fixture
def corpus(tmp_path):
    """20 good clips of two classes and ten speakers, and one file for each thing that can be wrong or done."""
    folder = tmp_path / "laughs"
    for number in range(20):
        write(folder / f"{'ab'[number % 2]}/s{number % 10}_{number}.wav", noise(number, 0.5 + number / 20))
    write(folder / "a/s0_twin.flac", noise(3, 0.65))
    write(folder / "b/s1_stereo.wav", np.stack([noise(100), noise(101)], axis=1))
    write(folder / "b/s2_rate.wav", noise(102, rate=44_100), 44_100)
    write(folder / "b/s3_long.wav", noise(103, 4.7))
    write(folder / "b/s4_short.wav", noise(104, 1039 / 16_000))
    write(folder / "b/s5_silent.wav", np.zeros(16_000))
    write(folder / "b/s6_empty.wav", np.zeros(0))
    data = write(folder / "b/s7_cut.wav", noise(105)).read_bytes()
    (folder / "b/s7_cut.wav").write_bytes(data[:10_000])
    (folder / "b/s8_\nbroken\u2028.wav").write_bytes(b"no audio")
    shutil.copy(folder / "a/s0_0.wav", folder / "a/s0_named.mp3")
    (folder / "notes.txt").write_text("hello")
    return folder
