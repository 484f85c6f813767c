"""Feed hostile files to what reads them: ``python tests/fuzz/harness.py --seconds 600``, or ``make fuzz SECONDS=600``.

Each target runs in a process of its own for its share of the time. Input k of a target is a function of the seed, the
target's name and k, and a campaign goes on at the k where the one before it ended (``build/fuzz/campaign-*.json``).
What breaks a target is kept in ``build/fuzz/TARGET/`` with its traceback, and ``--replay FILE`` feeds it again.

Counted are inputs; crashes (any exception but ``UserError`` and what a target names as its own); hangs (10 s of CPU
time, or 60 s on the clock); memory (an allocation refused beyond 2 GB, or as much more taken); files written or removed
outside the target's folder; code run (processes, addresses, libraries, or modules of the target's folder).
"""

import argparse
import base64
import json
import os
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench import Bench
    from mutate import Files

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
KEPT = ROOT / "build" / "fuzz"
AIM = 20_000
"""Inputs that each target should have."""


def find_modules() -> None:
    """Let this process, and those that it starts, import what tests import."""
    own = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]["pythonpath"]
    places = [str(ROOT), *(str(ROOT / folder) for folder in own)]
    sys.path[:0] = places
    os.environ["PYTHONPATH"] = os.pathsep.join([*places, *filter(None, [os.environ.get("PYTHONPATH")])])


def replay(path: Path) -> bool:
    """Feed an input that was kept, or is only named, once more, and show what comes of it. Returns whether it holds."""
    from bench import Bench, limits, prepare
    from targets import target_named

    with tempfile.TemporaryDirectory() as folder, limits():
        bench = Bench(target_named(path.absolute().parent.name), Path(folder) / "bench", prepare(Path(folder)))
        kind, way, text = bench.feed(_kept_files(path, bench))
    print(f"{kind}: {way}\n{text}")
    return kind in ("read", "refused")


def _kept_files(path: Path, bench: "Bench") -> "Files":
    """Read what ``TARGET/*.json`` holds; of ``TARGET/died-SEED-NUMBER.txt``, whose process ended, make it again."""
    if path.suffix == ".json":
        return {name: base64.b64decode(data) for name, data in json.loads(path.read_text())["files"].items()}
    from bench import input_of

    _, seed, number = path.stem.split("-")
    return input_of(bench.target, bench.seed, int(seed), int(number))


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600, help="for all targets together")
    parser.add_argument("--inputs", type=int, default=AIM, help="of each target; those that lack some come first")
    parser.add_argument("--jobs", type=int, default=1, help="targets side by side")
    parser.add_argument("--seed", type=int, default=19)
    parser.add_argument("--engine", choices=("bytes", "atheris"), default="bytes", help="atheris is led by coverage")
    parser.add_argument("--targets", nargs="*", default=[], help="names; all where none is given")
    parser.add_argument("--fresh", action="store_true", help="begin at input 0 again")
    parser.add_argument("--table", action="store_true", help="show the campaign's table, and feed nothing")
    parser.add_argument("--replay", type=Path, help="a file in build/fuzz")
    return parser.parse_args()


def main() -> int:
    """Do what the command line says. Returns 1 where something broke."""
    given = arguments()
    if given.replay:
        return 0 if replay(given.replay) else 1
    from campaign import Campaign
    from targets import targets

    names = list(targets())
    if unknown := sorted(set(given.targets) - set(names)):
        raise SystemExit(f"there is no target {', '.join(unknown)}; there are {', '.join(names)}")
    KEPT.mkdir(parents=True, exist_ok=True)
    campaign = Campaign(KEPT, given.seed, given.engine, names, given.fresh)
    unbroken = given.table or campaign.run(given.seconds, given.jobs, given.inputs, given.targets)
    print(campaign.shown())
    return 0 if unbroken else 1


if __name__ == "__main__":
    find_modules()
    sys.exit(main())
