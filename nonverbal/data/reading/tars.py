"""Tars whose members are read in place: a member's path is the tar's path and its own, ``train-000.tar/KEY.flac``.

If a name is repeated, its later members are distinguished by their number: ``KEY#2.flac``.
"""

import errno
import os
import re
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import IO, NamedTuple

from nonverbal.data.reading.problems import MemberProblem

NAME = re.compile(r"\.(tar(\.(gz|bz2|xz|zst))?|tgz)(?=/|$)", re.IGNORECASE)
"""End of a tar's name; searched for in any path, also that of a member."""

UNPACKERS = {b"\x1f\x8b": "gunzip", b"BZh": "bunzip2", b"\xfd7zXZ": "unxz", b"\x28\xb5\x2f\xfd": "unzstd"}
"""First bytes of compressed files, with the program that unpacks them."""

DAMAGED = (tarfile.TarError, ValueError, LookupError, OverflowError, RecursionError, MemoryError)
"""Exceptions of tarfile for false headers."""

ITSELF = "."
"""The member of a tar that stands for the tar itself."""

LINK = "a link in a tar, which is not followed"
OUTSIDE = "its name leads out of the tar"
SPARSE = "a sparse file in a tar: pack it without --sparse to have it read"
OTHER = "a device, a pipe or the like in a tar"


class Member(NamedTuple):
    """The place of a file in a tar."""

    name: str
    """As in the tar, which may have several members with the same name."""
    offset: int
    size: int


@dataclass
class Listing:
    """The content of a tar."""

    members: dict[str, Member] = field(default_factory=dict)
    """Complete files, in order, by the paths that distinguish them."""
    refused: dict[str, str] = field(default_factory=dict)
    """Reasons why other members are not read, by path."""
    damage: str | None = None
    """Why anything after the last member is unknown; None if the tar ends as it should."""


def is_tar(path: Path) -> bool:
    """Whether a file is a tar, by its name."""
    return NAME.search(path.name) is not None and os.path.isfile(path)


def split(path: Path) -> tuple[Path, str] | None:
    """Return the tar and the member that a path names, ``ITSELF`` for the tar's own; None if there is no tar in it."""
    if not NAME.search(path.as_posix()):
        return None
    tar = next(filter(is_tar, (path, *path.parents)), None)
    return None if tar is None else (tar, path.relative_to(tar).as_posix())


def listing(tar: Path) -> Listing:
    """Return the content of a tar, up to where it is damaged.

    Raises:
        OSError: it cannot be read at all.
    """
    return _listing(tar, tar.stat().st_mtime_ns)


def read(tar: Path, path: str, most: int) -> bytes:
    """Return the content of the member that ``listing`` gives under ``path``.

    Raises:
        MemberProblem: it has more than ``most`` bytes, or is the tar itself, which is damaged.
        OSError: it does not exist, or the tar cannot be read.
    """
    listed = listing(tar)
    if path == ITSELF:
        raise MemberProblem(errno.EINVAL, listed.damage or "a tar, which is not audio", str(tar))
    if path not in listed.members:
        raise FileNotFoundError(errno.ENOENT, "not in the tar", str(tar / path))
    member = listed.members[path]
    if member.size > most:
        raise MemberProblem(errno.EFBIG, f"it has more than {most} bytes", str(tar / path))
    with open(tar, "rb") as file:
        file.seek(member.offset)
        return file.read(member.size)


@lru_cache(maxsize=8)
def _listing(tar: Path, changed: int) -> Listing:
    """List a tar once per process, because reading the headers of a large tar takes a while."""
    found = Listing()
    numbers: Counter[str] = Counter()
    refused: list[tuple[str, str]] = []
    with open(tar, "rb") as file:
        try:
            for info in _headers(file, os.fstat(file.fileno()).st_size):
                name = re.sub(r"/(\./|/)+", "/", re.sub(r"^(\./+)+", "", info.name))
                why = _why_not(info, name)
                if why is not None:
                    refused.append((name, why))
                elif not info.isdir():
                    found.members[_told_apart(name, numbers)] = Member(name, info.offset_data, info.size)
        except DAMAGED as error:
            found.damage = f"{error or type(error).__name__}; {len(found.members) or 'no'} files before that"
    # These come last, so that they take no name from a file.
    found.refused = {_told_apart(name, numbers): why for name, why in refused}
    return found


def _why_not(info: tarfile.TarInfo, name: str) -> str | None:
    if info.islnk() or info.issym():
        return LINK
    if info.issparse():
        return SPARSE
    if info.isdir():
        return None
    if not info.isreg():
        return OTHER
    leads_out = not name or name.startswith("/") or ".." in name.split("/") or "\0" in name
    return OUTSIDE if leads_out else None


def _told_apart(name: str, numbers: Counter[str]) -> str:
    """Return a path that no earlier member has; case does not count after the first dot.

    Args:
        name: of the member.
        numbers: how often each name has occurred before.
    """
    folder, slash, file = name.rpartition("/")
    stem, dot, ending = file.partition(".")
    path = name
    while True:
        alike = f"{folder}{slash}{stem}{dot}{ending.lower()}"
        numbers[alike] += 1
        if numbers[alike] == 1:
            return path
        if stem:
            stem = f"{stem}#{numbers[alike]}"
        else:
            ending = f"{ending}#{numbers[alike]}"
        path = f"{folder}{slash}{stem}{dot}{ending}"


def _headers(file: IO[bytes], size: int) -> Iterator[tarfile.TarInfo]:
    """Yield the members of a tar whose data are complete, and those of tars that were appended to it.

    Raises:
        tarfile.TarError: it is damaged; tarfile itself mistakes a damaged header for the end.
    """
    start = file.read(tarfile.BLOCKSIZE)
    for magic, program in UNPACKERS.items():
        if start.startswith(magic) and start[257:262] != b"ustar":
            raise tarfile.ReadError(f"compressed: unpack it first, with {program}")
    end: int | None = 0
    while end is not None:
        file.seek(end)
        tar = tarfile.TarFile(fileobj=file, encoding="utf-8", errors="surrogateescape")
        while (info := tar.next()) is not None:
            if info.size < 0 or tar.offset < info.offset_data:
                raise tarfile.ReadError(f"the header at byte {info.offset} is damaged")
            if info.isreg() and not info.issparse() and info.offset_data + info.size > size:
                raise tarfile.ReadError(f"cut in {info.name!r}, {size - info.offset_data} of {info.size} bytes in")
            yield info
            # Otherwise it would keep the headers of all members.
            tar.members = []  # type: ignore[attr-defined]
        end = _after_end(file, tar.offset)


def _after_end(file: IO[bytes], at: int) -> int | None:
    """Return where another tar begins after the end of one at byte ``at``; None if only zeros follow.

    Raises:
        tarfile.TarError: there is no end mark, a block of zeros.
    """
    file.seek(at)
    block = file.read(tarfile.BLOCKSIZE)
    if len(block) < tarfile.BLOCKSIZE:
        raise tarfile.ReadError(f"it stops at byte {at} without the mark of an end, and may be cut there")
    if block.strip(b"\0"):
        raise tarfile.ReadError(f"the header at byte {at} is damaged")
    while chunk := file.read(1 << 20):
        if chunk.strip(b"\0"):
            zeros = len(chunk) - len(chunk.lstrip(b"\0"))
            place = file.tell() - len(chunk) + zeros
            return place - place % tarfile.BLOCKSIZE
    return None
