"""The first stage of preparing: decode every file once, in chunks, over processes, in a way that can be continued."""

import hashlib
import json
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

import numpy as np

from nonverbal.data.archives import size_and_time
from nonverbal.data.audio import AudioProblem, encode, load
from nonverbal.data.corpora.base import Found
from nonverbal.data.index import SAMPLE_RATE
from nonverbal.errors import UserError

CHUNK = 64
"""Files that one process decodes before it writes what it found; what an interruption loses at most."""

MIN_SAMPLES = 1040
"""Fewest samples of a part: three frames of the convolutional encoder."""

SCAN_VERSION = 2
"""Part of every chunk's name: raise it when what a scan writes changes."""


@dataclass(frozen=True)
class Chunk:
    """Files of one corpus that are decoded together."""

    corpus: str
    folder: Path
    files: list[Found]
    max_seconds: float

    def key(self) -> str:
        """Name the content: files by relative path, size and time of change, and what their reader said of them."""
        stats = [size_and_time(self.folder / found.path) for found in self.files]
        content = [
            SCAN_VERSION,
            self.corpus,
            self.max_seconds,
            [(vars(found), *stat) for found, stat in zip(self.files, stats, strict=True)],
        ]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


def chunks(corpus: str, folder: Path, files: list[Found], max_seconds: float) -> list[Chunk]:
    """Cut a corpus's files into chunks, whose borders depend on nothing but the files."""
    return [Chunk(corpus, folder, files[i : i + CHUNK], max_seconds) for i in range(0, len(files), CHUNK)]


def scan(all_chunks: list[Chunk], scratch: Path, processes: int) -> Iterator[tuple[Chunk, Path]]:
    """Decode chunks into ``scratch`` and yield each with the path of its rows, as they are done, in any order.

    Chunks that an earlier call has done are yielded first, and not decoded again.

    Raises:
        UserError: a decoder took its process down with it.
    """
    todo = []
    for chunk in all_chunks:
        rows = scratch / f"{chunk.key()}.jsonl"
        if rows.exists():
            yield chunk, rows
        else:
            todo.append((chunk, rows))
    if not todo:
        return
    # Fresh interpreters: a copy of this one would copy its threads' locks. They import no torch, so they start fast.
    pool = ProcessPoolExecutor(min(processes, len(todo)), get_context("forkserver"), initializer=start_worker)
    try:
        futures = {pool.submit(decode_chunk, chunk, rows): (chunk, rows) for chunk, rows in todo}
        for future in as_completed(futures):
            future.result()
            yield futures[future]
    except (BrokenProcessPool, MemoryError) as error:
        raise UserError(
            "a process that decodes audio was ended from outside, by lack of memory perhaps; "
            "run the same command again with fewer --processes, and it continues"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def decode_chunk(chunk: Chunk, rows: Path) -> None:
    """Decode a chunk: one row a file to ``rows``, and the parts of its clips as FLAC, one after another, beside it."""
    unfinished = rows.with_suffix(f".{os.getpid()}.new")
    offset = 0
    lines = []
    with open(unfinished, "wb") as audio:
        for found in chunk.files:
            row, parts = _decode(chunk, found)
            row["parts"] = []
            for data, samples in parts:
                row["parts"].append([offset, len(data), samples])
                offset += audio.write(data)
            lines.append(json.dumps(row))
    unfinished.replace(rows.with_suffix(".flacs"))
    # The rows come last: where they are, the audio is.
    unfinished.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    unfinished.replace(rows)


def _decode(chunk: Chunk, found: Found) -> tuple[dict[str, Any], list[tuple[bytes, int]]]:
    row: dict[str, Any] = {"file": vars(found), "problem": None, "detail": "", "seconds": 0.0, "notes": []}
    try:
        audio = load(chunk.folder / found.path)
    except AudioProblem as problem:
        return {**row, "problem": problem.reason, "detail": problem.detail}, []
    except FileNotFoundError:
        return {**row, "problem": "missing", "detail": "there is no such file"}, []
    except OSError as error:
        return {**row, "problem": "unreadable", "detail": str(error.strerror)}, []
    row |= {"seconds": audio.seconds, "notes": audio.notes, "sample_rate": audio.sample_rate}
    bounds = equal_parts(len(audio.samples), round(chunk.max_seconds * SAMPLE_RATE))
    if min(np.diff(bounds)) < MIN_SAMPLES:
        detail = f"{len(audio.samples)} samples at 16 kHz, fewer than the {MIN_SAMPLES} of three frames"
        return {**row, "problem": "too_short", "detail": detail}, []
    row["sha256"] = hashlib.sha256(audio.samples.tobytes()).hexdigest()
    row["samples"] = len(audio.samples)
    if len(bounds) > 2:
        row["notes"].append("cut")
    parts = [audio.samples[start:stop] for start, stop in pairwise(bounds)]
    return row, [(encode(part), len(part)) for part in parts]


def equal_parts(samples: int, longest: int) -> list[int]:
    """Return the borders of the fewest equal parts of at most ``longest`` samples, equal up to one sample."""
    count = max(-(-samples // longest), 1)
    return [round(i * samples / count) for i in range(count + 1)]


def start_worker() -> None:
    """Make a process of a pool leave Ctrl-C to the first process, and end with it."""
    # Ctrl-C goes to the whole group; the first process ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose first process was killed would wait for work for ever."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
