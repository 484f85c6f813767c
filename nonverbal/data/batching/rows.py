"""Rows of a micro-batch: the pieces of clips that each consists of, and their samples."""

from collections.abc import Sequence

import numpy as np

from nonverbal.batch import Piece, Rows
from nonverbal.data.batching.epochs import ClipTable
from nonverbal.data.batching.micro_batches import MicroBatch
from nonverbal.data.index import ShardFolder


def rows_of(micro_batch: MicroBatch, table: ClipTable, crops: np.ndarray) -> Rows:
    """Return the rows of a micro-batch: the clips of each are joined, and cropped if they are longer than the row.

    Args:
        micro_batch: from the plan.
        table: the clips of the plan.
        crops: ``(N,)`` in [0, 1): share of the excess that precedes the crop.
    """
    lengths = micro_batch.lengths.astype(np.int64)
    of_each = zip(micro_batch.clips, lengths.tolist(), crops.tolist(), strict=True)
    return Rows(lengths, [_cropped(table, clips, length, crop) for clips, length, crop in of_each])


def first_sample(samples: int, length: int, crop: float) -> int:
    """Return where a crop to ``length`` begins; ``crop`` in [0, 1) is the share of the excess that precedes it."""
    return int(crop * (max(samples - length, 0) + 1))


def stretch(pieces: Sequence[Piece], first: int, last: int) -> list[Piece]:
    """Return the parts of joined pieces that are in samples ``first`` to ``last``; empty parts are kept."""
    left, begin = [], 0
    for piece in pieces:
        own = piece.stop - piece.start
        start, stop = (piece.start + min(max(place - begin, 0), own) for place in (first, last))
        left.append(piece._replace(start=start, stop=stop))
        begin += own
    return left


def row_id(folders: Sequence[ShardFolder], pieces: Sequence[Piece]) -> str:
    """Return the description of a row for ``Batch.ids``."""
    return "+".join(f"{folders[piece.folder].folder.name}:{piece.part}" for piece in pieces)


def row_samples(folders: list[ShardFolder], pieces: Sequence[Piece], length: int, part: slice) -> np.ndarray:
    """Return samples ``part`` of a row of ``length``, int16: the joined pieces, repeated if they are shorter."""
    held = sum(piece.stop - piece.start for piece in pieces)
    if held < length:
        return np.resize(_joined(folders, pieces, slice(0, held)), length)[part]
    return _joined(folders, pieces, part)


def _cropped(table: ClipTable, clips: np.ndarray, length: int, crop: float) -> list[Piece]:
    samples = table.samples[clips]
    columns = (column.tolist() for column in (table.folder[clips], table.row[clips], samples))
    whole = [Piece(folder, part, 0, own) for folder, part, own in zip(*columns, strict=True)]
    first = first_sample(int(samples.sum()), length, crop)
    return stretch(whole, first, first + length)


def _joined(folders: list[ShardFolder], pieces: Sequence[Piece], part: slice) -> np.ndarray:
    """Return samples ``part`` of joined pieces, int16. Reads no others."""
    out = np.empty(part.stop - part.start, dtype=np.int16)
    begin = 0
    for piece in pieces:
        # From samples of the row to samples of the part.
        shift, end = piece.start - begin, begin + piece.stop - piece.start
        start, stop = max(part.start, begin), min(part.stop, end)
        if start < stop:
            samples = folders[piece.folder].read(piece.part, start + shift, stop + shift, "int16")
            out[start - part.start : stop - part.start] = samples
        begin = end
    return out
