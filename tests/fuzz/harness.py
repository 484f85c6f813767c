"""Feed hostile files to what reads them: ``python tests/fuzz/harness.py --seconds 600``, or ``make fuzz SECONDS=600``.

Each target runs in a process of its own for its share of the time. Input k of a target is a function of the seed, the
target's name and k, and a campaign goes on at the k where the one before it ended (``build/fuzz/state.json``). What
breaks a target is kept in ``build/fuzz/TARGET/`` with its traceback, and ``--replay FILE`` feeds it again.

Counted are inputs; crashes (any exception but ``UserError`` and what a target names as its own); hangs (10 s of CPU
time, or 60 s on the clock); memory (an allocation refused beyond 2 GB, or as much more taken); files written or removed
outside the target's folder; code run (processes, addresses, libraries, or modules of the target's folder).
"""

import argparse
import base64
import contextlib
import hashlib
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
KEPT = ROOT / "build" / "fuzz"
CPU_SECONDS, CLOCK_SECONDS = 10.0, 60.0
MEMORY = 2 << 30
SAVED = 3
"""Inputs kept of each way to break."""

Files = dict[str, bytes]


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


@dataclass
class Counts:
    """What came of a target's inputs."""

    target: str
    seed: int
    first: int = 0
    """Number of the first input."""
    inputs: int = 0
    read: int = 0
    """Inputs that were read without an error."""
    refused: int = 0
    """Inputs that ended in an error that names them."""
    crashes: int = 0
    hangs: int = 0
    memory: int = 0
    outside: int = 0
    code: int = 0
    seconds: float = 0.0
    quiet: float = 0.0
    """Seconds since the last way to break that was new."""
    ways: dict[str, int] = field(default_factory=dict)
    """Ways to break, and how many inputs took each."""


class Watch:
    """What a process does besides reading: hears Python's audit events while an input is read."""

    WRITES = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod")
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
            for path in given[: 2 if event in ("os.rename", "os.link", "os.symlink") else 1]:
                self._wrote(event, path)

    @staticmethod
    def _writes(given: tuple[Any, ...]) -> bool:
        mode, flags = given[1], given[2]
        by_mode = isinstance(mode, str) and any(letter in mode for letter in "wax+")
        return by_mode or bool(isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))

    def _wrote(self, event: str, path: object) -> None:
        if isinstance(path, int) or self.folder is None:
            return
        place = os.path.realpath(os.path.abspath(os.fsdecode(path)))  # type: ignore[arg-type]
        if not place.startswith(self.folder) and place != "/dev/null":
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
    from mutate import mutated

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


def save(target: str, number: int | None, seed: int, files: Files, found: tuple[str, str, str], kept: Path) -> Path:
    """Keep an input that broke a target, with how."""
    kind, way, text = found
    name = f"{kind}-{hashlib.sha256(way.encode()).hexdigest()[:8]}-{seed}-{number}.json"
    path = kept / target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    held = {name: base64.b64encode(data).decode() for name, data in files.items()}
    content = {"target": target, "seed": seed, "number": number, "kind": kind, "way": way, "trace": text, "files": held}
    path.write_text(json.dumps(content, indent=1))
    return path


MODULES = ("tables_targets", "shards_targets", "sounds_targets", "weights_targets")
"""Of targets, from what imports little to what imports much."""


def targets() -> dict[str, Target]:
    """Return all targets by name."""
    found = [target for module in MODULES for target in importlib.import_module(module).TARGETS]
    assert len({target.name for target in found}) == len(found), "names tell targets apart"
    return {target.name: target for target in found}


def target_named(name: str) -> Target:
    """Return a target, and import no more than it takes to find it."""
    every = (target for module in MODULES for target in importlib.import_module(module).TARGETS)
    return next(target for target in every if target.name == name)


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


def numbered(bench: Bench, seed: int, first: int) -> Iterator[tuple[int, Files]]:
    """Yield inputs by their numbers, without an end."""
    while True:
        yield first, input_of(bench.target, bench.seed, seed, first)
        first += 1


