"""Folders of shards made by hand, so that tests of tasks and evaluation depend on no other part of the toolkit."""

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from nonverbal.data.index import FORMAT, SAMPLE_RATE, TABLE_DTYPE, VERSION, ShardFolder, open_shards
from nonverbal.data.manifest import Clip, write_manifest

Sound = tuple[str | None, str | None, str, list[np.ndarray]]
"""Label, speaker, recording, parts."""


@pytest.fixture
def labelled_shards(tmp_path: Path) -> Callable[..., ShardFolder]:
    """Write sounds to one shard, the parts in reverse order, and open the folder."""

    def make(sounds: list[Sound], name: str = "shards", corpus: str = "made") -> ShardFolder:
        folder = tmp_path / name
        folder.mkdir()
        clips, rows = [], []
        with tarfile.open(folder / "train-000000.tar", "w") as tar:
            for number, (label, speaker, recording, parts) in reversed(list(enumerate(sounds))):
                whole = np.concatenate(parts)
                digest = hashlib.sha256((whole * 32767).astype("<i2").tobytes()).hexdigest()
                clips.append(_clip(corpus, number, label, speaker, recording, len(whole), digest))
                for part in reversed(range(len(parts))):
                    file = io.BytesIO()
                    soundfile.write(file, parts[part], SAMPLE_RATE, "PCM_16", format="FLAC")
                    entry = tarfile.TarInfo(f"{number}-{part}.flac")
                    entry.size = len(file.getvalue())
                    tar.addfile(entry, io.BytesIO(file.getvalue()))
                    rows.append(
                        (tar.offset - -(-entry.size // 512) * 512, entry.size, len(parts[part]), 0, number, 0, 0, part)
                    )
        write_manifest(folder / "manifest.jsonl", reversed(clips))
        np.save(folder / "table.npy", np.array(rows, dtype=TABLE_DTYPE))
        size = (folder / "train-000000.tar").stat().st_size
        shard = {
            "name": "train-000000.tar",
            "split": "train",
            "clips": len(rows),
            "bytes": size,
            "sha256": "",
            "seconds": 1,
        }
        files = {"table.npy": hashlib.sha256((folder / "table.npy").read_bytes()).hexdigest()}
        index = {"format": FORMAT, "version": VERSION, "corpora": [corpus], "files": files, "shards": [shard]}
        index["made from"] = name
        (folder / "index.json").write_text(json.dumps(index))
        return open_shards(folder)

    return make


def _clip(
    corpus: str, number: int, label: str | None, speaker: str | None, recording: str, samples: int, digest: str
) -> Clip:
    return Clip(
        id=f"{corpus}/{number}.wav",
        corpus=corpus,
        path=f"{number}.wav",
        start=0,
        end=samples / SAMPLE_RATE,
        sample_rate=SAMPLE_RATE,
        label=label,
        speaker=speaker,
        session=None,
        language=None,
        split=None,
        recording=recording,
        licence="CC0-1.0",
        sha256=digest,
    )


def tones(speakers: int = 6, takes: int = 2) -> list[Sound]:
    """Low and high tones in noise by several speakers, and a clip without label."""
    random, time = np.random.default_rng(0), np.arange(6000) / 16_000
    sounds: list[Sound] = []
    for speaker in range(speakers):
        for label, frequency in (("high", 3000), ("low", 400)):
            for take in range(takes):
                tone = 0.2 * np.sin(2 * np.pi * random.uniform(0.8, 1.2) * frequency * time)
                sound = (tone + 0.02 * random.standard_normal(6000)).astype(np.float32)
                sounds.append((label, f"s{speaker}", f"s{speaker}-{label}-{take}", [sound]))
    return [*sounds, (None, "s0", "unlabelled", [sounds[0][3][0] / 2])]
