"""Files that are either complete or absent, and folders that only one process uses at a time."""

import contextlib
import errno
import fcntl
import fnmatch
import hashlib
import itertools
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

from nonverbal.errors import UserError

HALF = rb"\ud"
"""How JSON escapes one half of a surrogate pair, in lower case; some whole characters are escaped like this too."""

IN_USE = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
"""Errors of ``flock`` for a file that another process has locked; the last is from file systems, such as NFS, that use
``fcntl`` locks instead."""

REMOVED = 100
"""How often a folder may be removed right after it was made, before locking it fails."""

PAUSE, PATIENCE = 0.05, 10
"""Seconds between attempts at a lock that another process holds, and until a message says that this process waits."""

OWN_FAULTS = (
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EACCES,
    errno.EPERM,
    errno.ELOOP,
    errno.ENAMETOOLONG,
)
"""Errors for which the file itself is at fault, and which occur however often it is read."""


class NoSpace(UserError):
    """A disk or a quota is full."""


def is_own_fault(error: OSError) -> bool:
    """Whether the file itself is at fault, rather than its disk, network or memory, which may recover."""
    return error.errno in OWN_FAULTS


@contextlib.contextmanager
def locked(
    folder: Path, remedy: str = "wait for it, stop it, or choose another --out", wait: bool = False
) -> Iterator[None]:
    """Lock a folder for this process. It is made if missing, and removed again if the block fails and leaves it empty.

    If its file system has no locks (Lustre mounted without them, some FUSE file systems), a warning is printed on
    standard error: nothing then keeps two processes apart.

    Args:
        folder: to be locked.
        remedy: what to do if another process has locked it.
        wait: whether to wait until another process unlocks it.

    Raises:
        UserError: another process has locked it.
    """
    is_new = not folder.exists()
    while True:
        with _lock_file(folder) as file:
            _lock(file, folder, remedy, wait)
            if not _is_at(file, folder / ".lock"):
                # The process that had locked the folder has removed it meanwhile, and others may lock the one that
                # exists now.
                continue
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()}\n")
            file.flush()
            try:
                yield
            except BaseException:
                if is_new:
                    _remove_unused(folder, file)
                raise
            return


def _remove_unused(folder: Path, lock: TextIO) -> None:
    """Remove a folder that holds nothing but its lock; a failure to do so must not hide the error of the block."""
    with contextlib.suppress(OSError):
        # The block may have removed the folder, and another process may have made it again and hold it.
        if os.listdir(folder) == [".lock"] and _is_at(lock, folder / ".lock"):
            (folder / ".lock").unlink()
            # While a removed file is open, NFS keeps it in the folder under another name.
            lock.close()
            folder.rmdir()


def _lock(file: TextIO, folder: Path, remedy: str, wait: bool) -> None:
    """Lock an open file; print a message if this takes long."""
    for turn in itertools.count():
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as error:
            if error.errno not in IN_USE:
                text = f"{folder} cannot be locked ({error.strerror}): make sure that no other process uses it"
                print(f"nonverbal: warning: {text}", file=sys.stderr)
                return
            file.seek(0)
            who = f"{folder} is in use by another process ({file.read().strip() or 'unknown'})"
            if not wait:
                raise UserError(f"{who}; {remedy}") from error
        if turn == PATIENCE / PAUSE:
            print(f"nonverbal: {who}; waiting for it", file=sys.stderr, flush=True)
        time.sleep(PAUSE)


def _lock_file(folder: Path) -> TextIO:
    """Open a folder's lock file, and make the folder again if another process removes it meanwhile."""
    for _ in range(REMOVED):
        with contextlib.suppress(FileNotFoundError, FileExistsError):
            folder.mkdir(parents=True, exist_ok=True)
            return open(folder / ".lock", "a+", encoding="utf-8")
    folder.mkdir(parents=True, exist_ok=True)
    return open(folder / ".lock", "a+", encoding="utf-8")


def _is_at(file: TextIO, path: Path) -> bool:
    """Whether an open file is still the file at this path."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def room_for(folder: Path, continues: bool = True) -> Iterator[None]:
    """Turn the error of a full disk into one that names the folder and the remedy.

    Args:
        folder: what is written: a folder or a file.
        continues: whether the same command, run again, continues rather than starts over.

    Raises:
        NoSpace: no space is left, or none that this user may use.
    """
    try:
        yield
    except Exception as error:
        if not is_full(error):
            raise
        again = "make room, and run the same command again" + (": it continues" if continues else "")
        raise NoSpace(f"no space is left for {folder}; {again}") from error


def is_full(error: BaseException) -> bool:
    """Whether a disk or a quota is full."""
    # safetensors has its own error, which gives the number only in its text.
    number = error.errno if isinstance(error, OSError) else errno.ENOSPC if "(os error 28)" in str(error) else None
    return number in (errno.ENOSPC, errno.EDQUOT)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, text: str) -> None:
    """Write ``text`` so that at every moment ``path`` is the old file or the new one."""
    with _in_place_of(path) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    sync(path.parent)


@contextlib.contextmanager
def _in_place_of(path: Path) -> Iterator[TextIO]:
    """Open a file beside ``path`` that replaces it when the block succeeds, and is removed if it fails."""
    unfinished = path.with_name(f".{path.name}.new")
    try:
        with open(unfinished, "w", encoding="utf-8") as file:
            yield file
        os.replace(unfinished, path)
    except BaseException:
        # An unfinished file would occupy space on a full disk.
        unfinished.unlink(missing_ok=True)
        raise


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
    """Return the content of a JSON file.

    Raises:
        ValueError: as in ``json_of``.
        OSError: it cannot be read.
    """
    return json_of(path.read_bytes())


def json_of(data: bytes) -> Any:
    """Return the content of JSON in UTF-8.

    Raises:
        ValueError: it is not JSON, is nested too deeply, or escapes half of a character, which cannot be encoded.
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

    ``str.splitlines`` and other programs also split lines at U+2028 and similar characters, which a label may contain.

    Args:
        path: the file.
        torn: whether the last line may be incomplete because it is still being written; it is then left out.

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
    """Write rows as JSON Lines, so that at every moment ``path`` is the old file or the new one."""
    with _in_place_of(path) as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def files_below(folder: Path, pattern: str) -> list[Path]:
    """Return the files in a folder and its subfolders whose names match a pattern, sorted.

    Folders that a run removes meanwhile are skipped; ``Path.rglob`` stops at them.
    """
    found = ((place, name) for place, _, names in os.walk(folder) for name in fnmatch.filter(names, pattern))
    return sorted(Path(place, name) for place, name in found)


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a path beside ``path`` to write a file or folder to. It replaces ``path`` when the block succeeds."""
    new, old = (path.with_name(f".{path.name}.{end}") for end in ("new", "old"))
    path.parent.mkdir(parents=True, exist_ok=True)
    if old.exists() and not path.exists():
        # A process was killed between the two steps below.
        os.replace(old, path)
    for leftover in (new, old):
        _remove(leftover)
    try:
        yield new
        make_readable(new)
        if path.is_dir():
            # A folder that is not empty cannot be replaced in one step.
            os.replace(path, old)
        os.replace(new, path)
    finally:
        _remove(new)
    _remove(old)


def make_readable(path: Path) -> None:
    """Give tensor files, one or all in a folder, the permissions of other new files; safetensors makes them private."""
    usual = 0o666 & ~_umask()
    for file in files_below(path, "*.safetensors") if path.is_dir() else [path]:
        if file.is_file() and not file.is_symlink():
            file.chmod(file.stat().st_mode | usual)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
