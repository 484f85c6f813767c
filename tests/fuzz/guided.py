"""The engine of atheris: the same changes, led by what code an input reaches. Coverage is that of ``nonverbal``."""

import os
import struct
from collections.abc import Callable
from pathlib import Path
from random import Random

import atheris
from bench import Bench, input_of
from mutate import Files, mutated


def packed(files: Files) -> bytes:
    """Return a folder as libFuzzer keeps it: each file's name and content behind their lengths."""
    parts = [part for name, data in sorted(files.items()) for part in (name.encode("utf-8", "surrogatepass"), data)]
    return b"".join(struct.pack("<I", len(part)) + part for part in parts)


def unpacked(data: bytes) -> Files:
    """Return the folder that ``packed`` made; what is cut short is left out."""
    parts, at = [], 0
    while at + 4 <= len(data):
        (length,) = struct.unpack_from("<I", data, at)
        parts.append(data[at + 4 : at + 4 + length])
        at += 4 + length
    return {name.decode("utf-8", "replace"): held for name, held in zip(parts[::2], parts[1::2], strict=False)}


def fuzz(bench: Bench, one: Callable[[int, Files], bool], first: int, seconds: float, corpus: Path) -> None:
    """Feed inputs until ``one`` says that it is enough, and end the process."""
    number = first
    corpus.mkdir(parents=True, exist_ok=True)

    def feed(data: bytes) -> None:
        nonlocal number
        files = {name: held for name, held in unpacked(data).items() if name in bench.seed}
        if files and one(number, files):
            os._exit(0)
        number += bool(files)

    def change(data: bytes, most: int, seed: int) -> bytes:
        random = Random(seed)
        files = {name: held for name, held in unpacked(data).items() if name in bench.seed} or dict(bench.seed)
        loose = {name: held for name, held in files.items() if name not in bench.target.fixed} or files
        if random.random() < 0.3:
            name = random.choice(sorted(loose))
            changed = {**files, name: atheris.Mutate(loose[name], len(loose[name]) + 64)}
        elif random.random() < 0.1:
            changed = input_of(bench.target, bench.seed, seed, 0)
        else:
            changed = {**files, **mutated(loose, random)}
        if bench.target.bind is not None and random.random() < 0.8:
            try:
                changed = bench.target.bind(changed)
            except Exception:
                return packed(changed)[:most]
        return packed(changed)[:most]

    (corpus / "seed").write_bytes(packed(bench.seed))
    given = [
        "fuzz",
        str(corpus),
        "-max_len=1000000",
        f"-max_total_time={int(seconds) + 30}",
        "-timeout=300",
        "-rss_limit_mb=0",
    ]
    atheris.Setup(given, feed, custom_mutator=change)
    atheris.Fuzz()
