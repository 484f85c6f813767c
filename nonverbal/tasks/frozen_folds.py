"""Folds as a file for others: which clip is on which side of which fold, by name and by hash of the samples."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nonverbal.files import sha256_of, write_atomically
from nonverbal.row_files import row_file
from nonverbal.system import version_of
from nonverbal.tasks.divisions import plan
from nonverbal.tasks.task import Task

COLUMNS = (
    "seed", "fold", "side", "inner", "clip", "corpus", "path", "start", "end", "label", "group", "speaker", "session",
    "recording", "sha256",
)  # fmt: skip
"""``side`` is train, validation or test; ``inner`` is the number of the inner fold that a clip of the training side
validates, if choices are made on inner folds. ``start`` and ``end`` are seconds in the file; ``sha256`` is that of the
samples at 16 kHz mono, as little-endian 16-bit integers."""


def fold_rows(task: Task) -> Iterator[dict[str, Any]]:
    """Yield a row for each clip on a side of each fold of each seed.

    Raises:
        UserError: a training side cannot be divided into inner folds.
    """
    for seed, folds in task.folds.items():
        for fold in folds:
            side = dict.fromkeys(map(int, fold.train), "train") | dict.fromkeys(map(int, fold.test), "test")
            own = plan(task.division.protocol, fold, task.labels, task.groups, seed)
            inner: dict[int, int] = {}
            if task.division.protocol.select == "inner":
                for number, one in enumerate(own.inner):
                    inner |= dict.fromkeys(map(int, own.rows[one.test]), number)
            if not task.division.protocol.refit:
                # All choices are made on the first inner fold, and nothing is fitted to it.
                side |= dict.fromkeys(inner, "validation")
                inner = {}
            for place in sorted(side):
                yield _row(task, place, {"seed": seed, "fold": fold.name, "side": side[place]}, inner.get(place))


def _row(task: Task, place: int, where: dict[str, Any], inner: int | None) -> dict[str, Any]:
    clip = task.clips[place]
    of_clip = {name: getattr(clip, name) for name in ("corpus", "path", "start", "end")}
    names = {name: getattr(clip, name) for name in ("speaker", "session", "recording", "sha256")}
    labels = {"label": task.labels[place], "group": task.groups[place]}
    return where | {"inner": inner, "clip": clip.id} | of_clip | labels | names


def write_folds(path: Path, task: Task) -> Path:
    """Write the folds of a task and, beside them, a file that describes them; return the path of the latter.

    Args:
        path: ends in .csv or .jsonl.
        task: divided.

    Raises:
        UserError: as ``fold_rows``.
    """
    with row_file(path, COLUMNS) as write:
        for row in fold_rows(task):
            write(row)
    # The suffix is kept, so that a CSV and a JSON Lines file of the same name are described by two different files.
    about = path.with_name(f"{path.name}.about.json")
    division = task.division
    said = {
        "file": path.name,
        "sha256": sha256_of(path),
        "data_sha256": task.shards.sha256,
        "protocol": task.protocol,
        "settings": {
            name: list(value) if isinstance(value, tuple) else value for name, value in vars(division.protocol).items()
        },
        "corpora": task.corpus.split("+"),
        "classes": task.classes,
        "merged": task.merged,
        "clips": len(task.clips),
        "groups": len(set(task.groups)),
        "lets_through": division.lets_through,
        "notes": division.notes,
        "made_by": f"nonverbal {version_of('nonverbal')}",
    }
    write_atomically(about, json.dumps(said, indent=1, ensure_ascii=False) + "\n")
    return about
