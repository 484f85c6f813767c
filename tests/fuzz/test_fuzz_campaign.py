"""Campaigns: whose turn it is, what outlasts a call, and what is known of a process that dies."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import campaign as module
import pytest
from campaign import Campaign
from counts import Counts, table
from feeding import Board, Task, read_board


def feeding(rates: dict[str, int], fed: list[Task], ways: Callable[[Task], dict[str, int]] = lambda _: {}) -> object:
    """Return what counts as feeding a target some inputs at a time."""

    def feed(task: Task) -> Counts:
        fed.append(task)
        inputs, found = min(rates[task.target], task.most), ways(task)
        broken = sum(found.values())
        return Counts(
            task.target, task.seed, task.first, inputs, read=inputs - broken, crashes=broken, seconds=9.0, ways=found
        )

    return feed


def test_counts_add_up_over_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fed: list[Task] = []
    monkeypatch.setattr(module, "_fed", feeding({"a": 10, "b": 4}, fed))
    assert Campaign(tmp_path, 3, "bytes", ["a", "b"]).run(0.3, 1, 10)
    again = Campaign(tmp_path, 3, "bytes", ["a", "b", "new"])
    assert again.counts["a"].inputs == again.counts["a"].read == 10
    assert again.counts["new"].inputs == 0
    # Each goes on at the number where it was, and takes no more than it lacks.
    of_b = [task for task in fed if task.target == "b"]
    assert [(task.first, task.most) for task in of_b] == [(0, 10), (4, 6), (8, 2)]
    assert Campaign(tmp_path, 3, "bytes", ["a"], fresh=True).counts["a"].inputs == 0
    assert Campaign(tmp_path, 4, "bytes", ["a"]).counts["a"].inputs == 0


def test_targets_that_lack_inputs_come_first_and_then_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fed: list[Task] = []
    monkeypatch.setattr(module, "_fed", feeding({"a": 10, "b": 10}, fed))
    made = Campaign(tmp_path, 3, "bytes", ["a", "b"])
    made.counts["a"].inputs = 10
    made.run(0.3, 2, 10)
    assert {task.target for task in fed} == {"b"}
    fed.clear()
    made.run(0.3, 2, 10)
    assert {task.target for task in fed} == {"a", "b"}


def test_a_new_way_to_break_ends_the_quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = {"crashes: x": 2}
    monkeypatch.setattr(module, "_fed", feeding({"a": 10}, [], lambda task: broken if task.first < 20 else {}))
    made = Campaign(tmp_path, 3, "bytes", ["a"])
    assert not made.run(0.3, 1, 40)
    assert made.counts["a"].ways == {"crashes: x": 4}
    assert (made.counts["a"].inputs, made.counts["a"].crashes) == (40, 4)
    # The second time is not new.
    assert made.counts["a"].quiet == 27.0
    assert table(made.counts.values()).splitlines()[-1].startswith("| all | 40 | 36 | 0 | 4 | 0 |")


def test_what_a_process_counted_outlasts_it(tmp_path: Path) -> None:
    task = Task("a", 3, 100, 50, 9.0, "bytes", tmp_path, tmp_path / "kept")
    assert read_board(task) is None
    child = os.fork()
    if child == 0:
        counts = Counts("a", 3, 100, inputs=7, read=6, refused=1, seconds=2.5, ways={"crashes: x": 1})
        board = Board(tmp_path)
        board.write(counts)
        board.write_ways(counts)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    counts = read_board(task)  # type: ignore[assignment]
    assert (counts.inputs, counts.read, counts.refused, counts.seconds) == (7, 6, 1, 2.5)
    assert counts.ways == {"crashes: x": 1}
    (tmp_path / "said").write_text('Fatal Python error\n  File "/x/nonverbal/a.py", line 3 in f\n')
    module._note_death(task, counts, "crashes: exit code -11")
    assert (counts.inputs, counts.crashes) == (8, 1)
    assert 'crashes: the process ended, crashes: exit code -11 File "/x/nonverbal/a.py", line 3 in f' in counts.ways
    assert (tmp_path / "kept/a/died-3-107.txt").exists()


def test_a_target_is_fed_in_a_process_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MODULES", ())
    made = Campaign(tmp_path, 3, "bytes", ["manifest"])
    assert made.run(3.0, 1, 20)
    counts = made.counts["manifest"]
    assert counts.inputs == counts.read + counts.refused >= 20
    assert counts.read
    assert counts.refused
