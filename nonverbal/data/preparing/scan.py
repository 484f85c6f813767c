"""The first stage of preparing: decode every file once, in chunks, over processes, in a way that can be continued."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from nonverbal.data.corpora.base import Found
from nonverbal.data.index import SAMPLE_RATE
from nonverbal.data.reading.archives import size_and_time
from nonverbal.data.reading.audio import Audio, AudioProblem, encode, load
from nonverbal.data.reading.problems import MemberProblem
from nonverbal.data.workers import over_processes
from nonverbal.errors import UserError
from nonverbal.files import is_own_fault

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
            [(found.as_row(), *stat) for found, stat in zip(self.files, stats, strict=True)],
        ]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


def chunks(corpus: str, folder: Path, files: list[Found], max_seconds: float) -> list[Chunk]:
    """Cut a corpus's files into chunks, whose borders depend on nothing but the files."""
    return [Chunk(corpus, folder, files[i : i + CHUNK], max_seconds) for i in range(0, len(files), CHUNK)]


def scan(all_chunks: list[Chunk], scratch: Path, processes: int) -> Iterator[tuple[Chunk, Path]]:
    """Decode chunks into ``scratch`` and yield each with the path of its rows, as they are done, in any order.

    Chunks that an earlier call has done are yielded first, and not decoded again.

    Raises:
        UserError: a process was ended from outside, or the machine cannot read a file.
    """
    todo = []
    for chunk in all_chunks:
        rows = scratch / f"{chunk.key()}.jsonl"
        if rows.exists():
            yield chunk, rows
        else:
            todo.append((chunk, rows))
    for done in over_processes(_decode_chunk, todo, processes):
        chunk, rows = done.item
        if done.crash is not None:
            decode_chunk(chunk, rows, _crashing(chunk))
        yield chunk, rows


def _decode_chunk(work: tuple[Chunk, Path]) -> None:
    decode_chunk(*work)


def _crashing(chunk: Chunk) -> dict[str, str]:
    """Return the files of a chunk that take a process down, and by which signal."""
    paths = [found.path for found in chunk.files]
    tried = over_processes(partial(_try, chunk.folder), paths, 1)
    return {done.item: done.crash for done in tried if done.crash is not None}


def _try(folder: Path, path: str) -> None:
    with contextlib.suppress(AudioProblem):
        load_from(folder, path)


def decode_chunk(chunk: Chunk, rows: Path, crashing: Mapping[str, str] = MappingProxyType({})) -> None:
    """Decode a chunk: one row a file to ``rows``, and the parts of its clips as FLAC, one after another, beside it.

    Args:
        chunk: the files.
        rows: where the rows go.
        crashing: files that crash a decoder, and how; they are not decoded.
    """
    unfinished = rows.with_suffix(f".{os.getpid()}.new")
    offset = 0
    lines = []
    with open(unfinished, "wb") as audio:
        for found in chunk.files:
            row, parts = _decode(chunk, found, crashing.get(found.path))
            row["parts"] = []
            for data, samples in parts:
                row["parts"].append([offset, len(data), samples])
                offset += audio.write(data)
            lines.append(json.dumps(row))
    unfinished.replace(rows.with_suffix(".flacs"))
    # The rows come last: where they are, the audio is.
    unfinished.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    unfinished.replace(rows)


def _decode(chunk: Chunk, found: Found, crash: str | None) -> tuple[dict[str, Any], list[tuple[bytes, int]]]:
    row: dict[str, Any] = {"file": found.as_row(), "problem": None, "detail": "", "seconds": 0.0, "notes": []}
    if crash is not None:
        return {**row, "problem": "unreadable", "detail": f"it crashes the decoder ({crash})"}, []
    try:
        audio = load_from(chunk.folder, found.path)
    except AudioProblem as problem:
        return {**row, "problem": problem.reason, "detail": problem.detail}, []
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


def load_from(folder: Path, path: str) -> Audio:
    """Decode a file of a corpus.

    Raises:
        AudioProblem: the file is at fault; ``missing`` where it is not there.
        UserError: the machine is at fault: its disk, its network, its memory.
    """
    try:
        return load(folder / path)
    except FileNotFoundError as error:
        if not (folder.is_file() or (folder.is_dir() and any(folder.iterdir()))):
            raise UserError(
                f"{folder} has gone, or become empty, since its files were listed; check that its disk is connected, "
                "and run the same command again, which continues"
            ) from error
        raise AudioProblem("missing", "there is no such file") from error
    except OSError as error:
        if isinstance(error, MemberProblem) or is_own_fault(error):
            raise AudioProblem("unreadable", str(error.strerror)) from error
        raise UserError(
            f"{folder / path} cannot be read at the moment: {error.strerror or error}; check the "
            "disk or network, and run the same command again, which continues"
        ) from error


def equal_parts(samples: int, longest: int) -> list[int]:
    """Return the borders of the fewest equal parts of at most ``longest`` samples, equal up to one sample."""
    count = max(-(-samples // longest), 1)
    return [round(i * samples / count) for i in range(count + 1)]
