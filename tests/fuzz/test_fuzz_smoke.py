"""Some inputs of every target, the same each time, and the harness itself: it must see what it is there to see."""

import json
import os
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bench import Bench, Target, Watch, input_of, limits
from counts import Counts, count, save
from harness import replay
from mutate import mutated
from targets import targets

from nonverbal.errors import UserError

SEED = 1
NAMES = list(targets())


@pytest.fixture(scope="module")
def watch() -> Watch:
    """Return what hears audit events; it cannot be taken away again, and hears nothing between inputs."""
    return Watch()


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    before = tempfile.tempdir
    with limits():
        yield
    tempfile.tempdir = before


@pytest.mark.parametrize("name", NAMES)
def test_hostile_files_are_read_or_refused(name: str, watch: Watch, tmp_path: Path) -> None:
    target = targets()[name]
    bench = Bench(target, tmp_path / "bench", watch)
    counts = Counts(name, SEED)
    for number in range(target.smoke):
        count(bench, counts, number, input_of(target, bench.seed, SEED, number), tmp_path)
    assert counts.ways == {}
    assert counts.read + counts.refused == counts.inputs


def one_file(text: str = "a") -> Callable[[Path], None]:
    return lambda folder: (folder / "a.json").write_text(json.dumps({"text": text})) and None


def bench_of(read: Callable[[Path], object], watch: Watch, place: Path) -> Bench:
    """Return a bench whose target reads harmlessly until it is begun."""
    begun: list[bool] = []
    bench = Bench(Target("made", one_file(), lambda folder: read(folder) if begun else None), place, watch)
    begun.append(True)
    return bench


def fails(error: BaseException) -> Callable[[Path], object]:
    def read(_: Path) -> object:
        raise error

    return read


@pytest.mark.parametrize(
    ("read", "kind", "way"),
    [
        (lambda folder: None, "read", ""),
        (fails(UserError("a.json is wrong")), "refused", ""),
        (fails(ValueError("x")), "crashes", "ValueError at test_fuzz_smoke.py:read"),
        (fails(MemoryError()), "memory", "MemoryError"),
        (fails(UserError("\ud800")), "refused", ""),
        (lambda folder: Path("/tmp/nonverbal-fuzz-outside").write_text("x"), "outside", "open"),
        (lambda folder: os.mkdir(folder.parent.parent / "x"), "outside", "os.mkdir"),
        (lambda folder: (folder / "b").write_text("x"), "read", ""),
        (lambda folder: os.system("true"), "code", "os.system"),
        (lambda folder: socket.socket().connect_ex(("127.0.0.1", 9)), "code", "socket.connect"),
    ],
)
def test_the_harness_sees_what_an_input_does(
    read: Callable[[Path], object], kind: str, way: str, watch: Watch, tmp_path: Path
) -> None:
    bench = bench_of(read, watch, tmp_path / "bench")
    found = bench.feed(bench.seed)
    assert found[0] == kind
    assert found[1].startswith(way)
    Path("/tmp/nonverbal-fuzz-outside").unlink(missing_ok=True)


def test_the_harness_ends_what_computes_and_what_waits(
    watch: Watch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compute(_: Path) -> None:
        while True:
            pass

    monkeypatch.setattr("bench.CPU_SECONDS", 0.2)
    monkeypatch.setattr("bench.CLOCK_SECONDS", 60.0)
    assert bench_of(compute, watch, tmp_path / "computes").feed({})[0] == "hangs"
    monkeypatch.setattr("bench.CLOCK_SECONDS", 0.2)
    assert bench_of(lambda _: time.sleep(50), watch, tmp_path / "waits").feed({})[0] == "hangs"
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_inputs_are_the_same_each_time_and_others_by_number() -> None:
    target = Target("made", one_file(), lambda _: None)
    seed = {"a.json": b'{"text": "a", "numbers": [1, 2, 3]}', "b.csv": b"a,b\n1,2\n"}
    first = [input_of(target, seed, 3, number) for number in range(50)]
    assert first == [input_of(target, seed, 3, number) for number in range(50)]
    assert len({json.dumps({k: v.hex() for k, v in one.items()}) for one in first}) > 40
    assert first != [input_of(target, seed, 4, number) for number in range(50)]


def test_a_file_that_is_fixed_is_not_changed() -> None:
    target = Target("made", one_file(), lambda _: None, fixed=("b.py",))
    seed = {"a.json": b'{"text": "a"}', "b.py": b"x = 1\n"}
    assert all(input_of(target, seed, 3, number)["b.py"] == b"x = 1\n" for number in range(50))


def test_mutations_never_fail(tmp_path: Path) -> None:
    from random import Random

    for name in ("recipe", "metadata", "shards", "zip", "webdataset", "checkpoint"):
        folder = tmp_path / name
        folder.mkdir()
        targets()[name].make(folder)
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for number in range(200):
            files = mutated(files, Random(number)) or files


def test_an_input_that_is_kept_is_fed_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save("manifest", 3, SEED, {"manifest.jsonl": b"{"}, ("crashes", "way", "trace"), tmp_path)
    assert replay(path)
    assert capsys.readouterr().out.startswith("refused: ")
