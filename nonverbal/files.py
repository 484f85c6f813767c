"""Files that are whole or not there, and folders that belong to one process at a time."""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import platform
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from nonverbal.errors import UserError

HALF = rb"\ud"
"""How JSON escapes one of two halves of a character, in small letters; and some whole ones."""

IN_USE = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
"""What ``flock`` says of a file that another process has locked; the last on file systems that make it a lock of
``fcntl``, such as NFS."""

OWN_FAULTS = (
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EACCES,
    errno.EPERM,
    errno.ELOOP,
    errno.ENAMETOOLONG,
)
"""What stays wrong with a file however often it is read."""


def is_own_fault(error: OSError) -> bool:
    """Whether a file is at fault itself, rather than its disk, network or memory, which may be well again later."""
    return error.errno in OWN_FAULTS


@contextlib.contextmanager
def locked(
    folder: Path, remedy: str = "wait for it, stop it, or choose another --out", wait: bool = False
) -> Iterator[None]:
    """Hold a folder, made where it is missing, for this process.

    Where its file system has no locks (Lustre that is mounted without them, some of FUSE), say so on standard error and
    go on: nothing keeps two processes apart there.

    Args:
        folder: what is held.
        remedy: what to do where another process holds it.
        wait: whether to wait where another process holds it, until that lets go.

    Raises:
        UserError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            if error.errno in IN_USE:
                file.seek(0)
                raise UserError(
                    f"{folder} is in use by another process ({file.read().strip() or 'unknown'}); {remedy}"
                ) from error
            text = f"{folder} cannot be locked ({error.strerror}): make sure that no other process uses it"
            print(f"nonverbal: warning: {text}", file=sys.stderr)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}\n")
        file.flush()
        yield


@contextlib.contextmanager
def room_for(folder: Path) -> Iterator[None]:
    """Turn the errors of a full disk into one that says so.

    Raises:
        UserError: no space is left, or none that this user may take.
    """
    try:
        yield
    except Exception as error:
        # safetensors has an error of its own, which says the number in its text alone.
        number = error.errno if isinstance(error, OSError) else errno.ENOSPC if "(os error 28)" in str(error) else None
        if number not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(
            f"no space is left for {folder}; make room, and run the same command again: it continues"
        ) from error


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, text: str) -> None:
    """Write ``text`` so that ``path`` is at every moment the old file or the new one."""
    temporary = path.with_name(f".{path.name}.new")
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Return when a file's content, or a folder's list of names, is on the disk and would survive a power loss."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot sync a folder.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP) or not path.is_dir():
            raise
    finally:
        os.close(descriptor)


def read_json(path: Path) -> Any:
    """Return what a file of JSON holds.

    Raises:
        ValueError: it is not JSON in UTF-8, or holds what no file can.
        OSError: it cannot be read.
    """
    return json_of(path.read_bytes())


def json_of(data: bytes) -> Any:
    """Return what JSON in UTF-8 holds.

    Raises:
        ValueError: it is none, is nested too deeply to be read, or escapes half a character, which nothing can write.
    """
    try:
        content = json.loads(data.decode("utf-8"))
        if HALF in data.lower():
            json.dumps(content, ensure_ascii=False).encode("utf-8")
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return content


def json_lines(path: Path, torn: bool = False) -> Iterator[tuple[int, Any]]:
    """Yield the number, from 1, and the content of each line of JSON Lines. Only ``\\n`` ends a line.

    ``str.splitlines`` and text files in other programs end one at U+2028 and others too, which a label may hold.

    Args:
        path: the file.
        torn: whether the last line may be one that is still being written; it is left out.

    Raises:
        UserError: a line is not JSON; names it.
        OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if torn and not line.endswith(b"\n"):
                return
            try:
                content = json_of(line)
            except ValueError as error:
                raise UserError(f"{path}, line {number}: not a JSON object ({error})") from error
            yield number, content


def write_lines(path: Path, rows: Iterable[Any]) -> None:
    """Write rows as JSON Lines, so that ``path`` is at every moment the old file or the new one."""
    unfinished = path.with_name(f".{path.name}.new")
    with open(unfinished, "w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    os.replace(unfinished, path)


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a path beside ``path`` to write a file or folder to, which takes its place when the block has ended well."""
    new, old = (path.with_name(f".{path.name}.{end}") for end in ("new", "old"))
    path.parent.mkdir(parents=True, exist_ok=True)
    if old.exists() and not path.exists():
        # A process was killed between the two steps below.
        os.replace(old, path)
    for leftover in (new, old):
        _remove(leftover)
    try:
        yield new
        if path.is_dir():
            # A folder that holds something cannot be replaced in one step.
            os.replace(path, old)
        os.replace(new, path)
    finally:
        _remove(new)
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
