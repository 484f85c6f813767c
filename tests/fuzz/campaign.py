"""A campaign: all targets in turn, some side by side, from where the campaign of the same seed ended before."""

import json
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from multiprocessing.process import BaseProcess
from pathlib import Path

from bench import CLOCK_SECONDS
from counts import Counts, table
from feeding import Task, feed, read_board
from targets import MODULES

SHORT = 10.0
"""Seconds of a turn, after the first, that is worth its beginning."""

SHARED_MEMORY = Path("/dev/shm")
"""Where files cost little to write, where there is such a place."""


class Campaign:
    """The counts of a seed and an engine, which outlast the process."""

    def __init__(self, kept: Path, seed: int, engine: str, names: Sequence[str], fresh: bool = False) -> None:
        """Go on from what a folder holds of the same seed and engine; ``fresh`` begins again."""
        self.kept, self.seed, self.engine = kept, seed, engine
        self.file = kept / f"campaign-{engine}-{seed}.json"
        self.counts = {name: Counts(name, seed) for name in names}
        self.seconds = self.quiet = 0.0
        """On the clock: of all calls together, and since a way to break that was new."""
        if self.file.exists() and not fresh:
            held = json.loads(self.file.read_text())
            self.seconds, self.quiet = held["seconds"], held["quiet"]
            self.counts |= {row["target"]: Counts(**row) for row in held["targets"] if row["target"] in names}
        self._lock, self._now = threading.Lock(), time.monotonic()

    def run(self, seconds: float, jobs: int, aim: int, only: Sequence[str] = ()) -> bool:
        """Feed targets for some seconds, those that lack inputs to reach the aim first. Returns whether nothing broke.

        Each gets an equal share of the time that is left when its turn comes.
        """
        self._now = time.monotonic()
        end = self._now + seconds
        unbroken = self._round(end, jobs, aim, list(only or self.counts))
        while (left := end - time.monotonic()) > SHORT:
            chosen = sorted(only or self.counts, key=lambda name: self.counts[name].inputs)
            lacking = [name for name in chosen if self.counts[name].inputs < aim]
            unbroken &= self._round(end, jobs, aim, (lacking or chosen)[: max(1, int(left * jobs / SHORT))])
        return unbroken

    def _round(self, end: float, jobs: int, aim: int, names: list[str]) -> bool:
        lacking = [name for name in names if self.counts[name].inputs < aim]
        queue, most = (lacking, aim) if lacking else (names, sys.maxsize)

        def turn(place: int) -> bool:
            others = len(queue) - place
            share = (end - time.monotonic()) * min(jobs, others) / others
            return self._turn(queue[place], max(share, 0.5), most)

        with ThreadPoolExecutor(jobs) as pool:
            return all(list(pool.map(turn, range(len(queue)))))

    def _turn(self, name: str, seconds: float, most: int) -> bool:
        """Feed a target, in another process where one dies. Returns whether nothing broke it."""
        end, total = time.monotonic() + seconds, self.counts[name]
        piece = Counts(name, self.seed, total.inputs)
        while (left := end - time.monotonic()) > 0.2 and (first := total.inputs + piece.inputs) < most:
            with _room() as folder:
                task = Task(name, self.seed, first, most - first, left, self.engine, Path(folder), self.kept)
                piece.add(_fed(task))
        with self._lock:
            self._take(piece)
        return not piece.ways

    def _take(self, piece: Counts) -> None:
        """Add what a turn counted, and write all down."""
        before, self._now = self._now, time.monotonic()
        self.seconds += self._now - before
        new = self.counts[piece.target].add(piece)
        self.quiet = piece.quiet if new else self.quiet + self._now - before
        held = {"seed": self.seed, "engine": self.engine, "seconds": self.seconds, "quiet": self.quiet}
        rows = [asdict(counts) for counts in self.counts.values()]
        new_file = self.file.with_suffix(".new")
        new_file.write_text(json.dumps(held | {"targets": rows}, indent=1))
        os.replace(new_file, self.file)
        found = "".join(f"\n    {times} x {way}" for way, times in piece.ways.items())
        print(
            f"{piece.target}: {piece.inputs} inputs in {piece.seconds:.0f} s, {len(piece.ways)} ways{found}", flush=True
        )

    def shown(self) -> str:
        """Return the counts as a table in Markdown, with the time that the campaign took."""
        said = f"seed {self.seed}, {self.seconds:.0f} s on the clock, nothing new in the last {self.quiet:.0f} s"
        return f"{table(self.counts.values())}\n\n{said}"


def _room() -> "tempfile.TemporaryDirectory[str]":
    quick = str(SHARED_MEMORY) if os.access(SHARED_MEMORY, os.W_OK) else None
    return tempfile.TemporaryDirectory(prefix="nonverbal-fuzz-", dir=quick, ignore_cleanup_errors=True)


def _fed(task: Task) -> Counts:
    """Feed a target in a process of its own, and return what it counted, its death too."""
    # What a server has imported once is there at once in each process of it; atheris changes what it imports.
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["targets", *MODULES])
    context = server if task.engine == "bytes" else multiprocessing.get_context("spawn")
    process = context.Process(target=feed, args=(task,))
    process.start()
    death = _waited(process, task)
    counts = read_board(task)
    if counts is None:
        said = (task.place / "said").read_text() if (task.place / "said").exists() else ""
        raise SystemExit(f"{task.target} did not begin: {death}\n{said[-2000:]}")
    if death is not None:
        _note_death(task, counts, death)
    return counts


def _waited(process: BaseProcess, task: Task) -> str | None:
    """Wait for a process. Returns how it died; None where it ended by itself."""
    begun = since = time.monotonic()
    inputs = 0
    while process.is_alive():
        process.join(0.2)
        counts = read_board(task)
        if counts is not None and counts.inputs != inputs:
            inputs, since = counts.inputs, time.monotonic()
        now = time.monotonic()
        stands = counts is not None and now - since > 2 * CLOCK_SECONDS
        if stands or now - begun > task.seconds + 300:
            process.kill()
            process.join()
            return "hangs: it did not end by itself"
    return None if process.exitcode == 0 else f"crashes: exit code {process.exitcode}"


def _note_death(task: Task, counts: Counts, death: str) -> None:
    """Count the input that ended a process, which could not say so itself."""
    number, kind = task.first + counts.inputs, death.partition(":")[0]
    said = (task.place / "said").read_text(errors="replace")
    where = next((line.strip() for line in said.splitlines() if "/nonverbal/" in line), "")
    if counts.note(kind, f"the process ended, {death} {where}".strip()):
        counts.quiet = 0.0
    path = task.kept / task.target / f"died-{task.seed}-{number}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"input {number} of seed {task.seed}: {death}\n{said[-5000:]}\n")
