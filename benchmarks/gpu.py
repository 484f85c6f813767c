"""Measures what this toolkit does on a machine with a GPU: ``python benchmarks/gpu.py --json F --out DIR``.

The most informative parts come first; all of them take at most eight minutes on one H100. Each part runs in a separate
process with a time limit, and its figures are written to ``--json`` as soon as they are known, so that a run that is
cut short still yields results. ``--parts`` selects parts. ``--device cpu --smoke`` tries everything on a CPU, at sizes
whose figures mean nothing. The parts are in ``gpu_parts``; ``docs/gpu.md`` explains what to install and how to read the
figures.

``--out`` holds shards of synthetic sound, logs of the runs that are started, and a trace of one step.
"""

import argparse
import json
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gpu_parts import exactness, machine, runs, steps, training
from gpu_parts.machine import Figures, Machine

from nonverbal.system import set_up_gpus


@dataclass(frozen=True)
class Part:
    """One part of the measurement."""

    name: str
    seconds: float
    """The time limit on a GPU."""
    run: Callable[[Machine], Iterator[Figures]]
    """Yields figures as they are known."""


PARTS = (
    Part("machine", 60, machine.machine),
    Part("agreement", 50, exactness.agreement),
    Part("waits", 40, exactness.waits),
    Part("base", 110, training.base),
    Part("transformers", 45, steps.peer),
    Part("shapes", 25, steps.shapes),
    Part("scans", 45, steps.scans),
    Part("ssam", 30, training.ssam),
    Part("workers", 45, training.workers),
    Part("torchrun", 45, runs.torchrun),
    Part("resume", 60, runs.resume),
    Part("profile", 30, steps.profile),
    Part("compiled", 75, steps.compiled),
    Part("tests", 60, runs.tests),
)

BUDGET = 480.0
"""Seconds for all parts together."""

SMOKE_SECONDS = 150.0
"""The time limit of a part on a CPU."""


def main() -> None:
    """Run the parts one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="where to write the figures")
    parser.add_argument("--out", type=Path, required=True, help="folder for shards, runs and traces")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"), help="device to measure")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, to check that everything works")
    parser.add_argument("--parts", nargs="+", choices=[part.name for part in PARTS], help="run only these parts")
    parser.add_argument("--seconds", type=float, default=BUDGET, help="time limit for all parts together")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    # Everything is imported before the processes of the parts are forked: imports take most of a short part's time.
    here = Machine(arguments.out, arguments.device, arguments.smoke)
    results: Figures = {"device": arguments.device, "smoke": arguments.smoke}
    for part in PARTS:
        if arguments.parts is not None and part.name not in arguments.parts:
            continue
        left = arguments.seconds - (time.monotonic() - started)
        limit = SMOKE_SECONDS if arguments.smoke else min(part.seconds, left)
        results[part.name] = bounded(part, here, limit) if limit > 5 else {"left_out": "no time was left"}
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")
        print(part.name, json.dumps(results[part.name]), flush=True)
    print(f"{time.monotonic() - started:.0f} s in all")


def bounded(part: Part, here: Machine, seconds: float) -> Figures:
    """Run a part in a separate process, and return its figures, even if it fails or is cut short."""
    path = here.out / f"part-{part.name}.json"
    path.unlink(missing_ok=True)
    started = time.monotonic()
    child = multiprocessing.get_context("fork").Process(target=work, args=(part, here, path))
    child.start()
    child.join(seconds)
    figures: Figures = {}
    if child.is_alive():
        figures["cut_short_after"] = seconds
        os.killpg(child.pid or 0, signal.SIGKILL)
        child.join()
    elif child.exitcode:
        figures["exit_code"] = child.exitcode
    known = json.loads(path.read_text()) if path.exists() else {}
    return known | figures | {"seconds": round(time.monotonic() - started, 1)}


def work(part: Part, here: Machine, path: Path) -> None:
    """Run a part in this process, and write its figures whenever there are new ones."""
    # In its own process group, so that the processes that it starts are killed with it.
    os.setpgid(0, 0)
    # As the trainer does.
    set_up_gpus()
    figures: Figures = {}
    try:
        for more in part.run(here):
            figures |= more
            print(f"  {part.name}: {json.dumps(more)}", flush=True)
            write(path, figures)
    except Exception as error:
        traceback.print_exc()
        write(path, figures | {"failed": f"{type(error).__name__}: {error}"[:600]})
        raise SystemExit(1) from error


def write(path: Path, figures: Figures) -> None:
    """Replace a file of figures atomically."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(figures, indent=1) + "\n")
    os.replace(new, path)


if __name__ == "__main__":
    main()
