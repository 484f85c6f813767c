"""Zip archives read as the folders that they unpack to: the path of a member is the archive's path and its own.

``train.zip/laugh/1.wav`` may be named ``laugh\\1.wav`` or ``./laugh//1.wav`` in train.zip by other systems. Members of
tars can be read in the same way, but only ``nonverbal.data.reading.tars`` lists them.
"""

import errno
import io
import lzma
import os
import re
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import IO

from nonverbal.data.reading import tars
from nonverbal.data.reading.problems import MemberProblem
from nonverbal.errors import UserError
from nonverbal.files import is_own_fault

LARGEST_MEMBER = 1 << 32
"""Largest unpacked size of a member in bytes; a small archive can claim any size."""

LFS = b"version https://git-lfs"
"""Beginning of a Git LFS pointer."""

UTF8 = 1 << 11
ENCRYPTED = 1
"""Bits of a member's flags."""

FAILING = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENXIO)
"""Error numbers of a disk or network that fails."""

DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, NotImplementedError)
"""Exceptions of zipfile and the libraries below it for a member; NotImplementedError is for unknown compression."""


class DamagedArchive(UserError):
    """The list of members of an archive cannot be read because the archive itself is at fault."""


def is_archive(path: Path) -> bool:
    """Whether a file is read as a folder: a zip archive, according to its extension."""
    return path.suffix.lower() == ".zip" and os.path.isfile(path)


def unpacked(path: str) -> str:
    """Return a path as if each archive on it had been unpacked into a folder of the archive's name."""
    return re.sub(r"(?i)\.zip(?=/)", "", path)


def members(archive: Path) -> list[str]:
    """Return the files of an archive, sorted, as paths in it.

    Raises:
        UserError: as in ``contents``.
    """
    return sorted(contents(archive))


def contents(archive: Path) -> Mapping[str, zipfile.ZipInfo]:
    """Return the entries of an archive's files, by their paths in it.

    Raises:
        DamagedArchive: its list of members cannot be read.
        UserError: a file in it would lie outside, two files have the same name, or the machine cannot read it.
    """
    try:
        return _opened(archive, _changed(archive))[1]
    except OSError as error:
        raise UserError(f"{archive} cannot be read: {error.strerror or error}") from error


def is_link(info: zipfile.ZipInfo) -> bool:
    """Whether a member is a link, whose content is a path."""
    return stat.S_ISLNK(info.external_attr >> 16)


def _is_lfs_pointer(path: Path) -> bool:
    """Whether a file is the pointer that a clone without Git LFS has in place of a large file."""
    try:
        with open(path, "rb") as file:
            return file.read(len(LFS)) == LFS
    except OSError:
        return False


@contextmanager
def as_file(path: Path) -> Iterator[Path]:
    """Yield a file of its own for a member of an archive, and any other path unchanged.

    Raises:
        MemberProblem: the member is damaged, encrypted, or too large.
        FileNotFoundError: it is missing.
        UserError: there is no room to unpack it, or the machine has another fault.
    """
    found = _split(path)
    if found is None:
        yield path
        return
    with ExitStack() as held:
        with _member(*found) as member, _room_to_unpack(path):
            file = held.enter_context(tempfile.NamedTemporaryFile(suffix=path.suffix))
            shutil.copyfileobj(member, file, 1 << 20)
            file.flush()
        yield Path(file.name)


def read_bytes(path: Path) -> bytes:
    """Return the content of a file or member.

    Raises:
        OSError: as in ``as_file``.
    """
    with as_file(path) as file:
        return file.read_bytes()


def size_and_time(path: Path) -> tuple[int, int]:
    """Return the state of a file: its size and time of change, or a member's size and checksum; zeros if it is missing.

    A member of a tar, which has no checksum, has the state of the tar.
    """
    found = _split(path)
    try:
        if found is None or tars.is_tar(found[0]):
            state = (found[0] if found else path).stat()
            return state.st_size, state.st_mtime_ns
        info = contents(found[0])[found[1]]
    except (OSError, KeyError, DamagedArchive) as error:
        if isinstance(error, OSError) and not is_own_fault(error):
            raise
        return 0, 0
    return info.file_size, info.CRC


