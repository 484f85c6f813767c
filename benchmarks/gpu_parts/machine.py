"""Describes the machine, and holds what all parts need of it."""

import importlib.metadata
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from nonverbal.data.index import SAMPLE_RATE, ShardFolder, open_shards
from nonverbal.models import hubert
from nonverbal.models.wav2vec2 import Architecture
from nonverbal.training.hardware import hardware

ROOT = Path(__file__).parents[2]
ROW_SECONDS = 10.0
Figures = dict[str, Any]
SMALL: dict[str, Any] = {"hidden_size": 96, "layers": 2, "heads": 4, "ffn_size": 96, "conv_channels": 32}
"""Sizes of an encoder for a CPU."""


@dataclass(frozen=True)
class Machine:
    """The device that is measured, and the folder for files."""

    out: Path
    device: str
    smoke: bool

    @property
    def on_gpu(self) -> bool:
        """Whether the device has its own clock and memory."""
        return self.device == "cuda"

    @property
    def workers(self) -> int:
        """Number of processes that read ahead: four fewer than cores."""
        return 1 if self.smoke else max((os.cpu_count() or 2) - 4, 1)

    def wait(self) -> None:
        """Wait until the device has finished its work."""
        if self.on_gpu:
            torch.cuda.synchronize()

    def shards(self) -> ShardFolder:
        """Return a folder of shards with 2 to 10 s of noise of varying loudness; it is made if it is missing."""
        folder = self.out / "shards"
        if not (folder / "index.json").exists():
            make_sounds(self.out / "sounds", 24 if self.smoke else 2400)
            prepare = [sys.executable, "-m", "nonverbal", "prepare"]
            started([*prepare, f"noise={self.out / 'sounds'}", f"--out={folder}"], self.out / "prepare.log", check=True)
            started([*prepare, "--log-mel", str(folder)], self.out / "log-mel.log", check=True)
            shutil.rmtree(self.out / "sounds")
        return open_shards(folder)

    def base(self) -> Architecture:
        """Return the architecture of wav2vec 2.0 base, or a small one in smoke tests."""
        return Architecture(**SMALL, codes=16) if self.smoke else Architecture()

    def base_of_hubert(self) -> hubert.Architecture:
        """Return the architecture of HuBERT base, or a small one in smoke tests."""
        return hubert.Architecture(**SMALL) if self.smoke else hubert.Architecture()


def make_sounds(folder: Path, clips: int) -> None:
    """Write WAV files of noise with a slow envelope."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    noise = random.standard_normal(round(3 * ROW_SECONDS * SAMPLE_RATE)).astype(np.float32)
    for clip in range(clips):
        samples = int(random.uniform(2, ROW_SECONDS) * SAMPLE_RATE)
        start = random.integers(len(noise) - samples)
        envelope = 0.1 + 0.1 * np.sin(np.arange(samples, dtype=np.float32) / SAMPLE_RATE * random.uniform(2, 20))
        soundfile.write(folder / f"{clip}.wav", envelope * noise[start : start + samples], SAMPLE_RATE)


def started(command: list[str], log: Path, check: bool = False, **options: Any) -> tuple[int, float]:
    """Run a command of this checkout. Returns its exit code and its seconds."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    begun = time.monotonic()
    with open(log, "w") as file:
        result = subprocess.run(
            command, stdout=file, stderr=subprocess.STDOUT, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, **options
        )
    if check and result.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {log.read_text()[-2000:]}")
    return result.returncode, time.monotonic() - begun


def machine(here: Machine) -> Iterator[Figures]:
    """Report versions, hardware, and the rates of which all other rates are a share."""
    names = ("torch", "transformers", "accelerate", "mamba-ssm", "deepspeed")
    yield {"versions": {name: version(name) for name in names} | {"python": platform.python_version()}}
    yield hardware() | {"cores": os.cpu_count(), "shm_gb": shutil.disk_usage("/dev/shm").total / 1e9}
    yield {"bf16_tflops": rate(here, torch.bfloat16), "fp32_tflops": rate(here, torch.float32)}
    yield {"copy_gb_per_second": copy_rate(here)}
    here.shards()
    yield {"shards": "made"}


def version(package: str) -> str | None:
    """Return the version of a package, or None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def rate(here: Machine, dtype: torch.dtype) -> float:
    """Return the TFLOP/s of a large matrix product."""
    size = 256 if here.smoke else 8192
    left, right = (torch.randn(size, size, device=here.device, dtype=dtype) for _ in range(2))
    return 2 * size**3 / seconds_of(here, lambda: left @ right, 5) / 1e12


def copy_rate(here: Machine) -> float:
    """Return how many 10^9 bytes per second a copy on the device reads and writes."""
    source = torch.randint(100, (2**20 if here.smoke else 2**31,), dtype=torch.uint8, device=here.device)
    target = torch.empty_like(source)
    return 2 * source.numel() / seconds_of(here, lambda: target.copy_(source), 5) / 1e9


def seconds_of(here: Machine, work: Callable[[], Any], times: int) -> float:
    """Return the median seconds of ``work``, after three calls that are not counted."""
    measured = []
    for number in range(times + 3):
        here.wait()
        begun = time.perf_counter()
        work()
        here.wait()
        if number >= 3:
            measured.append(time.perf_counter() - begun)
    return statistics.median(measured)
