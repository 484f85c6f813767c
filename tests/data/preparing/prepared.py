"""Sound files and settings for tests of ``nonverbal prepare``, and what it wrote."""

import json

import numpy as np
import soundfile

from nonverbal.data.preparing.settings import PrepareConfig, Source

NOT_OF_THE_CONTENT = (".lock", ".inputs.json", "recipe.yaml")


def noise(number, seconds=1.0, rate=16_000):
    return np.random.default_rng(number).integers(-16_000, 16_000, round(rate * seconds), dtype=np.int16)


def write(path, samples, rate=16_000):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype="PCM_16")
    return path


def settings(corpora, out, **changes):
    sources = {name: value if isinstance(value, Source) else Source(value) for name, value in corpora.items()}
    values = {"processes": 1, "max_seconds": 2.0, "validation_share": 0.2, "shard_megabytes": 0.2}
    return PrepareConfig(corpora=sources, out=out, **{**values, **changes})


def with_speakers(folder):
    return Source(folder, "folder", r"(?P<speaker>s\d+)_[^/]*$")


def content(folder):
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in NOT_OF_THE_CONTENT]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def ledger(folder):
    return [json.loads(line) for line in (folder / "ledger.jsonl").read_text().split("\n")[:-1]]


def reasons(folder):
    return {row["path"]: row["reason"] for row in ledger(folder)}
