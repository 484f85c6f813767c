"""What came of a target's inputs: counted, kept, and shown as a table."""

import base64
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from bench import Bench
from mutate import Files

SAVED = 3
"""Inputs that a process keeps of each way to break."""

KINDS = ("read", "refused", "crashes", "hangs", "memory", "outside", "code")
"""What may come of an input."""


@dataclass
class Counts:
    """What came of a target's inputs, from number ``first`` on."""

    target: str
    seed: int
    first: int = 0
    inputs: int = 0
    read: int = 0
    """Inputs that were read without an error."""
    refused: int = 0
    """Inputs that ended in an error that names them."""
    crashes: int = 0
    hangs: int = 0
    memory: int = 0
    outside: int = 0
    code: int = 0
    seconds: float = 0.0
    quiet: float = 0.0
    """Seconds since the last way to break that was new."""
    ways: dict[str, int] = field(default_factory=dict)
    """Ways to break, and how many inputs took each."""

    def note(self, kind: str, way: str) -> bool:
        """Count an input. Returns whether it broke the target in a new way."""
        self.inputs += 1
        setattr(self, kind, getattr(self, kind) + 1)
        if kind in ("read", "refused"):
            return False
        key = f"{kind}: {way}"
        self.ways[key] = self.ways.get(key, 0) + 1
        return self.ways[key] == 1

    def add(self, later: "Counts") -> bool:
        """Add the counts of inputs that follow these. Returns whether they broke the target in a new way."""
        new = bool(later.ways.keys() - self.ways.keys())
        self.quiet = later.quiet if new else self.quiet + later.seconds
        for name in ("inputs", *KINDS, "seconds"):
            setattr(self, name, getattr(self, name) + getattr(later, name))
        for way, times in later.ways.items():
            self.ways[way] = self.ways.get(way, 0) + times
        return new


def count(bench: Bench, counts: Counts, number: int, files: Files, kept: Path) -> bool:
    """Feed an input, count what came of it, and keep it where it is worth it. Returns whether it broke in a new way."""
    kind, way, text = bench.feed(files)
    new = counts.note(kind, way)
    if kind not in ("read", "refused") and counts.ways[f"{kind}: {way}"] <= SAVED:
        save(bench.target.name, number, counts.seed, files, (kind, way, text), kept)
    return new


def save(target: str, number: int | None, seed: int, files: Files, found: tuple[str, str, str], kept: Path) -> Path:
    """Keep an input that broke a target, with how."""
    kind, way, text = found
    name = f"{kind}-{hashlib.sha256(way.encode()).hexdigest()[:8]}-{seed}-{number}.json"
    path = kept / target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    held = {name: base64.b64encode(data).decode() for name, data in files.items()}
    content = {"target": target, "seed": seed, "number": number, "kind": kind, "way": way, "trace": text, "files": held}
    path.write_text(json.dumps(content, indent=1))
    return path


def table(rows: Iterable[Counts]) -> str:
    """Return the counts of targets that had inputs, as a table in Markdown."""
    rows, columns = [row for row in rows if row.inputs], ("inputs", *KINDS)
    lines = [f"| target | {' | '.join(columns)} | ways | seconds | quiet |", f"|---|{'---|' * (len(columns) + 3)}"]
    lines += [_line(row.target, [row], f"{row.quiet:.0f}") for row in rows]
    return "\n".join([*lines, _line("all", rows, "")])


def _line(name: str, rows: list[Counts], quiet: str) -> str:
    numbers = [f"{sum(getattr(row, kind) for row in rows):,}".replace(",", " ") for kind in ("inputs", *KINDS)]
    ways, seconds = sum(len(row.ways) for row in rows), sum(row.seconds for row in rows)
    return f"| {name} | {' | '.join(numbers)} | {ways} | {seconds:.0f} | {quiet} |"
