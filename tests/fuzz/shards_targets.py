"""Targets that hold arrays and audio of our own: shards, units, log-mel tables, embeddings, frames, archives."""

import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from bench import Target
from made_shards import noise, sha256, write_shards
from mutate import Files
from tables_targets import clip_of, rows_of

from nonverbal.data.index import open_shards
from nonverbal.data.reading.audio import encode


def make_shards(folder: Path) -> None:
    """Write two shards of two clips each."""
    shards = [("train", (0, 1)), ("validation", (2, 3))]
    parts = [(split, [(number, 0, noise(number)) for number in numbers]) for split, numbers in shards]
    write_shards(folder, [clip_of(number) for number in range(4)], parts)


def bind_shards(files: Files) -> Files:
    """Let the index name the files as they are."""
    index = json.loads(files["index.json"])
    index["files"]["table.npy"] = sha256(files["table.npy"])
    for shard in index["shards"]:
        if shard["name"] in files:
            shard |= {"bytes": len(files[shard["name"]]), "sha256": sha256(files[shard["name"]])}
    return {**files, "index.json": json.dumps(index).encode()}


def read_shards(folder: Path) -> object:
    """Open a folder, and read what training reads of it."""
    shards = open_shards(folder)
    rows = [shards.rows("train"), shards.rows("validation")]
    clips = shards.clips()
    parts = shards.parts(np.arange(len(clips)))
    try:
        return rows, parts, [shards.read(row) for row in range(len(shards.table))]
    finally:
        close(shards)


def close(shards: Any) -> None:
    """Close what a process keeps open, which reads thousands here."""
    import os

    for number in shards._files.values():
        os.close(number)
    shards._files.clear()


def make_units(folder: Path) -> None:
    """Write a folder of shards and one of its units."""
    from nonverbal.data.batching.units import write_units

    (folder / "shards").mkdir()
    (folder / "units").mkdir()
    make_shards(folder / "shards")
    shards = open_shards(folder / "shards")
    parts = [np.arange(4) % 3 for _ in range(len(shards.table))]
    write_units(folder / "units", {"clusters": 3, "encoder": "mfcc"}, {shards.sha256: parts})


def bind_units(files: Files) -> Files:
    """Let ``units.json`` name the arrays as they are."""
    facts = json.loads(files["units/units.json"])
    facts["files"] = {name: sha256(files[f"units/{name}"]) for name in facts["files"] if f"units/{name}" in files}
    return {**files, "units/units.json": json.dumps(facts).encode()}


def read_units(folder: Path) -> object:
    """Open units and take those of every part."""
    from nonverbal.data.batching.units import open_units

    shards = open_shards(folder / "shards")
    opened = open_units(folder / "units")
    units = opened.units(shards)
    taken = [units.of(row) for row in range(len(shards.table))]
    assert all(len(one) == 0 or int(one.max()) < opened.clusters for one in taken), "a unit beyond the clusters"
    return taken


def make_log_mel(folder: Path) -> None:
    """Write a folder of shards with a table of means and deviations."""
    from nonverbal.data.log_mel import FACTS, FORMAT, TABLE, VERSION

    make_shards(folder)
    shards = open_shards(folder)
    np.save(folder / TABLE, np.ones((len(shards.table), 2), dtype=np.float32))
    files = {TABLE: sha256((folder / TABLE).read_bytes())}
    facts = {"format": FORMAT, "version": VERSION, "index": shards.sha256, "files": files}
    (folder / FACTS).write_text(json.dumps(facts))


def bind_log_mel(files: Files) -> Files:
    """Let the facts name the table as it is."""
    from nonverbal.data.log_mel import FACTS, TABLE

    facts = json.loads(files[FACTS])
    facts["files"][TABLE] = sha256(files[TABLE])
    return {**files, FACTS: json.dumps(facts).encode()}


def read_log_mel(folder: Path) -> object:
    """Open the table and use it."""
    from nonverbal.data.log_mel import of_all, open_log_mel

    table = open_log_mel(open_shards(folder))
    return None if table is None else of_all(table.values, np.asarray(table.samples))


class Made:
    """An encoder whose embeddings are there already."""

    name, key, max_seconds, one_frame = "made", "0123", 10.0, False


