"""Tars in the layouts that others write, and what is read from them, for tests."""

import io
import json
import tarfile

import numpy as np
import soundfile

from nonverbal.data.corpora import read
from nonverbal.data.corpora.base import Found
from nonverbal.data.preparing.settings import PrepareConfig, Source


def samples(number, length=8000):
    return np.random.default_rng(number).integers(-9000, 9000, length, dtype=np.int16)


def audio(number, kind="FLAC", length=8000):
    buffer = io.BytesIO()
    soundfile.write(buffer, samples(number, length), 16_000, format=kind)
    return buffer.getvalue()


def encoded(value):
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def write(path, *members):
    """Write a tar of (name, content); content that is not bytes becomes JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(encoded(content))
            tar.addfile(info, io.BytesIO(encoded(content)))
    return path


def settings(folder, out, name="c", **of_source):
    return PrepareConfig(out=out, corpora={name: Source(folder, **of_source)}, processes=1, validation_share=0.3)


def reading(folder, name="c", pattern=None, say=lambda _: None, **columns):
    return {file.path: file for file in read(name, folder, "webdataset", pattern, say, columns)}


def known(file):
    """What is said of a clip, besides its path."""
    return {key: value for key, value in vars(file).items() if value not in (None, {}) and key != "path"}


def said(folder, **columns):
    files = reading(folder, **columns).values()
    return {file.path: known(file) for file in files if isinstance(file, Found)}


def ledger(out):
    rows = [json.loads(line) for line in (out / "ledger.jsonl").read_text().split("\n")[:-1]]
    assert len({row["path"] for row in rows}) == len(rows)
    return {row["path"]: (row["action"], row["reason"]) for row in rows}


def details(out):
    return {row["path"]: row["detail"] for row in map(json.loads, (out / "ledger.jsonl").read_text().split("\n")[:-1])}
