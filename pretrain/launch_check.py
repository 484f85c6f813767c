"""Check nodes, network and folders before a run: ``nonverbal launch-check --processes 8 --out RUN --data
SHARDS``.

By path: ``torchrun --standalone --nproc_per_node 8 pretrain/launch_check.py --out RUN --data SHARDS``. The check runs
under the launcher that will start the run, and takes seconds. It prints where each process runs, how fast the
all-reduce is and whether its sums are right, and every problem with its remedy. Exit code 0: no problem; 1: a problem
was found; 2: a process did not answer, or a setting is wrong.
"""

import json
import sys

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from nonverbal import cli, config
from nonverbal.files import write_atomically
from nonverbal.text import size
from nonverbal.training.launching.check import WORDING, CheckConfig, Findings, Meeting, check
from nonverbal.training.launching.launch import launch

GOOD = "launch-check: nothing is wrong"


def main(argv: list[str]) -> None:
    """Check, print the findings, and end with exit code 1 if there is a problem."""
    settings = config.load(CheckConfig, argv, prog="nonverbal launch-check", description=__doc__)
    launch(settings.processes, settings.timeout / 60, WORDING)
    meeting = Meeting(settings.timeout)
    found = check(settings, meeting)
    if meeting.rank == 0:
        show(found)
        if settings.json is not None:
            write_atomically(settings.json, json.dumps(found.to_dict(), indent=1) + "\n")
    sys.stdout.flush()
    meeting.end()
    sys.exit(1 if found.problems else 0)


def show(found: Findings) -> None:
    """Print the tables, the other findings, and the problems."""
    console = Console(highlight=False, soft_wrap=True)
    # In a log, the default width of 80 columns would cut names off.
    console.width = max(console.width, 140)
    console.print(processes(found))
    if found.all_reduce:
        console.print(all_reduce(found))
    for line in lines(found):
        console.print(line, markup=False)
    for text in found.warnings:
        console.print(f"warning: {text}", style="yellow", markup=False)
    for text in found.problems:
        console.print(f"wrong: {text}", style="bold red", markup=False)
    count = len(found.problems)
    console.print(f"launch-check: {count} {'problem' if count == 1 else 'problems'}" if count else GOOD)


def processes(found: Findings) -> Table:
    """Return the table of processes: where each is, and how far its clock is ahead of the first's."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for name in ("process", "local rank", "node", "device", "id", "PCI", "cores", "NUMA", "clock ahead, ms"):
        table.add_column(name, no_wrap=True)
    for one in found.facts:
        clock = "-"
        if found.measured:
            result = found.measured[one.rank]
            clock = f"{result['clock_offset'] * 1e3:.2f} ± {result['clock_error'] * 1e3:.2f}"
        numa = ",".join(map(str, one.numa)) or "-"
        table.add_row(
            str(one.rank),
            str(one.local_rank),
            one.host,
            one.device,
            (one.device_id or "-")[:8],
            one.pci or "-",
            str(one.cpus),
            numa,
            clock,
        )
    return table


def all_reduce(found: Findings) -> Table:
    """Return the table of all-reduces."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for name in ("all-reduce", "time", "algorithm bandwidth", "bus bandwidth", "sum"):
        table.add_column(name, justify="right")
    for row in found.all_reduce:
        speeds = [f"{size(row[name])}/s" for name in ("algorithm", "bus")]
        table.add_row(
            size(row["bytes"]), f"{row['seconds'] * 1e3:.3g} ms", *speeds, "wrong" if row["wrong_on"] else "right"
        )
    return table


def lines(found: Findings) -> list[str]:
    """Return the findings that are not in the tables, as lines."""
    first = found.facts[0]
    texts = []
    if found.measured and found.measured[0]["network"]:
        texts.append(f"NCCL between nodes: {found.measured[0]['network']}")
    if found.folder is not None and found.folder["free"] is not None:
        texts.append(f"--out: {size(found.folder['free'])} free; flock {found.folder['flock']}")
    if first.data:
        texts.append(f"--data: index.json {', '.join(sha256[:16] for sha256 in first.data)}")
    if first.staging_free is not None:
        texts.append(f"--staging: {size(first.staging_free)} free, {size(first.staging_needed)} to be copied")
    memory = "no /dev/shm" if first.shared_memory is None else f"/dev/shm: {size(first.shared_memory)} free"
    texts.append(f"{memory}; open files: {first.open_files}; time zone {first.timezone}")
    texts.append(f"versions: {', '.join(f'{name} {one}' for name, one in first.versions.items() if one)}")
    return texts


if __name__ == "__main__":
    cli.run_among_others(main)
