"""A file's own fault is a row of the ledger; the machine's fault stops the command."""

import errno
import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest
import soundfile
from patience import HANGS, wait_until

from nonverbal.data.corpora import listing as listing_module
from nonverbal.data.corpora.base import Found
from nonverbal.data.preparing import check as check_module
from nonverbal.data.preparing import scan as scan_module
from nonverbal.data.reading import archives as archives_module
from nonverbal.data.reading import audio as audio_module
from nonverbal.data.reading.audio import AudioProblem
from nonverbal.errors import UserError
from nonverbal.signals import interrupt_deferred
from nonverbal.training import checkpoint


def wavs(folder, count):
    folder.mkdir()
    for number in range(count):
        samples = np.random.default_rng(number).uniform(-0.5, 0.5, 8000)
        soundfile.write(folder / f"{number}.wav", samples, 16_000, subtype="PCM_16")
    return folder


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ENOMEM, errno.EMFILE, errno.ETIMEDOUT])
def test_a_passing_fault_of_the_machine_stops_the_command_and_costs_no_clip(tmp_path, monkeypatch, number):
    whole = scan_module.load

    def fail(path):
        if path.name == "1.wav":
            raise OSError(number, os.strerror(number), str(path))
        return whole(path)

    folder = wavs(tmp_path / "c", 3)
    chunk = scan_module.Chunk("c", folder, [Found(f"{i}.wav") for i in range(3)], 10.0)
    monkeypatch.setattr(scan_module, "load", fail)
    with pytest.raises(UserError, match=rf"1.wav cannot be read at the moment.*{os.strerror(number)}.*which continues"):
        scan_module.decode_chunk(chunk, tmp_path / "rows.jsonl")
    assert not (tmp_path / "rows.jsonl").exists()
    with pytest.raises(UserError, match="cannot be read at the moment"):
        check_module._look(folder, "1.wav")
    monkeypatch.setattr(scan_module, "load", whole)
    scan_module.decode_chunk(chunk, tmp_path / "rows.jsonl")
    rows = (tmp_path / "rows.jsonl").read_text().split("\n")
    assert [json.loads(row)["problem"] for row in rows if row] == [None] * 3


def test_a_disk_that_fails_is_not_a_damaged_file(tmp_path, monkeypatch):
    """libsndfile takes what a failing disk does not give for the end of the file."""
    cut = wavs(tmp_path / "c", 1) / "0.wav"
    cut.write_bytes(cut.read_bytes()[:5000])

    class Failing(io.BytesIO):
        def read(self, size=-1):
            raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(AudioProblem, match="truncated"):
        scan_module.load_from(tmp_path / "c", "0.wav")
    monkeypatch.setattr(audio_module, "open", lambda *_: Failing(), raising=False)
    with pytest.raises(UserError, match=r"0.wav cannot be read at the moment: Input/output error"):
        scan_module.load_from(tmp_path / "c", "0.wav")


def test_a_disk_that_has_gone_is_not_a_folder_of_missing_files(tmp_path):
    folder = wavs(tmp_path / "c", 1)
    with pytest.raises(AudioProblem, match="missing"):
        scan_module.load_from(folder, "7.wav")
    (folder / "0.wav").unlink()
    with pytest.raises(UserError, match=r"c has gone, or become empty, since its files were listed"):
        scan_module.load_from(folder, "7.wav")


