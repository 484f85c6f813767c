import contextlib
import errno
import fcntl
import json
import os
import shutil
import stat
import threading
from pathlib import Path

import numpy as np
import pytest
from safetensors import SafetensorError
from safetensors.numpy import save_file

from nonverbal import files
from nonverbal.errors import UserError
from nonverbal.files import files_below, json_lines, locked, room_for, whole, write_atomically, write_lines


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_named(tmp_path, error):
    refused = pytest.raises(UserError, match=f"no space is left for {tmp_path}; make room, and run the same command")
    with refused, room_for(tmp_path):
        raise error


def failing(monkeypatch, number):
    def flock(file, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)


def test_a_folder_belongs_to_one_process(tmp_path):
    in_use = pytest.raises(UserError, match=f"{tmp_path} is in use by another process .process {os.getpid()} on ")
    with locked(tmp_path), in_use, locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


@pytest.mark.parametrize("number", [errno.EWOULDBLOCK, errno.EACCES])
def test_a_lock_that_is_taken_is_in_use(tmp_path, monkeypatch, number):
    failing(monkeypatch, number)
    with pytest.raises(UserError, match="is in use by another process"), locked(tmp_path):
        pass


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL])
def test_a_file_system_without_locks_is_told_once_and_used(tmp_path, monkeypatch, capsys, number):
    failing(monkeypatch, number)
    with locked(tmp_path):
        pass
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"nonverbal: warning: {tmp_path} cannot be locked ({os.strerror(number)})")


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), SafetensorError("other"), ValueError()])
def test_other_errors_pass(tmp_path, error):
    with pytest.raises(type(error)) as raised, room_for(tmp_path):
        raise error
    assert raised.value is error


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, "old")
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, "new")
    assert path.read_text() == "old"


ROWS = [{"label": f"a{character}b"} for character in "\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e\r\n é"]


def test_json_lines_end_at_line_feeds_alone(tmp_path):
    path = tmp_path / "rows.jsonl"
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
    path.write_text(text, encoding="utf-8", newline="")
    assert list(json_lines(path)) == list(enumerate(ROWS, 1))
    path.write_text(text + '{"label": "é', encoding="utf-8", newline="")
    assert list(json_lines(path, torn=True)) == list(enumerate(ROWS, 1))
    with pytest.raises(UserError, match=f"rows.jsonl, line {len(ROWS) + 1}: not a JSON object"):
        list(json_lines(path))


@pytest.mark.parametrize("line", ["", "{", "\xff", "[" * 100_000])
def test_a_line_that_is_not_json_is_named(tmp_path, line):
    (tmp_path / "rows.jsonl").write_text(f"1\n{line}\n", encoding="latin-1")
    with pytest.raises(UserError, match="rows.jsonl, line 2: not a JSON object"):
        list(json_lines(tmp_path / "rows.jsonl"))


def test_who_waits_for_a_folder_that_is_removed_holds_the_one_that_is_there_then(tmp_path):
    """Embeddings are computed in a folder that is removed when they are done, and others may wait for it."""
    folder, held, let_go = tmp_path / "parts", threading.Event(), threading.Event()

    def second():
        with locked(folder, wait=True):
            held.set()
            assert let_go.wait(20)

    with locked(folder):
        thread = threading.Thread(target=second)
        thread.start()
        shutil.rmtree(folder)
    assert held.wait(20)
    with pytest.raises(UserError, match="is in use by another process"), locked(folder):
        pass
    let_go.set()
    thread.join(20)
    assert not thread.is_alive()


def test_a_folder_that_is_removed_just_before_it_is_locked_is_made_again(tmp_path, monkeypatch):
    folder, made = tmp_path / "parts", []
    mkdir = Path.mkdir

    def mkdir_and_lose(path, *args, **kwargs):
        mkdir(path, *args, **kwargs)
        made.append(path)
        if path == folder and len(made) == 1:
            path.rmdir()

    monkeypatch.setattr(Path, "mkdir", mkdir_and_lose)
    with locked(folder):
        assert (folder / ".lock").is_file()
    assert made == [folder, folder]


