"""The files of a folder and of a repository's revision, compared by hashes; and what must not be uploaded."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nonverbal.errors import UserError
from nonverbal.release.contents import contents_of
from nonverbal.release.tokens import holds_token
from nonverbal.text import shown

CHUNK = 1 << 20

KEPT = frozenset({".gitattributes", "LICENSE"})
"""Files that stay as they are in a repository and are not part of a release: the Hub's list of large files, and a file
that the Hub's page creates."""


@dataclass(frozen=True)
class Identity:
    """A file's content: Git's SHA-1, which the Hub uses for small files; SHA-256, for large files; size in bytes."""

    oid: str
    sha256: str
    size: int


Identities = Mapping[str, Identity]
"""From the path in the folder, with ``/``, to the file's content."""


def identities_of(folder: Path, token: str | None = None) -> dict[str, Identity]:
    """Read all files of a folder.

    Args:
        folder: a folder of regular files and folders, none of which is hidden.
        token: a token that no file may contain. Anything else that looks like a token is refused too.

    Raises:
        UserError: there is no such folder; it is empty; a file is hidden, a link or not regular, or contains a token.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; create it first with `nonverbal release ... --out FOLDER`")
    found = contents_of(folder)
    everything = [*found.files, *found.of_the_hub]
    hidden = [name for name in everything if any(part.startswith(".") for part in name.split("/"))]
    if unfit := [*hidden, *found.links, *found.others]:
        raise UserError(
            f"{folder / unfit[0]} is hidden, a link, or not a regular file, and a release must not contain it; remove "
            "it, or release into another folder"
        )
    if not everything:
        raise UserError(f"{folder} is empty; create it first with `nonverbal release ... --out FOLDER`")
    return {name: _identity(folder / name, token) for name in sorted(everything)}


def _identity(path: Path, token: str | None) -> Identity:
    size = path.stat().st_size
    git, sha256, tail = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False), hashlib.sha256(), b""
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            git.update(chunk)
            sha256.update(chunk)
            # A token may span two chunks.
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
    """Return the key of a release: 12 hexadecimal digits of a hash over the names and contents of its files."""
    text = "".join(f"{name}\0{identity.sha256}\n" for name, identity in sorted(contents.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def same(contents: Identities, remote: Iterable[Any]) -> bool:
    """Whether a revision holds exactly these files, apart from those in ``KEPT``.

    Args:
        contents: the files of the folder.
        remote: huggingface_hub's ``RepoFile`` for each file of the revision.
    """
    there = {file.path: file.lfs.sha256 if file.lfs else file.blob_id for file in remote if file.path not in KEPT}
    if there.keys() != contents.keys():
        return False
    return all(there[name] in (identity.oid, identity.sha256) for name, identity in contents.items())


def differences(wanted: Identities, got: Identities) -> str:
    """Return which files are missing, unexpected or changed; empty if all are as wanted."""
    missing, extra = sorted(wanted.keys() - got.keys()), sorted(got.keys() - wanted.keys())
    other = sorted(name for name in wanted.keys() & got.keys() if wanted[name].sha256 != got[name].sha256)
    said = {"missing": missing, "unexpected": extra, "changed": other}
    return "; ".join(f"{what}: {', '.join(map(shown, names))}" for what, names in said.items() if names)
