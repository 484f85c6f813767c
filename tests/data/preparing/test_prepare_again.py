"""``nonverbal prepare`` interrupted, killed, given again, or with other settings."""

import contextlib
import errno
import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest
from patience import wait_until
from prepared import content, noise, settings, write

from nonverbal.data import workers
from nonverbal.data.preparing import prepare as prepare_module
from nonverbal.data.preparing import scan as scan_module
from nonverbal.data.preparing.prepare import prepare
from nonverbal.data.preparing.settings import PrepareConfig, Source
from nonverbal.errors import UserError


def spoil(folder):
    """Put noise into every file, at the same size and time."""
    for path in folder.rglob("*.*"):
        stat = path.stat()
        path.write_bytes(bytes(stat.st_size))
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_what_was_decoded_before_an_interruption_is_not_decoded_again(corpus, tmp_path, monkeypatch):
    whole = prepare(settings({"x": corpus}, tmp_path / "whole"))

    def interrupt(*_):
        raise KeyboardInterrupt
        yield

    with monkeypatch.context() as patched:
        patched.setattr(prepare_module, "write_shards", interrupt)
        with pytest.raises(KeyboardInterrupt):
            prepare(settings({"x": corpus}, tmp_path / "out"))
    assert not (tmp_path / "out/index.json").exists()
    (tmp_path / "out/train-000099.tar").write_bytes(b"of an earlier call")
    spoil(corpus)
    again = prepare(settings({"x": corpus}, tmp_path / "out"))
    assert content(again.folder) == content(whole.folder)


def test_an_interruption_in_the_middle_of_decoding_loses_one_chunk(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(scan_module, "CHUNK", 7)
    whole = prepare(settings({"x": corpus}, tmp_path / "whole"))
    done = []

    def scan_two(*arguments):
        for chunk in scan_module.scan(*arguments):
            if len(done) == 2:
                raise KeyboardInterrupt
            done.append(chunk)
            yield chunk

    with monkeypatch.context() as patched:
        patched.setattr(prepare_module, "scan", scan_two)
        with pytest.raises(KeyboardInterrupt):
            prepare(settings({"x": corpus}, tmp_path / "out"))
    decoded = {found.path for chunk, _ in done for found in chunk.files}
    assert len(decoded) == 14
    for path in decoded:
        stat = (corpus / path).stat()
        (corpus / path).write_bytes(bytes(stat.st_size))
        os.utime(corpus / path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    again = prepare(settings({"x": corpus}, tmp_path / "out"))
    assert content(again.folder) == content(whole.folder)


@pytest.mark.processes
def test_killed_while_decoding_it_leaves_no_process_and_continues(corpus, tmp_path):
    for number in range(256):
        write(corpus / f"many/{number:03}.wav", noise(1000 + number, rate=44_100), 44_100)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "nonverbal", "prepare", "x=laughs", "--out", "out", "--processes", "2"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=-1, text=True, start_new_session=True) as process:
        assert process.stderr.readline().startswith("decoding: ")
        workers = members(process.pid)
        assert len(workers) > 2
        process.kill()
    done = {path.name: path.stat().st_mtime_ns for path in out.glob(".scratch/*.jsonl")}
    assert done
    assert not (out / "index.json").exists()
    wait_until(lambda: not members(process.pid))
    seen = {}

    def scan_and_look(*arguments):
        for chunk, rows in scan_module.scan(*arguments):
            seen[rows.name] = rows.stat().st_mtime_ns
            yield chunk, rows

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(prepare_module, "scan", scan_and_look)
        prepare(PrepareConfig(corpora={"x": Source(corpus)}, out=out))
    assert done.items() <= seen.items()


def members(session):
    """Return the processes of a session."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, _, number = path.read_text().rpartition(")")[2].split()[:4]
            if int(number) == session and state != "Z":
                found.append(path.parent.name)
    return found


def test_a_second_run_does_nothing(corpus, tmp_path, monkeypatch):
    out = tmp_path / "out"
    prepare(settings({"x": corpus}, out))
    before = content(out)
    monkeypatch.setattr(prepare_module, "scan", None)
    monkeypatch.setattr(prepare_module, "write_shards", None)
    said = []
    prepare(settings({"x": corpus}, out, processes=2), said.append)
    assert said == [f"shards: {out} (made before, nothing to do)"]
    assert content(out) == before
    assert not (out / ".scratch").exists()


def test_other_settings_and_other_input_are_refused_and_named(corpus, tmp_path):
    out = tmp_path / "out"
    prepare(settings({"x": corpus}, out))
    with pytest.raises(UserError, match=r"holds shards of another recipe \(seed: 0 then, 1 now\); choose another"):
        prepare(settings({"x": corpus}, out, seed=1))
    with pytest.raises(UserError, match=r"another recipe \(corpora.y.licence: None then, 'MIT' now\)"):
        prepare(settings({"x": corpus, "y": Source(corpus, licence="MIT")}, out))
    write(corpus / "a/s9_new.wav", noise(500))
    with pytest.raises(UserError, match=r"holds shards of other input \(files changed since\)"):
        prepare(settings({"x": corpus}, out))
    (corpus / "a/s9_new.wav").unlink()
    (corpus / "more.txt").touch()
    with pytest.raises(UserError, match=r"other input \(other files changed since\)"):
        prepare(settings({"x": corpus}, out))
    (corpus / "more.txt").unlink()
    (out / "recipe.yaml").unlink()
    with pytest.raises(UserError, match="cannot be compared with this command .*No such file.*; choose another --out"):
        prepare(settings({"x": corpus}, out))


@pytest.mark.processes
def test_a_second_process_is_refused(corpus, tmp_path):
    code = (
        f"from nonverbal.files import locked; from pathlib import Path; held = locked(Path({str(tmp_path / 'out')!r}))"
    )
    code += "; held.__enter__(); print('held', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=rf"is in use by another process \(process {other.pid} on "):
            prepare(settings({"x": corpus}, tmp_path / "out"))
        other.communicate("\n")
    prepare(settings({"x": corpus}, tmp_path / "out"))


@pytest.mark.parametrize("stage", ["write_shards", "write_ledger", "scan"])
def test_a_full_disk_is_said_in_one_line_and_the_command_continues(corpus, tmp_path, monkeypatch, stage):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(prepare_module, stage, full)
        with pytest.raises(UserError, match="no space is left for .*; make room, and run the same command again"):
            prepare(settings({"x": corpus}, tmp_path / "out"))
    assert prepare(settings({"x": corpus}, tmp_path / "out")).clips()


def test_processes_that_end_before_their_work_are_replaced(corpus, tmp_path, monkeypatch):
    whole = prepare(settings({"x": corpus}, tmp_path / "whole"))
    monkeypatch.setattr(workers, "start_worker", functools.partial(os._exit, 1))
    replaced = prepare(settings({"x": corpus}, tmp_path / "out"))
    assert replaced.sha256 == whole.sha256
