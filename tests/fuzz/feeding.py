"""A process that feeds one target, and what another learns of it, whatever becomes of it."""

import faulthandler
import json
import mmap
import os
import struct
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import Bench, input_of, limit_memory, limits, prepare
from counts import KINDS, Counts, count
from mutate import Files
from targets import target_named

FORM = struct.Struct(f"<{1 + len(KINDS)}q2d")
"""Inputs, what came of them, the seconds they took, and those since a new way to break."""


@dataclass(frozen=True)
class Task:
    """What a process feeds, and where."""

    target: str
    seed: int
    first: int
    most: int
    """Inputs at most."""
    seconds: float
    engine: str
    place: Path
    """A folder of its own."""
    kept: Path
    """The folder of what breaks targets."""


class Board:
    """Counts that another process sees, after every input, and after the process that writes them is dead."""

    def __init__(self, place: Path) -> None:
        """Write zeros."""
        self._ways = place / "ways.json"
        (place / "counts").write_bytes(bytes(FORM.size))
        with open(place / "counts", "r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)

    def write(self, counts: Counts) -> None:
        """Show how far it is."""
        FORM.pack_into(
            self._map, 0, counts.inputs, *(getattr(counts, kind) for kind in KINDS), counts.seconds, counts.quiet
        )

    def write_ways(self, counts: Counts) -> None:
        """Show how inputs broke the target."""
        new = self._ways.with_suffix(".new")
        new.write_text(json.dumps(counts.ways))
        os.replace(new, self._ways)


def read_board(task: Task) -> Counts | None:
    """Return what a process has counted; None where it has not begun."""
    place, counts = task.place, Counts(task.target, task.seed, task.first)
    if not (place / "counts").exists() or (place / "counts").stat().st_size < FORM.size:
        return None
    counts.inputs, *of_kinds, counts.seconds, counts.quiet = FORM.unpack((place / "counts").read_bytes())
    for kind, number in zip(KINDS, of_kinds, strict=True):
        setattr(counts, kind, number)
    if (place / "ways.json").exists():
        counts.ways = json.loads((place / "ways.json").read_text())
    return counts


def feed(task: Task) -> None:
    """Feed a target until it has its inputs or its time is over."""
    said = open(task.place / "said", "w")  # noqa: SIM115
    for number in (1, 2):
        os.dup2(said.fileno(), number)
    faulthandler.enable(said)
    with limits():
        bench = _bench(task)
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
        limit_memory()
        _feed(task, bench)


def _bench(task: Task) -> Bench:
    watch = prepare(task.place)
    if task.engine == "bytes":
        return Bench(target_named(task.target), task.place / "bench", watch)
    import atheris

    with atheris.instrument_imports(include=["nonverbal"]):
        return Bench(target_named(task.target), task.place / "bench", watch)


def _feed(task: Task, bench: Bench) -> None:
    counts, board = Counts(task.target, task.seed, task.first), Board(task.place)
    begun = last_new = time.monotonic()

    def one(number: int, files: Files) -> bool:
        nonlocal last_new
        broken = sum(counts.ways.values())
        if count(bench, counts, number, files, task.kept):
            last_new = time.monotonic()
        now = time.monotonic()
        counts.seconds, counts.quiet = now - begun, now - last_new
        if sum(counts.ways.values()) > broken:
            board.write_ways(counts)
        board.write(counts)
        return counts.inputs >= task.most or counts.seconds >= task.seconds

    if task.engine == "atheris":
        from guided import fuzz

        fuzz(bench, one, task.first, task.seconds, task.kept / task.target / "corpus")
    else:
        any(one(number, files) for number, files in numbered(bench, task.seed, task.first))


def numbered(bench: Bench, seed: int, first: int) -> Iterator[tuple[int, Files]]:
    """Yield inputs by their numbers, without an end."""
    while True:
        yield first, input_of(bench.target, bench.seed, seed, first)
        first += 1
