"""The one writer of shards for tests: by hand, so that what reads shards is tested without what prepares them."""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nonverbal.data.index import FORMAT, SAMPLE_RATE, TABLE_DTYPE, VERSION, ShardFolder, open_shards
from nonverbal.data.manifest import Clip, write_manifest
from nonverbal.data.reading.audio import encode

Part = tuple[int, int, np.ndarray]
"""Row of the clip in the manifest, which of its parts this is, and its samples at 16 kHz, int16 or floats."""


def sha256(data: bytes) -> str:
    """Return a hash in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def noise(number: int, samples: int = 1600) -> np.ndarray:
    """Return noise, int16, that the number determines."""
    return (np.random.default_rng(number).uniform(-0.5, 0.5, samples) * 32767).astype(np.int16)


def made_clip(corpus: str, number: int, **facts: Any) -> Clip:
    """Return a clip of a manifest, of which nothing is known but what is given."""
    path = f"{number}.wav"
    known: dict[str, Any] = dict.fromkeys(("label", "speaker", "session", "language", "split", "recording"))
    known |= {"start": 0.0, "end": 1.0, "sample_rate": SAMPLE_RATE, "licence": "CC0-1.0"}
    known |= {"id": f"{corpus}/{path}", "corpus": corpus, "path": path, "sha256": sha256(path.encode())}
    return Clip(**known | facts)


def write_shards(folder: Path, clips: Sequence[Clip], shards: Iterable[tuple[str, Sequence[Part]]]) -> ShardFolder:
    """Write clips, and for each shard its split and its parts, into a folder that is there, and open it."""
    corpora = sorted({clip.corpus for clip in clips})
    rows: list[tuple[int, ...]] = []
    facts: list[dict[str, Any]] = []
    for split, parts in shards:
        name = f"{split}-{sum(shard['split'] == split for shard in facts):06}.tar"
        with tarfile.open(folder / name, "w", format=tarfile.USTAR_FORMAT) as tar:
            for clip, part, samples in parts:
                data = encode(samples)
                entry = tarfile.TarInfo(f"{clip}-{part}.flac")
                entry.size = len(data)
                place = (tar.offset + tarfile.BLOCKSIZE, len(data), len(samples), len(facts))
                rows.append((*place, clip, clip, corpora.index(clips[clip].corpus), part))
                tar.addfile(entry, io.BytesIO(data))
        tar_bytes = (folder / name).read_bytes()
        seconds = sum(len(samples) for _, _, samples in parts) / SAMPLE_RATE
        counts = {"clips": len(parts), "seconds": seconds, "bytes": len(tar_bytes)}
        facts.append({"name": name, "split": split, "sha256": sha256(tar_bytes), **counts})
    write_manifest(folder / "manifest.jsonl", clips)
    np.save(folder / "table.npy", np.array(rows, dtype=TABLE_DTYPE))
    # Folders of the same sounds are told apart by "made from".
    index = {"format": FORMAT, "version": VERSION, "corpora": corpora, "shards": facts, "made from": folder.name}
    index["files"] = {"table.npy": sha256((folder / "table.npy").read_bytes())}
    (folder / "index.json").write_text(json.dumps(index))
    return relisted(folder)


def with_clips(shards: ShardFolder, clips: Sequence[Clip]) -> ShardFolder:
    """Give a folder of shards another manifest, and open it anew."""
    write_manifest(shards.folder / "manifest.jsonl", clips)
    return relisted(shards.folder)


def relisted(folder: Path) -> ShardFolder:
    """Make the index list the manifest as it is now, and open the folder."""
    index = json.loads((folder / "index.json").read_text())
    index["files"]["manifest.jsonl"] = sha256((folder / "manifest.jsonl").read_bytes())
    (folder / "index.json").write_text(json.dumps(index))
    return open_shards(folder)