def test_who_waits_long_says_for_whom_once(tmp_path, monkeypatch, capsys):
    (tmp_path / ".lock").write_text("process 7 on elsewhere\n")
    with open(tmp_path / ".lock") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        slept = []

        def sleep(seconds):
            slept.append(seconds)
            if sum(slept) > 2 * files.PATIENCE:
                fcntl.flock(other, fcntl.LOCK_UN)

        monkeypatch.setattr("time.sleep", sleep)
        with locked(tmp_path, wait=True):
            pass
    said = capsys.readouterr().err
    assert said == f"nonverbal: {tmp_path} is in use by another process (process 7 on elsewhere); waiting for it\n"


@pytest.mark.parametrize("write", [lambda path: write_atomically(path, "x"), lambda path: write_lines(path, [1])])
def test_a_file_that_could_not_be_written_leaves_the_old_one_and_takes_no_room(tmp_path, monkeypatch, write):
    path = tmp_path / "file"
    path.write_text("old")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write(path)
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("file", "old")]


def test_files_are_found_below_folders_that_vanish_meanwhile(tmp_path, monkeypatch):
    for name in ("a/scores.jsonl", "b/c/scores.jsonl", "b/scores.jsonl", "b/other.jsonl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    walked = [str(path.relative_to(tmp_path)) for path in files_below(tmp_path, "scores.jsonl")]
    assert walked == ["a/scores.jsonl", "b/c/scores.jsonl", "b/scores.jsonl"]
    scandir = os.scandir

    def scandir_late(path):
        if str(path).endswith("c"):
            shutil.rmtree(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scandir_late)
    walked = [str(path.relative_to(tmp_path)) for path in files_below(tmp_path, "scores.jsonl")]
    assert walked == ["a/scores.jsonl", "b/scores.jsonl"]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_tensors_may_be_read_by_those_who_may_read_other_files(tmp_path, mask, mode):
    """safetensors makes files that their owner alone may read, whatever the mask."""
    before = os.umask(mask)
    try:
        with whole(tmp_path / "one.safetensors") as new:
            save_file({"x": np.zeros(1)}, new)
        with whole(tmp_path / "encoder") as new:
            new.mkdir()
            save_file({"x": np.zeros(1)}, new / "model.safetensors")
    finally:
        assert os.umask(before) == mask
    for file in ("one.safetensors", "encoder/model.safetensors"):
        assert stat.S_IMODE((tmp_path / file).stat().st_mode) == mode


def refuse_in(folder, within):
    with locked(folder):
        if within:
            (folder / within).touch()
        raise UserError("refused")


@pytest.mark.parametrize(
    ("before", "within", "left"),
    [(True, "", [".lock"]), (False, "a", [".lock", "a"]), (False, "", None)],
)
def test_a_folder_that_was_made_for_nothing_is_removed(tmp_path, before, within, left):
    folder = tmp_path / "made" / "here"
    if before:
        folder.mkdir(parents=True)
    with pytest.raises(UserError, match="refused"):
        refuse_in(folder, within)
    assert (sorted(path.name for path in folder.iterdir()) if folder.exists() else None) == left


def remove_and_refuse(folder, then):
    """As embeddings are read after the folder of their parts is removed."""
    with locked(folder):
        shutil.rmtree(folder)
        then()
        raise UserError("refused")


def test_a_block_that_fails_after_it_removed_its_folder_fails_with_its_own_error(tmp_path):
    with pytest.raises(UserError, match="refused"):
        remove_and_refuse(tmp_path / "parts", lambda: None)


def test_a_folder_that_another_has_made_and_holds_since_is_left(tmp_path):
    folder = tmp_path / "parts"
    with contextlib.ExitStack() as others:
        with pytest.raises(UserError, match="refused"):
            remove_and_refuse(folder, lambda: others.enter_context(locked(folder)))
        assert (folder / ".lock").exists()


def test_a_folder_that_cannot_be_removed_does_not_hide_the_error(tmp_path, monkeypatch):
    def busy(path):
        raise OSError(errno.ENOTEMPTY, "Directory not empty")

    monkeypatch.setattr(Path, "rmdir", busy)
    with pytest.raises(UserError, match="refused"):
        refuse_in(tmp_path / "new", "")
