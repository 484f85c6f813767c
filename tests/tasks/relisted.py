"""Folders of shards whose manifest a test has written anew."""

import json
from pathlib import Path

from nonverbal.data.index import ShardFolder, open_shards
from nonverbal.files import sha256_of


def relisted(folder: Path) -> ShardFolder:
    """Make the index list the manifest as it is now, and open the folder."""
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    index["files"]["manifest.jsonl"] = sha256_of(folder / "manifest.jsonl")
    (folder / "index.json").write_text(json.dumps(index), encoding="utf-8")
    return open_shards(folder)
