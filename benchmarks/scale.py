"""Measures what grows with the number of clips: time and memory to open shards, plan an epoch, split and write.

``python benchmarks/scale.py [--clips 10000 100000 1000000] [--prepare 100000] [--json FILE]``

Reading is measured on folders of shards without audio: table, manifest and index of this many clips, and shards that
are sparse files of the right size. The stages run one after another in the same process; the memory of a stage is the
process's peak up to then, minus its peak before it opened the first folder. ``leaks`` is what opening a second folder
adds: the check that no speaker, recording or sound is in training in one and in validation in the other. ``prepare`` is
measured from the point at which all files have been decoded (the decoded chunks are made up, with one short sound per
clip) to finished shards.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from nonverbal.data.corpora.base import Found
from nonverbal.data.index import FORMAT, SAMPLE_RATE, TABLE_DTYPE, VERSION
from nonverbal.data.manifest import Clip, write_manifest
from nonverbal.data.preparing.scan import chunks
from nonverbal.data.reading.audio import encode

PER_SHARD = 4000
"""About the number of clips of 2.1 s in 134 MB, at one byte of FLAC per sample."""

VALIDATION_EVERY = 20
"""One in this many shards is in the validation split."""


def main() -> None:
    """Measure, print, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", nargs="*", type=int, default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--prepare", nargs="*", type=int, default=[10_000, 100_000])
    parser.add_argument("--json", type=Path, help="where to write the figures")
    # Each measurement is a separate process.
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        stage, folder = arguments.child
        print(json.dumps({"read": read, "prepare": prepare}[stage](Path(folder))))
        return
    figures: dict[str, dict[int, Any]] = {"read": {}, "prepare": {}}
    for stage, sizes, fabricate in (("read", arguments.clips, shards), ("prepare", arguments.prepare, decoded)):
        for clips in sizes:
            with tempfile.TemporaryDirectory() as scratch:
                fabricate(Path(scratch), clips)
                figures[stage][clips] = measured(stage, scratch)
            print(stage, clips, json.dumps(figures[stage][clips]), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


def measured(stage: str, folder: str) -> Any:
    """Run a stage in a separate process, and return its figures."""
    command = [sys.executable, __file__, "--child", stage, folder]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(output.splitlines()[-1])


class Measure:
    """Times calls, and measures by how much they have raised the process's peak memory."""

    def __init__(self) -> None:
        self.before = _peak()
        self.figures: dict[str, dict[str, float]] = {}

    def __call__(self, name: str, stage: Callable[[], Any]) -> Any:
        """Return what ``stage`` returns."""
        started = time.process_time()
        result = stage()
        seconds = time.process_time() - started
        self.figures[name] = {"seconds": round(seconds, 3), "megabytes": round(_peak() - self.before, 1)}
        return result


def _peak() -> float:
    """Peak memory of this process, in 10^6 bytes."""
    # Unlike the value of getrusage, it is not inherited from the process that started this one.
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6


def read(folder: Path) -> dict[str, dict[str, float]]:
    """Open a folder, and proceed as far as the first batch of an epoch."""
    from nonverbal.data.batching.batches import ShardData, tables
    from nonverbal.data.batching.epochs import BatchSettings
    from nonverbal.data.batching.requests import TrainingRequests
    from nonverbal.data.index import open_shards
    from nonverbal.objectives.contrastive import ContrastiveTargetSampler

    measure = Measure()
    opened = measure("open", lambda: open_shards(folder))
    sampler, settings = ContrastiveTargetSampler(), BatchSettings()
    data = measure("ready", lambda: ShardData([opened], settings, sampler, seed=0, workers=0))
    measure(
        "first request", lambda: next(iter(TrainingRequests(data.plan, settings.batches_per_step, range(10), 0, 0)))
    )
    measure("describe", data.describe)
    measure("leaks", lambda: tables([opened, opened]))
    return measure.figures


def shards(folder: Path, count: int) -> None:
    """Write what ``nonverbal prepare`` would for ``count`` clips of 0.3 to 10 s, with sparse files as shards."""
    random = np.random.default_rng(0)
    table = np.zeros(count, dtype=TABLE_DTYPE)
    numbers = np.arange(count)
    table["samples"] = np.clip(random.lognormal(0.5, 0.7, count), 0.3, 10) * SAMPLE_RATE
    table["size"], table["offset"] = table["samples"], 1024
    table["shard"], table["clip"], table["group"] = numbers // PER_SHARD, random.permutation(count), numbers // 7
    listed = []
    for number in range(-(-count // PER_SHARD)):
        mine = table[table["shard"] == number]
        split = "validation" if number % VALIDATION_EVERY == VALIDATION_EVERY - 1 or count <= PER_SHARD else "train"
        name, size = f"{split}-{number:06}.tar", int(mine["size"].sum())
        with open(folder / name, "wb") as file:
            file.truncate(size)
        seconds = float(mine["samples"].sum()) / SAMPLE_RATE
        listed.append(
            {"name": name, "split": split, "clips": len(mine), "seconds": seconds, "bytes": size, "sha256": "0" * 64}
        )
    np.save(folder / "table.npy", table)
    shard_of = np.empty(count, dtype=np.int64)
    shard_of[table["clip"]] = table["shard"]
    write_manifest(folder / "manifest.jsonl", (_clip(number, int(shard_of[number])) for number in range(count)))
    index = {
        "format": FORMAT,
        "version": VERSION,
        "corpora": ["sounds"],
        "files": {"table.npy": hashlib.sha256((folder / "table.npy").read_bytes()).hexdigest()},
        "shards": listed,
    }
    (folder / "index.json").write_text(json.dumps(index))


def _clip(number: int, shard: int) -> Clip:
    path = f"laughter/session{shard}/{number:08}.wav"
    group = f"sounds:{shard}-{number % 571}"
    name = hashlib.sha256(path.encode()).hexdigest()
    return Clip(
        f"sounds/{path}", "sounds", path, 0, 2.1, 44_100, "laugh", group, None, None, None, group, "CC0-1.0", name
    )


def prepare(folder: Path) -> dict[str, dict[str, float]]:
    """Run ``nonverbal prepare`` on files that have been decoded."""
    from nonverbal.data.preparing.prepare import prepare as run
    from nonverbal.data.preparing.settings import PrepareConfig, Source

    measure = Measure()
    config = PrepareConfig(out=folder / "shards", corpora={"sounds": Source(folder / "sounds")}, processes=1)
    measure("decided, split and written", lambda: run(config, lambda _: None))
    return measure.figures


def decoded(folder: Path, count: int) -> None:
    """Write the scratch files of ``count`` decoded files of 0.5 s, in folders of 1000; the source files are empty."""
    files = [Found(f"class{number // 1000:04}/{number:08}.wav", f"class{number // 1000:04}") for number in range(count)]
    for file in files:
        (folder / "sounds" / file.path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "sounds" / file.path).touch()
    scratch = folder / "shards" / ".scratch"
    scratch.mkdir(parents=True)
    sound = encode(np.random.default_rng(0).integers(-3000, 3000, SAMPLE_RATE // 2, dtype=np.int16))
    facts: dict[str, Any] = {"problem": None, "detail": "", "seconds": 0.5, "notes": [], "sample_rate": SAMPLE_RATE}
    for chunk in chunks("sounds", folder / "sounds", files, 10.0):
        rows = [
            {
                "file": asdict(file),
                **facts,
                "sha256": hashlib.sha256(file.path.encode()).hexdigest(),
                "samples": SAMPLE_RATE // 2,
                "parts": [[number * len(sound), len(sound), SAMPLE_RATE // 2]],
            }
            for number, file in enumerate(chunk.files)
        ]
        path = scratch / f"{chunk.key()}.jsonl"
        path.with_suffix(".flacs").write_bytes(sound * len(rows))
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
