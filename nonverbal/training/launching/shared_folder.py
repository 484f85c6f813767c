"""Whether a folder is one and the same for the processes of a launch, and whether its locks hold between them."""

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
"""Seconds in which a new file must become visible on other nodes: NFS lists a folder anew after at most a few."""

LITTLE = 10_000_000_000
"""Bytes that should be free: a few checkpoints of a base model, 1.1 GB each, and its encoder."""


class Talk(Protocol):
    """What the processes tell each other, as ``launch_check.Meeting`` does."""

    rank: int

    def exchange(self, stage: str, content: Any, least: float = 0.0) -> list[Any]:
        """Tell the others ``content`` and return what each has told, by rank. They have ``least`` seconds at least."""


def look_together(folder: Path, talk: Talk, facts: list[Facts]) -> tuple[dict[str, Any], list[str], list[str]]:
    """Let the first process write a file to ``folder`` and hold its lock, and the others look for both.

    The file is removed again, and the folder too where it was made for this. Every process must call this.

    Returns:
        what is known of the folder, what is wrong, and what is doubtful; the same in every process.
    """
    name = f".launch-check-{secrets.token_hex(8)}"
    made, file = [], None
    try:
        mine = None
        if talk.rank == 0:
            made = [place for place in (folder, *folder.absolute().parents) if not place.exists()]
            file, mine = _write(folder, name)
        # Nobody looks before it is there: an NFS client remembers for long that a file is not.
        written = talk.exchange("written", mine)[0]
        sight = _look(folder / written["name"]) if "name" in written else {}
        # The first sees its own file at once, and the others may take all their patience.
        sights = talk.exchange("seen", sight, 2 * PATIENCE)
    finally:
        if file is not None:
            file.close()
            (folder / name).unlink()
        for place in made:
            # Somebody may have put something there.
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
    """Look for the first process's file, and try its lock. In the first process too, which holds it."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            # A new listing makes an NFS client ask for what is new.
            os.listdir(path.parent)
            with open(path, "r+", encoding="utf-8") as file:
                if file.read() == path.name:
                    return {"seen": True, "lock": _lock(file)}
            why = "its content is not there yet"
        except OSError as error:
            why = str(error.strerror)
        if time.monotonic() > deadline:
            return {"seen": False, "why": why}
        time.sleep(0.2)


def _lock(file: IO[str]) -> str:
    """Try to lock a file: ``taken``, ``held`` by another, or why it cannot be."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return "held" if error.errno in (errno.EAGAIN, errno.EACCES) else str(error.strerror)
    return "taken"


def _judge(
    folder: Path, written: dict[str, Any], sights: list[dict[str, Any]], facts: list[Facts]
) -> tuple[dict[str, Any], list[str], list[str]]:
    if "error" in written:
        told = f"{facts[0].name} cannot write to {folder} ({written['error']}): choose an --out that you may write to"
        return {"free": None, "flock": None}, [told], []
    blind = [rank for rank, sight in enumerate(sights) if not sight["seen"]]
    wrong = [
        f"{facts[rank].name} does not see what {facts[0].name} wrote to {folder} ({sights[rank]['why']}, for "
        f"{PATIENCE:g} s): --out must be on a file system that all nodes share, under the same path"
        for rank in blind
    ]
    # The first process holds the lock, and nobody else may take it. What NFS and Lustre lock for the node alone, other
    # nodes do not notice.
    free = [rank for rank, sight in enumerate(sights) if rank > 0 and sight.get("lock") == "taken"]
    lock, doubtful = "works", []
    if written["lock"] != "taken":
        lock = f"fails ({written['lock']})"
    elif free:
        lock = f"is not noticed by {ranks(free)}"
    if lock != "works":
        doubtful.append(
            f"flock {lock} in {folder}: nothing keeps two runs from writing there at once; mount the file system with "
            "flock (Lustre: -o flock), or take care of it yourself"
        )
    if written["free"] < LITTLE:
        doubtful.append(f"{folder} has {size(written['free'])} free: a few checkpoints and the encoder may not fit")
    return {"free": written["free"], "flock": lock}, wrong, doubtful