def count(bench: Bench, counts: Counts, number: int, files: Files, kept: Path = KEPT) -> bool:
    """Feed an input and count what came of it. Returns whether it broke the target in a new way."""
    found = bench.feed(files)
    kind, way, _ = found
    counts.inputs += 1
    setattr(counts, kind, getattr(counts, kind) + 1)
    if kind in ("read", "refused"):
        return False
    key = f"{kind}: {way}"
    counts.ways[key] = counts.ways.get(key, 0) + 1
    if counts.ways[key] <= SAVED:
        save(bench.target.name, number, counts.seed, files, found, kept)
    return counts.ways[key] == 1


@limits()
def child(name: str, seed: int, first: int, seconds: float, place: Path, engine: str) -> None:
    """Feed a target for some seconds; ``place/counts.json`` says how far it is, at most a second late."""
    watch = prepare(place)
    if engine == "atheris":
        import atheris

        with atheris.instrument_imports(include=["nonverbal"]):
            bench = Bench(target_named(name), place / "bench", watch)
    else:
        bench = Bench(target_named(name), place / "bench", watch)
    counts = Counts(name, seed, first)
    limit_memory()
    sink = open(os.devnull, "w")  # noqa: SIM115
    sys.stdout = sys.stderr = sink
    begun = last_new = written = time.monotonic()

    def one(number: int, files: Files) -> None:
        nonlocal last_new, written
        (place / "at").write_text(str(number))
        if count(bench, counts, number, files):
            last_new = time.monotonic()
        now = time.monotonic()
        counts.seconds, counts.quiet = now - begun, now - last_new
        if now - written > 1 or now - begun >= seconds:
            written = now
            (place / "counts.new").write_text(json.dumps(asdict(counts)))
            os.replace(place / "counts.new", place / "counts.json")

    if engine == "atheris":
        from guided import fuzz

        fuzz(bench, one, first, seconds, KEPT / name / "corpus", lambda: time.monotonic() - begun >= seconds)
        return
    for number, files in numbered(bench, seed, first):
        one(number, files)
        if time.monotonic() - begun >= seconds:
            return


def run_target(name: str, seed: int, first: int, seconds: float, engine: str) -> Counts:
    """Feed a target in processes of its own, another where one dies, and return the counts of all."""
    total = Counts(name, seed, first)
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0.5:
        next_one = first + total.inputs
        with tempfile.TemporaryDirectory(prefix="nonverbal-fuzz-") as folder:
            place = Path(folder)
            given = ["--child", name, "--seed", str(seed), "--first", str(next_one), "--place", folder]
            command = [sys.executable, str(HERE / "harness.py"), *given, "--seconds", f"{left:.1f}", "--engine", engine]
            with open(place / "said", "w") as said:
                process = subprocess.Popen(command, stderr=said, stdout=said)
                death = _waited(process, place, left)
            _add(total, place)
            if death is not None:
                if not (place / "at").exists():
                    raise SystemExit(f"{name} did not begin: {(place / 'said').read_text()[-2000:]}")
                _killed(total, seed, int((place / "at").read_text()), first, death)
    return total


def _waited(process: "subprocess.Popen[bytes]", place: Path, seconds: float) -> str | None:
    """Wait for a child. Returns how it died; None where it ended by itself."""
    begun, at, since = time.monotonic(), "", time.monotonic()
    while process.poll() is None:
        time.sleep(0.2)
        now = (place / "at").read_text() if (place / "at").exists() else ""
        at, since = (now, time.monotonic()) if now != at else (at, since)
        stands = at and time.monotonic() - since > 2 * CLOCK_SECONDS
        if stands or time.monotonic() - begun > seconds + 300:
            process.kill()
            process.wait()
            return "hangs"
    return None if process.returncode == 0 else f"crashes: exit code {process.returncode}"


def _add(total: Counts, place: Path) -> None:
    if (place / "counts.json").exists():
        found = json.loads((place / "counts.json").read_text())
        for name in ("inputs", "read", "refused", "crashes", "hangs", "memory", "outside", "code", "seconds"):
            setattr(total, name, getattr(total, name) + found[name])
        total.quiet = found["quiet"] + (0 if found["ways"] else total.quiet)
        for way, times in found["ways"].items():
            total.ways[way] = total.ways.get(way, 0) + times


def _killed(total: Counts, seed: int, at: int, first: int, death: str) -> None:
    """Count the input that ended a child, which could not say so itself; those before it since the last count too."""
    total.inputs = at + 1 - first
    kind = death.split(":")[0]
    setattr(total, kind, getattr(total, kind) + 1)
    total.ways[f"{kind}: the process ended: {death}"] = total.ways.get(f"{kind}: the process ended: {death}", 0) + 1
    (KEPT / total.target).mkdir(parents=True, exist_ok=True)
    (KEPT / total.target / f"died-{seed}-{at}.txt").write_text(f"input {at} of seed {seed}: {death}\n")


