"""The first stage of preparing: decodes every file once, in chunks, on several processes, and can be continued."""

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
"""Number of files that a process decodes before it writes the results; an interruption loses at most these."""

MIN_SAMPLES = 1040
"""Smallest number of samples in a part: three frames of the convolutional encoder."""

SCAN_VERSION = 2
"""Part of every chunk's name; it must be raised when the output of a scan changes."""


@dataclass(frozen=True)
class Chunk:
    """Files of one corpus that are decoded together."""

    corpus: str
    folder: Path
    files: list[Found]
    max_seconds: float

    def key(self) -> str:
        """Return what identifies the content: files by path, size and time of change, and what their reader found."""
        stats = [size_and_time(self.folder / found.path) for found in self.files]
        content = [
            SCAN_VERSION,
            self.corpus,
            self.max_seconds,
            [(found.as_row(), *stat) for found, stat in zip(self.files, stats, strict=True)],
        ]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


def chunks(corpus: str, folder: Path, files: list[Found], max_seconds: float) -> list[Chunk]:
    """Divide a corpus's files into chunks, whose borders depend only on the files."""
    return [Chunk(corpus, folder, files[i : i + CHUNK], max_seconds) for i in range(0, len(files), CHUNK)]


def scan(all_chunks: list[Chunk], scratch: Path, processes: int) -> Iterator[tuple[Chunk, Path]]:
    """Decode chunks into ``scratch``, and yield each with the path of its rows when it is done, in any order.

    Chunks that an earlier call has decoded are yielded first, and not decoded again.

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
    """Return the files of a chunk that crash a process, with the signal."""
    paths = [found.path for found in chunk.files]
    tried = over_processes(partial(_try, chunk.folder), paths, 1)
    return {done.item: done.crash for done in tried if done.crash is not None}


def _try(folder: Path, path: str) -> None:
    with contextlib.suppress(AudioProblem):
        load_from(folder, path)


def decode_chunk(chunk: Chunk, rows: Path, crashing: Mapping[str, str] = MappingProxyType({})) -> None:
    """Decode a chunk: write one row per file to ``rows`` and, beside it, the parts of its clips as FLAC, one by one.

    Args:
        chunk: the files.
        rows: path for the rows.
        crashing: files that crash a decoder, with the signal; they are not decoded.
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
    # The rows are written last, so if they exist, the audio does too.
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
        AudioProblem: the file is at fault; ``missing`` if it does not exist.
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
