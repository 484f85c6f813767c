"""Complete runs and tests."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from gpu_parts.machine import ROOT, Figures, Machine, started

TRAIN = ROOT / "pretrain" / "train.py"


def recipe(out: Path, here: Machine, steps: int) -> list[str]:
    """Return the arguments of a new run of the tiny recipe."""
    shutil.rmtree(out, ignore_errors=True)
    return [
        str(ROOT / "recipes/pretrain/wav2vec2_tiny.yaml"),
        f"--data={here.shards().folder}",
        f"--out={out}",
        f"--trainer.steps={steps}",
        "--trainer.optimizer.warmup_steps=2",
        f"--trainer.workers={1 if here.smoke else 4}",
        f"--trainer.validate_every={steps}",
        "--trainer.log_every=1",
        # The sounds are noise, from which nothing can be learned.
        "--trainer.watchdog.on_collapse=warn",
    ]


def torchrun(here: Machine) -> Iterator[Figures]:
    """Run one process under torchrun: tests NCCL, DDP, and whether the process ends cleanly."""
    out = here.out / "torchrun"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "1"]
    log = here.out / "torchrun.log"
    code, seconds = started([*launcher, str(TRAIN), *recipe(out, here, 4 if here.smoke else 60)], log)
    yield {"exit_code": code, "seconds": seconds, "last_lines": log.read_text()[-700:] if code else None}
    warned = [line for line in log.read_text().splitlines() if "warn" in line.lower() or "destroy" in line.lower()]
    yield {"warnings": warned[:8]}


def resume(here: Machine) -> Iterator[Figures]:
    """Compare a run that SIGUSR1 stops and the same command continues with one that is not stopped."""
    steps = 8 if here.smoke else 150
    whole, stopped = here.out / "whole", here.out / "stopped"
    started([sys.executable, str(TRAIN), *recipe(whole, here, steps)], here.out / "whole.log", check=True)
    command = [sys.executable, str(TRAIN), *recipe(stopped, here, steps)]
    with open(here.out / "stopped.log", "w") as log:
        child = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        while child.poll() is None and len(losses(stopped)) < 2:
            time.sleep(0.05)
        asked = time.monotonic()
        child.send_signal(signal.SIGUSR1)
        yield {"exit_code_of_sigusr1": child.wait(), "seconds_to_save": time.monotonic() - asked}
    code, seconds = started(command, here.out / "continued.log")
    yield {"exit_code": code, "seconds_to_continue": seconds, "rows": len(losses(stopped))}
    pairs = list(zip(losses(whole), losses(stopped), strict=True))
    yield {"largest_relative_difference_of_losses": max(abs(a - b) / abs(a) for a, b in pairs)}


def losses(run: Path) -> list[float]:
    """Return the training losses that a run has written so far."""
    path = run / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    rows = [json.loads(line) for line in lines]
    return [row["loss"] for row in rows if row["kind"] == "train"]


def tests(here: Machine) -> Iterator[Figures]:
    """Run the tests that need a GPU; without one, pytest reports them as skipped."""
    log = here.out / "tests.log"
    # Not selected by their mark alone, because other test files import packages that may not be installed here.
    files = [str(path) for path in sorted(ROOT.glob("tests/**/test_*.py")) if "mark.gpu" in path.read_text()]
    code, seconds = started([sys.executable, "-m", "pytest", "-m", "gpu", *files], log)
    yield {"exit_code": code, "seconds": seconds, "last_lines": log.read_text()[-600:]}
