"""Mean and deviation of each part's log-mel spectrogram, stored beside the shards, so that SSAM reads only two seconds.

SSAM (Yadav and Tan, Interspeech 2024) standardises the spectrogram of a whole clip, and then uses two seconds of it.
``nonverbal prepare --log-mel SHARDS`` writes ``log-mel.npy`` and, last, ``log-mel.json``, which identifies its shards
by the SHA-256 of ``index.json``. The shards and their index are not changed.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nonverbal.batch import AddingSampler, Excerpt, Rows, Targets, TargetSampler
from nonverbal.data.arrays import read_array
from nonverbal.data.index import Seen, ShardFolder, open_shards
from nonverbal.data.progress import progress
from nonverbal.data.workers import over_processes
from nonverbal.errors import UserError
from nonverbal.files import locked, read_json, sha256_of, whole, write_atomically
from nonverbal.models.audio_mamba import FRAMES, HOP, N_FFT, log_mel

FORMAT, VERSION = "nonverbal-log-mel", 1
TABLE, FACTS = "log-mel.npy", "log-mel.json"

EXCERPT = N_FFT + (FRAMES - 1) * HOP
"""Number of samples in the windows of the frames of two seconds."""

CHUNK = 256
"""Number of parts that a process takes at a time."""


@dataclass(frozen=True)
class LogMel:
    """The table of one folder of shards."""

    values: np.ndarray
    """``(parts, 2)`` float32: mean and population deviation of all values of a part's log-mel spectrogram."""
    samples: np.ndarray
    """``(parts,)``: the length of each, in samples at 16 kHz."""
    sha256: str


@dataclass(frozen=True)
class Spectra:
    """How SSAM's rows are read."""

    tables: list[LogMel] | None
    """Of all folders; ``None`` if one has none or the run began without them, so that whole rows are read."""
    note: str
    """Note to print about this."""
    contents: dict[str, str] = field(default_factory=dict)
    """SHA-256 of each table, by its path."""

    def sampler(self, drawing: TargetSampler) -> TargetSampler:
        """Return a sampler that draws as ``drawing``, and reads rows in this way, by ``starts`` in the targets."""
        return drawing if self.tables is None else ExcerptSampler(drawing, self.tables)


@dataclass(frozen=True)
class ExcerptSampler(AddingSampler):
    """Has two seconds of each row read, and adds the values with which to standardise them like the whole clips."""

    tables: list[LogMel]
    """Of each shard folder."""

    def added(self, rows: Rows) -> dict[str, Tensor]:
        """Return ``mean`` and ``deviation``, ``(N,)`` float32, of the log-mel spectrogram of each row's whole clips."""
        found = []
        for pieces in rows.pieces:
            values = np.stack([self.tables[piece.folder].values[piece.part] for piece in pieces])
            samples = [int(self.tables[piece.folder].samples[piece.part]) for piece in pieces]
            found.append(of_all(values, np.array(samples)))
        both = torch.tensor(found, dtype=torch.float32)
        return {"mean": both[:, 0].clone(), "deviation": both[:, 1].clone()}

    def excerpt(self, length: int, targets: Targets, row: int) -> Excerpt:
        """Return the samples in the windows of the frames of two seconds."""
        return excerpt_of(length, int(targets.tensors["starts"][row]))

    def width(self, lengths: np.ndarray) -> int:
        """Return ``EXCERPT``."""
        return EXCERPT


def spectra(folders: list[ShardFolder], begun: Iterable[str] | None = None) -> Spectra:
    """Open the folders' tables, and choose what is read: for a run that is continued, what it read when it began.

    Args:
        folders: of shards.
        begun: names in the run's ``data.json``; None for a new run.

    Raises:
        UserError: a table is damaged, belongs to other shards, or is missing although the run began with it.
    """
    with_tables = None if begun is None else any(Path(name).name == TABLE for name in begun)
    lacking = [folder.folder for folder in folders if not (folder.folder / FACTS).exists()]
    makes = "; ".join(f"nonverbal prepare --log-mel {folder}" for folder in lacking)
    if with_tables and lacking:
        missing = ", ".join(str(folder / FACTS) for folder in lacking)
        raise UserError(f"{missing} is gone, but the run began with this table; put it back, or make it with: {makes}")
    if lacking:
        faster = f"a new run reads only two seconds of a row, which is faster, after {makes}"
        return Spectra(None, f"read: whole rows, to standardise them; {faster}")
    if with_tables is False:
        faster = f"a new run (another --out) reads only two seconds of a row, with {TABLE}, which is faster"
        return Spectra(None, f"read: whole rows, to standardise them, as when this run began; {faster}")
    tables = [table for folder in folders if (table := open_log_mel(folder)) is not None]
    note = f"read: two seconds of a row, standardised by its clips' mean and deviation ({TABLE})"
    contents = {str(folder.folder / TABLE): table.sha256 for folder, table in zip(folders, tables, strict=True)}
    return Spectra(tables, note, contents)


