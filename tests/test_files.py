import errno
import fcntl
import json
import os

import pytest
from safetensors import SafetensorError

from nonverbal.errors import UserError
from nonverbal.files import json_lines, locked, room_for, write_atomically


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
