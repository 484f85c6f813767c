"""Where processes meet: the folder for temporary files, whose path may be too long for a socket."""

import multiprocessing.util
import tempfile
from collections.abc import Iterator
from multiprocessing.connection import Listener
from pathlib import Path

import pytest

from nonverbal.data.batching.read_ahead import read_ahead
from nonverbal.data.workers import LONGEST_TEMPORARY, in_order, over_processes
from nonverbal.errors import UserError


def folder_of(length: int, place: Path) -> Path:
    """Make a folder whose path has so many bytes."""
    folder = place / ("x" * (length - len(str(place)) - 1))
    folder.mkdir()
    assert len(str(folder)) == length
    return folder


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose own path is short, unlike that of ``tmp_path``."""
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        yield Path(place)


@pytest.mark.parametrize("more", [0, 1])
def test_the_longest_path_is_the_one_at_which_python_can_still_listen(more, short, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(folder_of(LONGEST_TEMPORARY + more, short)))
    # As multiprocessing.util.get_temp_dir, which remembers its folder.
    folder = tempfile.mkdtemp(prefix="pymp-")
    monkeypatch.setattr(multiprocessing.util, "get_temp_dir", lambda: folder)
    if more:
        with pytest.raises(OSError, match="AF_UNIX path too long"):
            Listener(family="AF_UNIX")
    else:
        Listener(family="AF_UNIX").close()


@pytest.mark.parametrize(
    "begin",
    [
        lambda: list(over_processes(len, [""], 1)),
        lambda: list(read_ahead([0], [0], workers=1, timeout=1)),
        lambda: list(in_order(len, [""], 2)),
    ],
    ids=["over_processes", "read_ahead", "in_order"],
)
def test_a_longer_one_is_refused_before_processes_start(begin, short, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(folder_of(LONGEST_TEMPORARY + 1, short)))
    with pytest.raises(UserError, match=rf"has a path of {LONGEST_TEMPORARY + 1} bytes, but .* set TMPDIR to a folder"):
        begin()
