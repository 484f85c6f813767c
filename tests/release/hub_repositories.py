"""What the Hub of the tests keeps: repositories with commits, branches, pull requests and tags; and its faults."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

WHEN = "2026-01-02T03:04:05.000Z"
WRITE = "hf_writesWritesWritesWritesWritesWrites"
READ = "hf_readsReadsReadsReadsReadsReadsReads"
"""Tokens of a user ``me``, who belongs to ``org``."""

DENIED = "Invalid credentials in Authorization header"


@dataclass(frozen=True)
class Blob:
    """A file of a commit."""

    content: bytes
    large: bool

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def oid(self) -> str:
        """Git's name of the file, or of the pointer that stands for a large one."""
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(self.content)}\n"
        kept = pointer.encode() if self.large else self.content
        return hashlib.sha1(b"blob %d\0" % len(kept) + kept).hexdigest()

    def described(self, path: str) -> dict[str, Any]:
        lfs = {"lfs": {"oid": self.sha256, "size": len(self.content), "pointerSize": 134}} if self.large else {}
        return {"type": "file", "path": path, "size": len(self.content), "oid": self.oid, **lfs}


@dataclass
class Repository:
    """A model's repository."""

    private: bool
    commits: dict[str, tuple[dict[str, Blob], str | None, str]] = field(default_factory=dict)
    """Commit to its files, its parent and its title."""
    refs: dict[str, str] = field(default_factory=dict)
    discussions: list[dict[str, Any]] = field(default_factory=list)

    def commit(self, files: dict[str, Blob], parent: str | None, title: str) -> str:
        text = json.dumps([{path: blob.oid for path, blob in files.items()}, parent, title, len(self.commits)])
        sha = hashlib.sha1(text.encode()).hexdigest()
        self.commits[sha] = (files, parent, title)
        return sha

    def files(self, revision: str = "main") -> dict[str, bytes]:
        """What a branch or commit holds, without the Hub's own ``.gitattributes``."""
        found = self.commits[self.resolve(revision) or ""][0]
        return {path: blob.content for path, blob in found.items() if path != ".gitattributes"}

    def resolve(self, revision: str) -> str | None:
        names = (revision, f"refs/heads/{revision}", f"refs/tags/{revision}")
        return revision if revision in self.commits else next((self.refs[n] for n in names if n in self.refs), None)


@dataclass
class Fault:
    """What goes wrong with requests whose method and path match."""

    pattern: str
    """Of ``METHOD /path``, found anywhere in it."""
    kind: str
    """``500`` or another status; ``drop``: no answer, nothing done; ``lost``: done, no answer; ``half``: the
    connection ends in the middle of the answer's body; ``echo``: 403, and the token said back; empty: nothing but
    ``do``."""
    times: int = 1_000_000
    do: Callable[[], None] | None = None
    """Called first."""
    hits: int = 0