def make_embeddings(folder: Path) -> None:
    """Write a folder of shards, and the embeddings and frames of its clips."""
    from safetensors.numpy import save_file

    from nonverbal.evaluation.embeddings import Place

    (folder / "shards").mkdir()
    (folder / "cache").mkdir()
    make_shards(folder / "shards")
    place: Any = Place(Made(), open_shards(folder / "shards"), np.arange(4, dtype="<i8"), folder / "cache")  # type: ignore[arg-type]
    pooled = np.ones((4, 3, 4), dtype=np.float32)
    save_file({"pooled": pooled, "clips": place.clips}, place.file, place.key | {"name": "made"})
    place.frames.mkdir()
    save_file({str(clip): np.ones((3, 5, 2), dtype=np.float16) for clip in range(4)}, place.frames / "0.safetensors")
    index = {"format": "nonverbal-frames", **place.key, "files": {"0.safetensors": [0, 1, 2, 3]}}
    (place.frames / "index.json").write_text(json.dumps(index))


def read_embeddings(folder: Path) -> object:
    """Take the embeddings of all and of some clips, and the frames, as probes do."""
    from nonverbal.evaluation.embeddings import Place
    from nonverbal.evaluation.frames import open_frames

    shards = open_shards(folder / "shards")
    places = [Place(Made(), shards, np.arange(n, dtype="<i8"), folder / "cache") for n in (4, 2)]  # type: ignore[arg-type]
    pooled = [place.pooled() for place in places]
    for values, place in zip(pooled, places, strict=True):
        if values is not None:
            assert values.ndim == 3, "embeddings of another shape"
            assert len(values) == len(place.clips), "embeddings of other clips"
            values.astype(np.float64).mean()
    frames = open_frames(places[0].frames, places[0].key) if places[0].frames.is_dir() else {}
    return pooled, [frames[clip].astype(np.float32).mean(1) for clip in frames]


def make_zip(folder: Path) -> None:
    """Write an archive with sounds, a table and folders."""
    with zipfile.ZipFile(folder / "made.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/1.flac", encode(noise(1)))
        archive.writestr("a/2.flac", encode(noise(2)))
        archive.writestr("metadata.csv", "file_name,label\na/1.flac,cry\na/2.flac,laugh\n")


def read_zip(folder: Path) -> object:
    """List an archive by its table, and decode its sounds."""
    from nonverbal.data.corpora import choose_reader, read
    from nonverbal.data.corpora.base import Found

    place = folder / "made.zip"
    found = read("made", place, choose_reader("made", place, None), None)
    return [decoded(place, file.path) for file in found if isinstance(file, Found)]


def decoded(folder: Path, path: str) -> object:
    """Decode a file as a scan does; what is wrong with it is a row of the ledger."""
    from nonverbal.data.preparing.scan import load_from
    from nonverbal.data.reading.problems import AudioProblem

    try:
        return load_from(folder, path).samples
    except AudioProblem as problem:
        return json.dumps([problem.reason, problem.detail]).encode()


def make_tar(folder: Path) -> None:
    """Write a tar of WebDataset."""
    with tarfile.open(folder / "made-000.tar", "w") as tar:
        for number in range(3):
            parts = {
                "flac": encode(noise(number)),
                "json": b'{"label": "cry", "speaker": {"id": 3}}',
                "txt": b"one two",
            }
            for end, data in parts.items():
                info = tarfile.TarInfo(f"a/{number}.{end}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


def read_tar(folder: Path) -> object:
    """List tars, and decode their sounds."""
    from nonverbal.data.corpora import read
    from nonverbal.data.corpora.base import Found

    rows = rows_of(folder, "webdataset")
    found = read("made", folder, "webdataset", None)
    return rows, [decoded(folder, file.path) for file in found if isinstance(file, Found)]


TARGETS = [
    Target("shards", make_shards, read_shards, bind=bind_shards),
    Target("units", make_units, read_units, bind=bind_units),
    Target("log-mel", make_log_mel, read_log_mel, bind=bind_log_mel),
    Target("embeddings", make_embeddings, read_embeddings),
    Target("zip", make_zip, read_zip),
    Target("webdataset", make_tar, read_tar),
]
