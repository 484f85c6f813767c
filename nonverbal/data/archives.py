"""Zip archives read as folders: a member's path is the archive's and its own, ``train.zip/laugh/1.wav``.

Members of tars can be read the same way, but are listed by ``nonverbal.data.tars`` alone.
"""

import errno
import io
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import IO

from nonverbal.data import tars
from nonverbal.errors import UserError

LARGEST_MEMBER = 1 << 32
"""Bytes that a member may have unpacked; a small archive can promise any number."""

LFS = b"version https://git-lfs"
"""How a pointer of Git LFS begins."""


def is_archive(path: Path) -> bool:
    """Whether a file is read as a folder: a zip, unless it has been unpacked beside itself."""
    return path.suffix.lower() == ".zip" and path.is_file() and not path.with_suffix("").is_dir()


def members(archive: Path) -> list[str]:
    """Return the files of an archive, sorted, as paths in it.

    Raises:
        UserError: it is damaged, or names a file that would lie outside.
    """
    try:
        names = sorted(name for name in _opened(archive, _changed(archive)).namelist() if not name.endswith("/"))
    except (zipfile.BadZipFile, OSError) as error:
        if _is_lfs_pointer(archive):
            raise UserError(f"{archive} is a Git LFS pointer, not the archive itself; git lfs pull gets it") from error
        raise UserError(
            f"{archive} is no complete zip archive ({error}); get it again, or move it elsewhere"
        ) from error
    for name in names:
        if name.startswith("/") or ".." in PurePosixPath(name).parts or str(PurePosixPath(name)) != name:
            raise UserError(f"{archive} names the file {name!r}, which is not inside it; do not trust this archive")
    return names


def _is_lfs_pointer(path: Path) -> bool:
    """Whether a file is what a clone without Git LFS leaves in place of a large one."""
    try:
        with open(path, "rb") as file:
            return file.read(len(LFS)) == LFS
    except OSError:
        return False


@contextmanager
def as_file(path: Path) -> Iterator[Path]:
    """Lend a file of its own to what may be the member of an archive; anything else is returned as it is.

    Raises:
        OSError: the member is missing, damaged, encrypted, or too large.
    """
    found = _split(path)
    if found is None:
        yield path
        return
    with tempfile.NamedTemporaryFile(suffix=path.suffix) as file:
        with _member(*found) as member:
            _copy(member, file, path)
        file.flush()
        yield Path(file.name)


def read_bytes(path: Path) -> bytes:
    """Return the content of a file or member.

    Raises:
        OSError: as ``as_file``.
    """
    with as_file(path) as file:
        return file.read_bytes()


def size_and_time(path: Path) -> tuple[int, int]:
    """Name a state of a file: its size and time of change, or a member's size and checksum; zeros if it is missing.

    Of a member of a tar, which has no checksum, those of the tar.
    """
    found = _split(path)
    try:
        if found is None or tars.is_tar(found[0]):
            stat = (found[0] if found else path).stat()
            return stat.st_size, stat.st_mtime_ns
        info = _opened(found[0], _changed(found[0])).getinfo(found[1])
    except (OSError, KeyError, zipfile.BadZipFile):
        return 0, 0
    return info.file_size, info.CRC


def _split(path: Path) -> tuple[Path, str] | None:
    """The archive and the member that a path names; None where it is no path into an archive."""
    if (in_tar := tars.split(path)) is not None:
        return in_tar
    if path.suffix.lower() != ".zip" and ".zip/" not in str(path).lower():
        return None
    archives = (parent for parent in path.parents if parent.suffix.lower() == ".zip" and parent.is_file())
    archive = next(archives, None)
    return None if archive is None else (archive, path.relative_to(archive).as_posix())


@contextmanager
def _member(archive: Path, name: str) -> Iterator[IO[bytes]]:
    if tars.is_tar(archive):
        yield io.BytesIO(tars.read(archive, name, LARGEST_MEMBER))
        return
    try:
        opened = _opened(archive, _changed(archive))
        if opened.getinfo(name).file_size > LARGEST_MEMBER:
            raise OSError(errno.EFBIG, f"unpacked, it has more than {LARGEST_MEMBER} bytes", str(archive / name))
        with opened.open(name) as file:
            yield file
    except KeyError as error:
        raise FileNotFoundError(errno.ENOENT, "not in the archive", str(archive / name)) from error
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        # RuntimeError is zipfile's word for encrypted, NotImplementedError for an unknown compression.
        raise OSError(errno.EIO, f"damaged or locked in its archive: {error}", str(archive / name)) from error


def _copy(member: IO[bytes], file: IO[bytes], path: Path) -> None:
    try:
        shutil.copyfileobj(member, file, 1 << 20)
    except OSError as error:
        raise OSError(
            error.errno, f"cannot be unpacked to {tempfile.gettempdir()}: {error.strerror}", str(path)
        ) from error


def _changed(archive: Path) -> int:
    return archive.stat().st_mtime_ns


@lru_cache(maxsize=8)
def _opened(archive: Path, changed: int) -> zipfile.ZipFile:
    """Opened once a process: a large archive's list of members takes a while to read."""
    return zipfile.ZipFile(archive)
