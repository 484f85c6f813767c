"""What a folder or a revision of a repository holds, by hashes that both sides know; and what must not leave."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nonverbal.errors import UserError
from nonverbal.release.tokens import holds_token
from nonverbal.text import shown

CHUNK = 1 << 20

KEPT = frozenset({".gitattributes", "LICENSE"})
"""Files that are not of a release, and stay as they are in its repository: the Hub's own, which says which files are
large, and what its page makes."""


@dataclass(frozen=True)
class Identity:
    """What a file holds: Git's SHA-1 of it, by which the Hub names small files, and SHA-256, by which it names large
    ones; bytes."""

    oid: str
    sha256: str
    size: int


Identities = Mapping[str, Identity]
"""Path in the folder, with slashes, to what is there."""


def identities_of(folder: Path, token: str | None = None) -> dict[str, Identity]:
    """Read all files of a folder.

    Args:
        folder: of plain files and folders; hidden ones have no business in a release.
        token: which no file may hold, nor any other that looks like one.

    Raises:
        UserError: no such folder, it is empty, or a file is hidden, a link or not plain, or holds a token.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; create it first with `nonverbal release ... --out FOLDER`")
    found = {path.relative_to(folder).as_posix(): _identity(path, token) for path in sorted(_plain(folder))}
    if not found:
        raise UserError(f"{folder} is empty; create it first with `nonverbal release ... --out FOLDER`")
    return found


def _plain(folder: Path) -> Iterable[Path]:
    for root, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(root, name)
            if name.startswith(".") or path.is_symlink() or not (path.is_dir() or path.is_file()):
                raise UserError(
                    f"{path} is hidden, a link, or not a regular file, and a release must not contain it; remove it, "
                    "or release into another folder"
                )
        yield from (Path(root, name) for name in names)


def _identity(path: Path, token: str | None) -> Identity:
    size = path.stat().st_size
    git, sha256, tail = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False), hashlib.sha256(), b""
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            git.update(chunk)
            sha256.update(chunk)
            # A token may lie across two chunks.
            _refuse_tokens(path, tail + chunk, token)
            tail = chunk[-200:]
    return Identity(git.hexdigest(), sha256.hexdigest(), size)


def _refuse_tokens(path: Path, text: bytes, token: str | None) -> None:
    if holds_token(text) or (token and token.encode() in text):
        raise UserError(
            f"{path} contains a token, key or password; revoke it where it was created, find what wrote it there, and "
            "release again"
        )


def key_of(contents: Identities) -> str:
    """Return what a release is known by: 12 hexadecimal digits of a hash over its names and contents."""
    text = "".join(f"{name}\0{identity.sha256}\n" for name, identity in sorted(contents.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def same(contents: Identities, remote: Iterable[Any]) -> bool:
    """Whether a revision holds these files and no others, those aside that stay.

    Args:
        contents: of the folder.
        remote: ``RepoFile`` of huggingface_hub for each file of the revision.
    """
    there = {file.path: file.lfs.sha256 if file.lfs else file.blob_id for file in remote if file.path not in KEPT}
    if there.keys() != contents.keys():
        return False
    return all(there[name] in (identity.oid, identity.sha256) for name, identity in contents.items())


def differences(wanted: Identities, got: Identities) -> str:
    """Say which files are missing, too many or other, or nothing where all are as wanted."""
    missing, extra = sorted(wanted.keys() - got.keys()), sorted(got.keys() - wanted.keys())
    other = sorted(name for name in wanted.keys() & got.keys() if wanted[name].sha256 != got[name].sha256)
    said = {"missing": missing, "unexpected": extra, "changed": other}
    return "; ".join(f"{what}: {', '.join(map(shown, names))}" for what, names in said.items() if names)
