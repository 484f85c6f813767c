"""A target, and the bench on which inputs are read one after the other while a watch hears what they do."""

import contextlib
import os
import resource
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from mutate import Files, mutated

CPU_SECONDS, CLOCK_SECONDS = 10.0, 60.0
MEMORY = 2 << 30


class Hang(BaseException):
    """An input that takes longer than it may."""


@dataclass(frozen=True)
class Target:
    """What reads files from outside."""

    name: str
    make: Callable[[Path], None]
    """Writes valid files to an empty folder: the seed of all inputs."""
    read: Callable[[Path], object]
    """Reads such a folder as the program would, and uses what it read."""
    allowed: tuple[type[BaseException], ...] = ()
    """Exceptions besides ``UserError`` that the callers of ``read`` take for the file's own fault."""
    bind: Callable[[Files], Files] | None = None
    """Puts right what hashes in the files say of each other, so that changes get past them."""
    fixed: tuple[str, ...] = ()
    """Files that are never changed."""
    smoke: int = 60
    """Inputs in the ordinary tests."""


class Watch:
    """What a process does besides reading: hears Python's audit events while an input is read."""

    WRITES: ClassVar[dict[str, tuple[tuple[int, int | None], ...]]] = {
        **dict.fromkeys(("os.remove", "os.rmdir"), ((0, 1),)),
        **dict.fromkeys(("os.mkdir", "os.chmod"), ((0, 2),)),
        **dict.fromkeys(("os.rename", "os.link"), ((0, 2), (1, 3))),
        **{"os.symlink": ((1, 2),), "os.truncate": ((0, None),)},
    }
    """Of each event: which of its values is a path, and which the open folder that it is relative to, or -1."""
    RUNS = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "socket.connect", "pty.spawn")

    def __init__(self) -> None:
        self.folder: str | None = None
        self.found: dict[str, str] = {}
        sys.addaudithook(self._heard)

    def _heard(self, event: str, given: tuple[Any, ...]) -> None:
        if self.folder is None:
            return
        if event in self.RUNS or (event == "import" and str(given[0]).startswith("nonverbal_canary")):
            self.found.setdefault("code", f"{event} {str(given[:2])[:200]}")
        elif event == "open" and self._writes(given):
            self._wrote(event, given[0])
        elif event in self.WRITES:
            for path, folder in self.WRITES[event]:
                self._wrote(event, given[path], given[folder] if folder is not None else -1)

    @staticmethod
    def _writes(given: tuple[Any, ...]) -> bool:
        mode, flags = given[1], given[2]
        by_mode = isinstance(mode, str) and any(letter in mode for letter in "wax+")
        return by_mode or bool(isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))

    def _wrote(self, event: str, path: object, folder: int = -1) -> None:
        if isinstance(path, int) or self.folder is None:
            return
        above = "" if folder < 0 else f"/proc/self/fd/{folder}"
        place = os.path.realpath(os.path.join(above, os.fsdecode(path)))  # type: ignore[arg-type]
        if not f"{place}/".startswith(f"{self.folder}/") and place != "/dev/null":
            self.found.setdefault("outside", f"{event} {place}")


class Bench:
    """A target with its folder, where inputs are put and read one after the other."""

    def __init__(self, target: Target, place: Path, watch: Watch) -> None:
        self.target, self.watch = target, watch
        # Temporary files are unpacked beside what is read.
        self.place, self.folder = place, place / "in"
        self.folder.mkdir(parents=True)
        tempfile.tempdir = str(place)
        target.make(self.folder)
        self.seed = files_of(self.folder)
        target.read(self.folder)
        self._there: Files = dict(self.seed)

    def put(self, files: Files) -> None:
        """Make the folder hold these files and nothing else."""
        for name in self._there.keys() - files.keys():
            (self.folder / name).unlink(missing_ok=True)
        for name, data in files.items():
            path = self.folder / name
            if self._there.get(name) != data or not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
                # What is kept by name and time of change must not be taken for the last input's.
                self._time = getattr(self, "_time", 0) + 1
                os.utime(path, ns=(self._time, self._time))
        self._there = dict(files)

    def feed(self, files: Files) -> tuple[str, str, str]:
        """Read an input. Returns what came of it, the way in which it broke, and the traceback."""
        from nonverbal.errors import UserError

        own: tuple[type[BaseException], ...] = (UserError, *self.target.allowed)
        self.put(files)
        self.watch.found, kind, way, text = {}, "read", "", ""
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        signal.setitimer(signal.ITIMER_REAL, CLOCK_SECONDS)
        self.watch.folder = str(self.place.resolve())
        try:
            self.target.read(self.folder)
        except own as error:
            kind = "refused"
            way, text = self._told(error)
            kind = "crashes" if way else kind
        except Hang as error:
            kind, way, text = "hangs", _way(error), traceback.format_exc()
        except MemoryError as error:
            kind, way, text = "memory", _way(error), traceback.format_exc()
        except Exception as error:
            kind, way, text = "crashes", _way(error), traceback.format_exc()
        finally:
            self.watch.folder = None
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.setitimer(signal.ITIMER_REAL, 0)
        if kind in ("read", "refused"):
            for found, said in self.watch.found.items():
                kind, way, text = found, said.split("/")[0][:80], said
            if (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 > MEMORY:
                kind, way, text = "memory", "resident", "took more than 2 GB"
        return kind, way, text

    @staticmethod
    def _told(error: BaseException) -> tuple[str, str]:
        """A message must be one that a terminal can show."""
        from nonverbal.text import one_line

        try:
            shown = one_line(str(error))
            shown.encode()
        except Exception as fault:
            return f"message: {type(fault).__name__}", traceback.format_exc()
        return ("message: hides or breaks a line", repr(shown)) if not shown.isprintable() else ("", "")


def files_of(folder: Path) -> Files:
    """Return what a folder holds."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def _way(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/nonverbal/" in frame.filename] or frames
    where = [f"{Path(frame.filename).name}:{frame.name}:{frame.lineno}" for frame in (ours[-1], frames[-1])]
    return f"{type(error).__name__} at {' < '.join(dict.fromkeys(where))}"


def input_of(target: Target, seed_files: Files, seed: int, number: int) -> Files:
    """Return an input: a function of the seed, the target and the number."""
    random = Random(f"{seed} {target.name} {number}")
    fixed = {name: data for name, data in seed_files.items() if name in target.fixed}
    files = mutated({name: data for name, data in seed_files.items() if name not in fixed}, random) | fixed
    if target.bind is not None and random.random() < 0.8:
        try:
            files = target.bind(files)
        except Exception:
            # What the hashes stand in is not of its kind any more.
            return files
    return files


def prepare(place: Path) -> Watch:
    """Keep what is read away from the network and the user's folders."""
    os.environ |= {
        "TMPDIR": str(place),
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(place / "hf"),
        "CUDA_VISIBLE_DEVICES": "",
    }
    tempfile.tempdir = str(place)
    sys.dont_write_bytecode = True
    return Watch()


@contextlib.contextmanager
def limits() -> Iterator[None]:
    """Let signals end what takes too long."""
    before = {number: signal.signal(number, _too_long) for number in (signal.SIGPROF, signal.SIGALRM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def _too_long(number: int, frame: object) -> None:
    raise Hang(f"{CPU_SECONDS:g} s of CPU time" if number == signal.SIGPROF else f"{CLOCK_SECONDS:g} s")


def limit_memory() -> None:
    """Refuse this process more than it has and as much again as is counted."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY + (1 << 30)
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))