def test_no_room_to_unpack_is_not_a_damaged_member(tmp_path, monkeypatch):
    folder = wavs(tmp_path / "c", 1)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(folder / "0.wav", "0.wav")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(archives_module.shutil, "copyfileobj", full)
    with pytest.raises(UserError, match=r"a.zip/0.wav cannot be unpacked to .*: No space left.* TMPDIR"):
        scan_module.load_from(tmp_path / "a.zip", "0.wav")
    monkeypatch.undo()
    # Python's own word for a folder of temporary files that is full is that there is none.
    monkeypatch.setattr(archives_module.tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(UserError, match=r"0.wav cannot be unpacked to .*none"):
        scan_module.load_from(tmp_path / "a.zip", "0.wav")


@pytest.fixture
def failing(monkeypatch):
    """Return ``fail(path, start, stop)``: zipfile's reads of a file fail from one byte to another, as a disk's do."""
    whole = io.open

    def fail(path, start, stop):
        class Failing(io.FileIO):
            def readinto(self, buffer):
                if start <= self.tell() < stop:
                    raise OSError(errno.EIO, "Input/output error")
                return super().readinto(buffer)

        def opened(file, mode="r", *more, **options):
            is_it = str(file) == str(path) and "r" in mode
            return io.BufferedReader(Failing(file), 512) if is_it else whole(file, mode, *more, **options)

        archives_module._opened.cache_clear()
        monkeypatch.setattr(io, "open", opened)

    return fail


@pytest.mark.parametrize("part", ["list", "member"])
def test_a_disk_that_fails_is_not_a_damaged_archive(tmp_path, failing, part):
    folder = wavs(tmp_path / "c", 1)
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        archive.write(folder / "0.wav", "1.wav")
    (folder / "0.wav").unlink()
    size = (folder / "a.zip").stat().st_size
    failing(folder / "a.zip", *((size - 600, size) if part == "list" else (60, size - 600)))
    with pytest.raises(UserError, match=r"a.zip(/1.wav)? cannot be read.*: Input/output error"):
        _ = [scan_module.load_from(folder, path) for path, _ in listing_module.survey(folder)]


def test_a_checkpoint_that_cannot_be_read_for_now_is_not_passed_over(tmp_path, monkeypatch):
    saved = checkpoint.save(tmp_path / "checkpoints", {}, {}, checkpoint.Position(step=4))

    def fail(path):
        raise OSError(errno.ESTALE, "Stale file handle", str(path))

    monkeypatch.setattr(checkpoint, "sha256_of", fail)
    with pytest.raises(OSError, match="Stale file handle"):
        checkpoint.load(saved, None)


CRASHING = """
import os, signal
import soundfile

class SoundFile(soundfile.SoundFile):
    def __init__(self, file, *rest, **more):
        name = os.path.basename(os.fspath(file)) if isinstance(file, (str, os.PathLike)) else ""
        if name in ("1.wav", "2.wav"):
            os.kill(os.getpid(), signal.SIGSEGV if name == "1.wav" else ENDS)
        super().__init__(file, *rest, **more)

soundfile.SoundFile = SoundFile
"""


@pytest.mark.processes
@pytest.mark.parametrize("ends", ["SIGABRT", "SIGKILL"])
def test_a_file_that_crashes_its_decoder_costs_no_other_and_a_kill_is_not_its_fault(tmp_path, ends):
    (tmp_path / "sitecustomize.py").write_text(CRASHING.replace("ENDS", f"signal.{ends}"))
    wavs(tmp_path / "c", 5)
    command = [sys.executable, "-m", "nonverbal", "prepare", f"c={tmp_path / 'c'}", f"--out={tmp_path / 'out'}"]
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if ends == "SIGKILL":
        assert result.returncode == 2
        assert "ended from outside, perhaps for lack of memory" in result.stderr
        assert not (tmp_path / "out/index.json").exists()
        return
    assert result.returncode == 0, result.stderr
    rows = [json.loads(row) for row in (tmp_path / "out/ledger.jsonl").read_text().split("\n") if row]
    assert [row["reason"] for row in rows] == [None, "unreadable", "unreadable", None, None]
    assert rows[1]["detail"] == "it crashes the decoder (SIGSEGV)"


def test_an_interruption_waits_for_a_process_to_be_started():
    done = []

    def start():
        with interrupt_deferred():
            signal.raise_signal(signal.SIGINT)
            done.append("started")

    with pytest.raises(KeyboardInterrupt):
        start()
    assert done == ["started"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.processes
def test_ctrl_c_twice_ends_at_once_and_leaves_no_process(tmp_path):
    for number in range(3):
        soundfile.write(tmp_path / f"{number}.wav", np.random.default_rng(number).uniform(-0.5, 0.5, 8000), 16_000)
    (tmp_path / "sitecustomize.py").write_text(SLOW)
    command = [sys.executable, "-m", "nonverbal", "prepare", f"c={tmp_path}", f"--out={tmp_path.parent / 'out'}"]
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    options = {"env": environment, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    with subprocess.Popen(command, **options) as process:
        wait_until((tmp_path / "begun").exists, process)
        for _ in range(2):
            os.killpg(process.pid, signal.SIGINT)
            time.sleep(0.01)
        _, errors = process.communicate(timeout=HANGS)
    assert process.returncode == 130, errors
    assert "interrupted; run the same command again to continue" in errors


SLOW = """
import os, time
import soundfile

class SoundFile(soundfile.SoundFile):
    def __init__(self, file, *rest, **more):
        if isinstance(file, (str, os.PathLike)):
            open(os.path.join(os.path.dirname(file), "begun"), "w").close()
            time.sleep(3600)
        super().__init__(file, *rest, **more)

soundfile.SoundFile = SoundFile
"""
