import errno

import pytest
from safetensors import SafetensorError

from nonverbal.errors import UserError
from nonverbal.files import room_for, write_atomically


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