def _split(path: Path) -> tuple[Path, str] | None:
    """Return the archive and the member that a path names; None if it is not a path into an archive."""
    if (in_tar := tars.split(path)) is not None:
        return in_tar
    if path.suffix.lower() != ".zip" and ".zip/" not in str(path).lower():
        return None
    archives = (parent for parent in path.parents if is_archive(parent))
    archive = next(archives, None)
    return None if archive is None else (archive, path.relative_to(archive).as_posix())


@contextmanager
def _member(archive: Path, name: str) -> Iterator[IO[bytes]]:
    if tars.is_tar(archive):
        yield io.BytesIO(tars.read(archive, name, LARGEST_MEMBER))
        return
    path = str(archive / name)
    opened, infos = _opened(archive, _changed(archive))
    if name not in infos:
        raise FileNotFoundError(errno.ENOENT, "not in the archive", path)
    if infos[name].file_size > LARGEST_MEMBER:
        raise MemberProblem(errno.EFBIG, f"unpacked, it has more than {LARGEST_MEMBER} bytes", path)
    if infos[name].flag_bits & ENCRYPTED:
        raise MemberProblem(errno.EINVAL, "encrypted in its archive; unpack that with its password", path)
    try:
        with opened.open(infos[name]) as file:
            yield file
    except (*DAMAGED, UnicodeError, OverflowError, OSError) as error:
        # bz2 raises an OSError without a number for damage; EINVAL is for a position before the archive's beginning.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        raise MemberProblem(errno.EINVAL, f"damaged or locked in its archive: {error}", path) from error


@contextmanager
def _room_to_unpack(path: Path) -> Iterator[None]:
    """Distinguish faults of the place where a member is unpacked from those of the member and of the archive's disk."""
    try:
        yield
    except OSError as error:
        if error.errno in (None, *FAILING):
            raise
        # If no folder accepts a file, Python reports that it found none.
        place = tempfile.tempdir or "a folder for temporary files"
        raise UserError(
            f"{path} cannot be unpacked to {place}: {error.strerror or error}; make room there, or name another folder "
            "as TMPDIR, and run the same command again"
        ) from error


def _changed(archive: Path) -> int:
    return archive.stat().st_mtime_ns


@lru_cache(maxsize=8)
def _opened(archive: Path, changed: int) -> tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]:
    """Open an archive once per process, because reading a large archive's list of members takes a while."""
    try:
        opened = zipfile.ZipFile(archive)
    except (*DAMAGED, ValueError) as error:  # ValueError is for a name that is not the UTF-8 it says
        cause = error.__context__
        # zipfile mistakes a read error of a failing disk for damage.
        if isinstance(cause, OSError) and cause.errno in FAILING:
            raise cause from error
        if _is_lfs_pointer(archive):
            raise UserError(f"{archive} is a Git LFS pointer, not the archive itself; git lfs pull gets it") from error
        raise DamagedArchive(
            f"{archive} is not a complete zip archive ({error}); download it again, or move it elsewhere"
        ) from error
    found: dict[str, zipfile.ZipInfo] = {}
    for info in opened.infolist():
        name = _name(info).replace("\\", "/")
        if name.endswith("/"):
            continue
        path = _inside(archive, name)
        first = found.setdefault(path, info)
        if (first.CRC, first.file_size) != (info.CRC, info.file_size):
            raise UserError(
                f"{archive} holds two different files named {path!r}; unpack it, give one of them another name, and "
                "move the archive elsewhere"
            )
    return opened, found


def _name(info: zipfile.ZipInfo) -> str:
    """Return a member's name, decoded as UTF-8 if possible: macOS writes UTF-8 without setting the flag for it."""
    if info.flag_bits & UTF8:
        return info.filename
    try:
        return info.filename.encode("cp437").decode()
    except UnicodeError:
        return info.filename


def _inside(archive: Path, name: str) -> str:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if not parts or ".." in parts or re.match(r"/|[A-Za-z]:/", name):
        raise UserError(f"{archive} names the file {name!r}, which is not inside it; do not trust this archive")
    return "/".join(parts)