def open_log_mel(shards: ShardFolder) -> LogMel | None:
    """Open the table of a folder of shards; ``None`` if it has none.

    Raises:
        UserError: it is damaged, or belongs to other shards.
    """
    path = shards.folder / FACTS
    again = f"make it again with: nonverbal prepare --log-mel {shards.folder}"
    if not path.exists():
        return None
    try:
        facts = read_json(path)
        kind, of, sha256 = (facts["format"], facts["version"]), facts["index"], facts["files"][TABLE]
        values, found = read_array(shards.folder / TABLE)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} and {TABLE} cannot be read ({error!r}); {again}") from error
    if kind != (FORMAT, VERSION) or of != shards.sha256 or found != sha256 or not _is_table(values, len(shards.table)):
        raise UserError(f"{shards.folder / TABLE} does not belong to {path} and to the shards beside it; {again}")
    return LogMel(values, shards.table["samples"], sha256)


def _is_table(values: np.ndarray, parts: int) -> bool:
    """Whether each part has a mean and a deviation that are possible for a spectrogram."""
    if values.dtype != np.float32 or values.shape != (parts, 2):
        return False
    return bool(np.isfinite(values).all() and (values[:, 1] >= 0).all())


def write_log_mel(folder: Path, processes: int) -> LogMel:
    """Compute the table of a folder of shards on several processes, and write it. An existing table is replaced.

    Raises:
        UserError: audio cannot be read, or a process was ended from outside.
    """
    shards = open_shards(folder)
    values = np.zeros((len(shards.table), 2), dtype=np.float32)
    with locked(folder, "wait for it, or stop it"), progress("log-mel spectrograms", len(values), "parts") as advance:
        for done in over_processes(partial(_measured, shards.seen), _chunks(len(values)), processes):
            rows = done.item
            if done.result is None:
                raise UserError(f"{folder}: reading parts {rows.start} to {rows.stop - 1} ended in {done.crash}")
            values[rows.start : rows.stop] = done.result
            advance(len(rows))
        (folder / FACTS).unlink(missing_ok=True)
        with whole(folder / TABLE) as unfinished, open(unfinished, "wb") as file:
            np.save(file, values)
        sha256 = sha256_of(folder / TABLE)
        facts = {"format": FORMAT, "version": VERSION, "index": shards.sha256, "files": {TABLE: sha256}}
        write_atomically(folder / FACTS, json.dumps(facts, indent=1) + "\n")
    return LogMel(values, shards.table["samples"], sha256)


def statistics(waveform: np.ndarray) -> tuple[float, float]:
    """Return mean and population deviation of the log-mel spectrogram of a waveform ``(T,)``, float32 in [-1, 1]."""
    mel, _ = log_mel(torch.from_numpy(waveform)[None], torch.tensor([len(waveform)]))
    values = mel.double()
    return float(values.mean()), float(values.std(correction=0))


def of_all(values: np.ndarray, samples: np.ndarray) -> tuple[float, float]:
    """Return the mean and deviation over the frames of several clips.

    Args:
        values: ``(clips, 2)``, mean and deviation of each clip.
        samples: ``(clips,)``, lengths of the clips.
    """
    mean, deviation = values.astype(np.float64).T
    weights = (samples // HOP + 1) / (samples // HOP + 1).sum()
    together = float((weights * mean).sum())
    return together, float(np.sqrt((weights * (deviation**2 + (mean - together) ** 2)).sum()))


def excerpt_of(length: int, start: int) -> Excerpt:
    """Return the samples of a row in the windows of the frames of two seconds, and how many to reflect at their ends.

    With these reflected, as at the ends of the row, there are at most ``EXCERPT``; a shorter row has fewer frames.

    Args:
        length: of the row.
        start: the first frame that is used; 0 if there are 200 frames or fewer.
    """
    first = start * HOP - N_FFT // 2
    begin, end = max(first, 0), min(first + EXCERPT, length)
    return slice(begin, end), (begin - first, min(first + EXCERPT - end, N_FFT // 2))


def _chunks(parts: int) -> list[range]:
    return [range(first, min(first + CHUNK, parts)) for first in range(0, parts, CHUNK)]


def _measured(seen: Seen, rows: range) -> np.ndarray:
    torch.set_num_threads(1)
    shards = seen.open()
    return np.array([statistics(shards.read(row)) for row in rows], dtype=np.float32)
