"""Checks that a folder is the same for all processes of a launch, and that its locks work between them."""

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import time
from pathlib import Path
from typing import IO, Any, Protocol

from nonverbal.text import size
from nonverbal.training.launching.facts import Facts, ranks

PATIENCE = 5.0
"""Seconds within which a new file must become visible on other nodes; NFS may cache the list of a folder for a few."""

LITTLE = 10_000_000_000
"""Bytes that should be free: enough for a few checkpoints of a base model (1.1 GB each) and its encoder."""


class Talk(Protocol):
    """How the processes exchange messages; ``check.Meeting`` is one."""

    rank: int

    def exchange(self, stage: str, content: Any, least: float = 0.0) -> list[Any]:
        """Send ``content`` to the others, and return that of each by rank. They have at least ``least`` seconds."""


def look_together(folder: Path, talk: Talk, facts: list[Facts]) -> tuple[dict[str, Any], list[str], list[str]]:
    """Let the first process write a file to ``folder`` and lock it, and the others look for file and lock.

    Afterwards the file is removed, and also the folder if this function has made it. Every process must call this.

    Returns:
        facts about the folder, problems, and warnings; the same in every process.
    """
    name = f".launch-check-{secrets.token_hex(8)}"
    made, file = [], None
    try:
        mine = None
        if talk.rank == 0:
            made = [place for place in (folder, *folder.absolute().parents) if not place.exists()]
            file, mine = _write(folder, name)
        # No process looks before the file exists, because an NFS client caches for long that a file does not exist.
        written = talk.exchange("written", mine)[0]
        sight = _look(folder / written["name"]) if "name" in written else {}
        # The first process sees its own file at once, but the others may need all their time.
        sights = talk.exchange("seen", sight, 2 * PATIENCE)
    finally:
        if file is not None:
            file.close()
            (folder / name).unlink()
        for place in made:
            # Another program may have written something there.
            with contextlib.suppress(OSError):
                place.rmdir()
    return _judge(folder, written, sights, facts)


def _write(folder: Path, name: str) -> tuple[IO[str] | None, dict[str, Any]]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / name, "a+", encoding="utf-8")  # noqa: SIM115
        file.write(name)
        file.flush()
        os.fsync(file.fileno())
        return file, {"name": name, "lock": _lock(file), "free": shutil.disk_usage(folder).free}
    except OSError as error:
        with contextlib.suppress(OSError):
            (folder / name).unlink()
        return None, {"error": error.strerror}


def _look(path: Path) -> dict[str, Any]:
    """Look for the first process's file, and try to lock it. The first process, which holds the lock, does so too."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            # Listing the folder makes an NFS client ask the server for new files.
            os.listdir(path.parent)
            with open(path, "r+", encoding="utf-8") as file:
                if file.read() == path.name:
                    return {"seen": True, "lock": _lock(file)}
            why = "its content is missing"
        except OSError as error:
            why = str(error.strerror)
        if time.monotonic() > deadline:
            return {"seen": False, "why": why}
        time.sleep(0.2)


def _lock(file: IO[str]) -> str:
    """Try to lock a file. Return ``taken``, ``held`` (by another process), or the error."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return "held" if error.errno in (errno.EAGAIN, errno.EACCES) else str(error.strerror)
    return "taken"


def _judge(
    folder: Path, written: dict[str, Any], sights: list[dict[str, Any]], facts: list[Facts]
) -> tuple[dict[str, Any], list[str], list[str]]:
    if "error" in written:
        problem = f"{facts[0].name} cannot write to {folder} ({written['error']}): choose a writable --out"
        return {"free": None, "flock": None}, [problem], []
    blind = [rank for rank, sight in enumerate(sights) if not sight["seen"]]
    wrong = [
        f"{facts[rank].name} does not see what {facts[0].name} wrote to {folder} ({sights[rank]['why']}, for "
        f"{PATIENCE:g} s): --out must be on a file system that all nodes share, with the same path"
        for rank in blind
    ]
    # The first process holds the lock, so no other may get it. If NFS or Lustre locks only within a node, processes on
    # other nodes get it.
    free = [rank for rank, sight in enumerate(sights) if rank > 0 and sight.get("lock") == "taken"]
    lock, doubtful = "works", []
    if written["lock"] != "taken":
        lock = f"fails ({written['lock']})"
    elif free:
        lock = f"has no effect on {ranks(free)}"
    if lock != "works":
        doubtful.append(
            f"flock {lock} in {folder}: two runs could write there at once; mount the file system with flock (Lustre: "
            "-o flock), or make sure yourself that only one run uses the folder"
        )
    if written["free"] < LITTLE:
        doubtful.append(f"{folder} has {size(written['free'])} free: a few checkpoints and the encoder may not fit")
    return {"free": written["free"], "flock": lock}, wrong, doubtful
