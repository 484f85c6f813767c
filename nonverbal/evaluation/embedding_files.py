"""Embeddings as files that other tools can read: NumPy's npz, and parquet."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nonverbal.data.index import ShardFolder
from nonverbal.errors import UserError
from nonverbal.files import whole
from nonverbal.tasks.labels_seen import LabelsSeen

Table = Literal["npz", "parquet"]

IN_MANIFEST = ("id", "corpus", "label", "speaker", "session", "language", "recording", "split", "licence")

COLUMNS = (*IN_MANIFEST, "labels_seen")
"""Columns that describe a clip: those of the manifest, and whether the encoder was fine-tuned with its label."""


def described(shards: ShardFolder, clips: np.ndarray, seen: LabelsSeen | None = None) -> list[dict[str, Any]]:
    """Return a description of each clip, by ``COLUMNS``, in the order of ``clips``.

    Args:
        shards: folder of shards with their manifest.
        clips: rows of the manifest.
        seen: the labels that the encoder has seen, if it was fine-tuned.
    """
    manifest = shards.clips()
    chosen = [manifest[row] for row in clips.tolist()]
    known = ["yes" if seen is not None and seen.holds(clip) else "no" for clip in chosen]
    rows = [asdict(clip) | {"labels_seen": said} for clip, said in zip(chosen, known, strict=True)]
    return [{name: row[name] for name in COLUMNS} for row in rows]


def write_described(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write the descriptions of clips as JSON Lines, in the order of their embeddings."""
    with whole(path) as new:
        new.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def check_table(kind: Table | None) -> None:
    """Refuse parquet if pyarrow is not installed, before anything is computed."""
    if kind == "parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError as error:
            raise UserError("parquet needs pyarrow: pip install 'nonverbal[datasets]', or give --to npz") from error


def write_table(path: Path, kind: Table, rows: Sequence[dict[str, Any]], pooled: np.ndarray) -> None:
    """Write embeddings ``(clips, layers, values)`` with the descriptions of the clips.

    npz: an array for each of ``COLUMNS`` (text, empty if unknown), and ``pooled``. parquet: a row per clip, and for
    each layer a column of lists of float32, ``layer_0``, ``layer_1``, ...
    """
    with whole(path) as new:
        if kind == "npz":
            columns: dict[str, Any] = {name: np.array([row[name] or "" for row in rows]) for name in COLUMNS}
            with open(new, "wb") as file:
                np.savez(file, pooled=pooled, **columns)
            return
        import pyarrow as pa
        import pyarrow.parquet as pq

        arrays: dict[str, Any] = {name: pa.array([row[name] for row in rows], pa.string()) for name in COLUMNS}
        for layer in range(pooled.shape[1]):
            values = pa.array(np.ascontiguousarray(pooled[:, layer]).reshape(-1), pa.float32())
            arrays[f"layer_{layer}"] = pa.FixedSizeListArray.from_arrays(values, pooled.shape[2])
        pq.write_table(pa.table(arrays), new)