def table(rows: list[Counts]) -> str:
    """Return the counts as a table in Markdown."""
    columns = ("inputs", "read", "refused", "crashes", "hangs", "memory", "outside", "code")
    lines = [f"| target | {' | '.join(columns)} | ways | seconds |", f"|---|{'---|' * (len(columns) + 2)}"]
    for row in rows:
        numbers = " | ".join(f"{getattr(row, name)}" for name in columns)
        lines.append(f"| {row.target} | {numbers} | {len(row.ways)} | {row.seconds:.0f} |")
    sums = " | ".join(str(sum(getattr(row, name) for row in rows)) for name in columns)
    ways, seconds = sum(len(row.ways) for row in rows), sum(row.seconds for row in rows)
    return "\n".join([*lines, f"| all | {sums} | {ways} | {seconds:.0f} |"])


def campaign(seconds: float, seed: int, engine: str, only: list[str], fresh: bool) -> list[Counts]:
    """Feed all targets in turn, each for its share of the time, from where the campaign of this seed ended before."""
    KEPT.mkdir(parents=True, exist_ok=True)
    names = json.loads(
        subprocess.run([sys.executable, __file__, "--list"], capture_output=True, text=True, check=True).stdout
    )
    unknown = sorted(set(only) - set(names))
    if unknown:
        raise SystemExit(f"there is no target {', '.join(unknown)}; there are {', '.join(names)}")
    state_file = KEPT / "state.json"
    state = json.loads(state_file.read_text()) if state_file.exists() and not fresh else {}
    chosen, rows = only or names, []
    for name in chosen:
        key = f"{seed} {name} {engine}"
        row = run_target(name, seed, state.get(key, 0), seconds / len(chosen), engine)
        rows.append(row)
        state[key] = row.first + row.inputs
        state_file.write_text(json.dumps(state, indent=1))
        found = "".join(f"\n    {times} x {way}" for way, times in row.ways.items())
        print(f"{name}: {row.inputs} inputs, {len(row.ways)} ways to break, {row.seconds:.0f} s{found}", flush=True)
        report = {"seed": seed, "engine": engine, "seconds": seconds, "targets": [asdict(one) for one in rows]}
        (KEPT / f"report-{engine}-{seed}.json").write_text(json.dumps(report, indent=1))
    print(table(rows))
    return rows


@limits()
def replay(path: Path) -> None:
    """Feed an input that was kept once more, and let its exception through."""
    kept = json.loads(path.read_text())
    target = target_named(kept["target"])
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        bench = Bench(target, place / "bench", prepare(place))
        kind, way, text = bench.feed({name: base64.b64decode(data) for name, data in kept["files"].items()})
        print(f"{kind}: {way}\n{text}")
        sys.exit(0 if kind in ("read", "refused") else 1)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="for all targets together")
    parser.add_argument("--seed", type=int, default=19)
    parser.add_argument("--engine", choices=("bytes", "atheris"), default="bytes", help="atheris is led by coverage")
    parser.add_argument("--targets", nargs="*", default=[], help="names; all where none is given")
    parser.add_argument("--fresh", action="store_true", help="begin at input 0 again")
    parser.add_argument("--replay", type=Path, help="a file in build/fuzz")
    for hidden in ("--child", "--place"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--list", action="store_true", help="names of the targets, as JSON")
    given = parser.parse_args()
    if given.list:
        print(json.dumps(list(targets())))
    elif given.child:
        child(given.child, given.seed, given.first, given.seconds, Path(given.place), given.engine)
    elif given.replay:
        replay(given.replay)
    else:
        rows = campaign(given.seconds, given.seed, given.engine, given.targets, given.fresh)
        sys.exit(1 if any(row.ways for row in rows) else 0)


if __name__ == "__main__":
    with open(ROOT / "pyproject.toml", "rb") as project:
        own = tomllib.load(project)["tool"]["pytest"]["ini_options"]["pythonpath"]
    sys.path[:0] = [str(ROOT), *(str(ROOT / folder) for folder in own)]
    main()
