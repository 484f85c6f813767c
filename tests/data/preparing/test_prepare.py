import contextlib
import errno
import functools
import io
import json
import os
import shutil
import subprocess
import sys
import threading
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
import soundfile
import webdataset
import yaml
from hypothesis import given
from hypothesis import strategies as st
from patience import wait_until

from nonverbal import config
from nonverbal.data import workers
from nonverbal.data.corpora import VOC125
from nonverbal.data.corpora.base import Found
from nonverbal.data.index import open_shards
from nonverbal.data.manifest import read_manifest
from nonverbal.data.preparing import prepare as prepare_module
from nonverbal.data.preparing import scan as scan_module
from nonverbal.data.preparing import shards as shards_module
from nonverbal.data.preparing.ledger import read_summaries
from nonverbal.data.preparing.prepare import prepare
from nonverbal.data.preparing.settings import PrepareConfig, Source
from nonverbal.data.preparing.shards import verify
from nonverbal.errors import UserError
from pretrain.prepare import main, with_corpora

NOT_OF_THE_CONTENT = (".lock", ".inputs.json", "recipe.yaml")


def noise(number, seconds=1.0, rate=16_000):
    return np.random.default_rng(number).integers(-16_000, 16_000, round(rate * seconds), dtype=np.int16)


def write(path, samples, rate=16_000):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype="PCM_16")
    return path


@pytest.fixture
def corpus(tmp_path):
    """20 good clips of two classes and ten speakers, and one file for each thing that can be wrong or done."""
    folder = tmp_path / "laughs"
    for number in range(20):
        write(folder / f"{'ab'[number % 2]}/s{number % 10}_{number}.wav", noise(number, 0.5 + number / 20))
    write(folder / "a/s0_twin.flac", noise(3, 0.65))
    write(folder / "b/s1_stereo.wav", np.stack([noise(100), noise(101)], axis=1))
    write(folder / "b/s2_rate.wav", noise(102, rate=44_100), 44_100)
    write(folder / "b/s3_long.wav", noise(103, 4.7))
    write(folder / "b/s4_short.wav", noise(104, 1039 / 16_000))
    write(folder / "b/s5_silent.wav", np.zeros(16_000))
    write(folder / "b/s6_empty.wav", np.zeros(0))
    data = write(folder / "b/s7_cut.wav", noise(105)).read_bytes()
    (folder / "b/s7_cut.wav").write_bytes(data[:10_000])
    (folder / "b/s8_\nbroken\u2028.wav").write_bytes(b"no audio")
    shutil.copy(folder / "a/s0_0.wav", folder / "a/s0_named.mp3")
    (folder / "notes.txt").write_text("hello")
    return folder


def settings(corpora, out, **changes):
    sources = {name: value if isinstance(value, Source) else Source(value) for name, value in corpora.items()}
    values = {"processes": 1, "max_seconds": 2.0, "validation_share": 0.2, "shard_megabytes": 0.2}
    return PrepareConfig(corpora=sources, out=out, **{**values, **changes})


def with_speakers(folder):
    return Source(folder, "folder", r"(?P<speaker>s\d+)_[^/]*$")


def content(folder):
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in NOT_OF_THE_CONTENT]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def ledger(folder):
    return [json.loads(line) for line in (folder / "ledger.jsonl").read_text().split("\n")[:-1]]


def reasons(folder):
    return {row["path"]: row["reason"] for row in ledger(folder)}


def test_webdataset_reads_the_shards_back(corpus, tmp_path):
    shards = prepare(settings({"laughs": with_speakers(corpus)}, tmp_path / "out"))
    clips = {clip.id: clip for clip in shards.clips()}
    read = defaultdict(list)
    for shard in shards.shards:
        tar = str(shards.folder / shard["name"])
        samples = list(webdataset.WebDataset(tar, shardshuffle=False))
        assert len(samples) == shard["clips"]
        for sample in samples:
            row = json.loads(sample["json"])
            assert row["split"] == shard["split"]
            read[row["id"]].append((row["part"], soundfile.read(io.BytesIO(sample["flac"]), dtype="int16")[0]))
            assert {key: row[key] for key in ("label", "speaker", "sha256")} == {
                key: getattr(clips[row["id"]], key) for key in ("label", "speaker", "sha256")
            }
    assert read.keys() == clips.keys()
    for name, clip in clips.items():
        whole = np.concatenate([samples for _, samples in sorted(read[name], key=first)])
        if clip.path not in ("b/s1_stereo.wav", "b/s2_rate.wav"):
            np.testing.assert_array_equal(whole, soundfile.read(corpus / clip.path, dtype="int16")[0])


def first(pair):
    return pair[0]


def test_the_table_finds_every_part(corpus, tmp_path):
    shards = prepare(settings({"laughs": with_speakers(corpus)}, tmp_path / "out"))
    clips = shards.clips()
    seconds = Counter()
    for row in range(len(shards.table)):
        seconds[int(shards.table[row]["clip"])] += len(shards.read(row)) / 16_000
    assert seconds == {i: pytest.approx(clip.end, abs=1e-3) for i, clip in enumerate(clips)}


def test_the_same_bytes_on_any_number_of_processes_and_wherever_the_files_lie(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(scan_module, "CHUNK", 5)
    one = prepare(settings({"laughs": corpus}, tmp_path / "one"))
    moved = tmp_path / "elsewhere" / "deeper"
    shutil.copytree(corpus, moved)
    monkeypatch.chdir(moved.parent)
    two = prepare(settings({"laughs": Path("deeper")}, tmp_path / "two", processes=2))
    assert content(one.folder) == content(two.folder)
    assert {"index.json", "table.npy", "manifest.jsonl", "ledger.json", "ledger.jsonl"} <= content(one.folder).keys()
    assert one.sha256 == two.sha256
    other = prepare(settings({"laughs": corpus}, tmp_path / "other", seed=1))
    assert other.sha256 != one.sha256


def test_every_file_is_a_row_of_the_ledger_and_it_adds_up(corpus, tmp_path):
    shards = prepare(settings({"laughs": with_speakers(corpus)}, tmp_path / "out"))
    rows = ledger(shards.folder)
    assert [row["path"] for row in rows] == sorted(
        path.relative_to(corpus).as_posix() for path in corpus.rglob("*") if path.is_file()
    )
    (summary,) = read_summaries(shards.folder)
    dropped, skipped = sum(summary.dropped.values()), sum(summary.skipped.values())
    assert len(rows) == summary.files == summary.clips + skipped
    assert summary.clips == summary.kept + dropped
    assert summary.kept == summary.train + summary.validation == len(shards.clips())
    assert summary.hours == pytest.approx(summary.hours_kept + sum(summary.hours_dropped.values()), abs=1e-5)
    in_shards = sum(shard["seconds"] for shard in shards.shards) / 3600
    assert summary.hours_kept == pytest.approx(in_shards, abs=1e-5)
    in_validation = sum(shard["seconds"] for shard in shards.shards if shard["split"] == "validation") / 3600
    assert summary.hours_validation == pytest.approx(in_validation, abs=1e-5) != 0
    assert summary.groups == len(set(shards.table["group"].tolist()))
    assert summary.dropped == {
        "duplicate": 2,
        "empty": 1,
        "silent": 1,
        "too_short": 1,
        "truncated": 1,
        "unreadable": 1,
    }
    assert summary.skipped == {"not audio": 1}
    assert summary.done == {"cut": 1, "downmixed": 1, "resampled": 1}


def test_what_is_wrong_with_each_file(corpus, tmp_path):
    assert {
        path: why for path, why in reasons(prepare(settings({"x": corpus}, tmp_path / "out")).folder).items() if why
    } == {
        "a/s0_named.mp3": "duplicate",
        "b/s3_3.wav": "duplicate",
        "b/s4_short.wav": "too_short",
        "b/s5_silent.wav": "silent",
        "b/s6_empty.wav": "empty",
        "b/s7_cut.wav": "truncated",
        "b/s8_\nbroken\u2028.wav": "unreadable",
        "notes.txt": "not audio",
    }


def test_long_clips_are_cut_into_the_fewest_equal_parts(corpus, tmp_path):
    shards = prepare(settings({"x": corpus}, tmp_path / "out"))
    (clip,) = [i for i, clip in enumerate(shards.clips()) if clip.path == "b/s3_long.wav"]
    rows = np.flatnonzero(shards.table["clip"] == clip)
    rows = rows[np.argsort(shards.table["part"][rows])]
    assert shards.table["part"][rows].tolist() == [0, 1, 2]
    assert np.ptp(shards.table["samples"][rows].astype(int)) <= 1
    assert shards.table["samples"].max() <= 2 * 16_000
    whole = np.concatenate([shards.read(row) for row in rows])
    np.testing.assert_array_equal(whole, soundfile.read(corpus / "b/s3_long.wav", dtype="float32")[0])


def test_shards_keep_to_their_size(corpus, tmp_path):
    shards = prepare(settings({"x": corpus}, tmp_path / "out", shard_megabytes=0.1))
    for number, shard in enumerate(shards.shards):
        parts = shards.table[shards.table["shard"] == number]
        assert len(parts) == shard["clips"]
        assert parts["size"].sum() <= 100_000 or len(parts) == 1
    assert len(shards.shards) > 5


def test_no_speaker_recording_or_duplicate_is_on_both_sides(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    for number in range(30):
        write(one / f"s{number}_a.wav", noise(number))
        write(one / f"s{number}_b.wav", noise(100 + number))
        # Each has the samples of a clip of the first corpus, so that the duplicate ties two speakers together.
        write(two / f"s{number // 2}_{number}.flac", noise(number))
        write(two / f"s{number // 2}_{number}x.flac", noise(200 + number))
    corpora = {"one": with_speakers(one), "two": with_speakers(two)}
    shards = prepare(settings(corpora, tmp_path / "out"))
    assert Counter(row["reason"] for row in ledger(shards.folder)) == {None: 90, "duplicate": 30}
    # Any stretch of shards is a sample of the whole.
    order = shards.table["corpus"][shards.rows("train")]
    assert np.count_nonzero(np.diff(order.astype(int))) > 10
    side = {}
    for part in shards.table:
        side[int(part["clip"])] = shards.shards[part["shard"]]["split"]
    clips = shards.clips()
    assert len({clip.sha256 for clip in clips}) == len(clips)
    sides = defaultdict(set)
    for i, clip in enumerate(clips):
        number = int(clip.path.split("_")[0][1:])
        # The family: clips 2n and 2n + 1 share a speaker of the second corpus, and by their samples those of the first.
        sides[number // 2 if clip.corpus == "one" else number].add(side[i])
    assert all(len(both) == 1 for both in sides.values())
    assert {one for (one,) in sides.values()} == {"train", "validation"}


def test_exclusion_by_samples_and_by_recording(tmp_path):
    test, rest = tmp_path / "test", tmp_path / "rest"
    write(test / "r1_x.wav", noise(1))
    write(test / "r2_x.wav", noise(2))
    write(rest / "r7_copy.flac", noise(1))
    write(rest / "r7_other.wav", noise(3))
    write(rest / "r8_free.wav", noise(4))
    by_recording = r"(?P<recording>r\d)_"
    held_out = prepare(settings({"same": Source(test, "folder", by_recording)}, tmp_path / "held_out"))
    manifest = held_out.folder / "manifest.jsonl"
    shards = prepare(settings({"mine": Source(rest, "folder", by_recording)}, tmp_path / "out", exclude=[manifest]))
    details = {row["path"]: (row["reason"], row["detail"]) for row in ledger(shards.folder)}
    assert details == {
        "r7_copy.flac": ("excluded", "its samples are in an excluded manifest"),
        "r7_other.wav": ("excluded", "its recording mine:r7 is in an excluded manifest"),
        "r8_free.wav": (None, None),
    }
    write(test / "r1_new.wav", noise(5))
    with pytest.raises(UserError, match="nothing to keep: see .*ledger.jsonl for the reason of each file"):
        prepare(settings({"same": Source(test, "folder", by_recording)}, tmp_path / "none", exclude=[manifest]))
    assert set(reasons(tmp_path / "none").values()) == {"excluded"}


def test_strict_names_what_is_wrong_before_a_shard_is_written(corpus, tmp_path):
    with pytest.raises(UserError) as caught:
        prepare(settings({"x": corpus}, tmp_path / "out", strict=True))
    message = str(caught.value)
    assert message.startswith("--strict: 5 files are not as they should be: x/a/s0_named.mp3 is mislabelled; ")
    for problem in ("s5_silent.wav is silent", "s6_empty.wav is empty", "s7_cut.wav is truncated", "is unreadable"):
        assert problem in message
    assert "\n" not in message
    assert not list((tmp_path / "out").glob("*.tar*"))
    for name in ("a/s0_named.mp3", "b/s5_silent.wav", "b/s6_empty.wav", "b/s7_cut.wav", "b/s8_\nbroken\u2028.wav"):
        (corpus / name).unlink()
    assert len(prepare(settings({"x": corpus}, tmp_path / "out", strict=True)).clips()) == 23


def test_links_pipes_and_names_that_are_no_text(corpus, tmp_path):
    outside = write(tmp_path / "secret.wav", noise(900))
    (corpus / "out.wav").symlink_to(outside)
    (corpus / "folder.wav").symlink_to(tmp_path)
    (corpus / "loop.wav").symlink_to("loop.wav")
    (corpus / "gone.wav").symlink_to("nowhere.wav")
    write(corpus / "real.wav", noise(901))
    (corpus / "z_inside.wav").symlink_to("real.wav")
    os.mkfifo(corpus / "pipe.wav")
    with open(os.fsencode(corpus) + b"/latin_\xe9.wav", "wb") as file:
        file.write(outside.read_bytes())
    shards = prepare(settings({"x": corpus}, tmp_path / "out"))
    found = reasons(shards.folder)
    assert found["out.wav"] == "a link that leaves the folder"
    assert found["folder.wav"] == "a link to a folder, which is not followed"
    assert (found["loop.wav"], found["gone.wav"], found["pipe.wav"]) == ("unreadable", "missing", "unreadable")
    assert (found["real.wav"], found["z_inside.wav"]) == (None, "duplicate")
    assert found["latin_\\udce9.wav"] == "its name is not valid UTF-8"
    assert len(found) == len(ledger(shards.folder)) == sum(len(names) for _, _, names in os.walk(corpus)) + 1


def test_a_file_that_vanishes_is_missing(corpus, tmp_path, monkeypatch):
    read = prepare_module.read

    def read_and_lose(*arguments):
        yield from [*read(*arguments), Found("b/vanished.wav", "b")]

    monkeypatch.setattr(prepare_module, "read", read_and_lose)
    rows = ledger(prepare(settings({"x": corpus}, tmp_path / "out")).folder)
    (row,) = [row for row in rows if row["path"] == "b/vanished.wav"]
    assert (row["action"], row["reason"]) == ("dropped", "missing")


def test_a_file_that_may_not_be_read_is_in_the_rows(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(scan_module, "load", refuse)
    scan_module.decode_chunk(scan_module.Chunk("x", tmp_path, [Found("a.wav")], 10.0), tmp_path / "rows.jsonl")
    row = json.loads((tmp_path / "rows.jsonl").read_text())
    assert (row["problem"], row["detail"], row["parts"]) == ("unreadable", "Permission denied", [])


@given(st.integers(0, 10**6), st.integers(3200, 10**5))
def test_parts_are_as_few_and_as_equal_as_can_be(samples, longest):
    parts = np.diff(scan_module.equal_parts(samples, longest))
    assert parts.sum() == samples
    assert parts.max() <= longest
    assert np.ptp(parts) <= 1
    assert len(parts) == max(-(-samples // longest), 1)


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


def test_an_excluded_manifest_that_is_no_text_is_named(corpus, tmp_path):
    (tmp_path / "manifest.jsonl").write_bytes(b'{"id": "\xff"}\n')
    with pytest.raises(UserError, match="manifest.jsonl, line 1: not a JSON object"):
        prepare(settings({"x": corpus}, tmp_path / "out", exclude=[tmp_path / "manifest.jsonl"]))


def test_verify_names_what_changed_and_what_is_missing(corpus, tmp_path):
    shards = prepare(settings({"x": corpus}, tmp_path / "out"))
    assert verify(shards.folder) == len(shards.shards) + 2
    path = shards.folder / "train-000001.tar"
    data = bytearray(path.read_bytes())
    data[700] ^= 1
    path.write_bytes(data)
    manifest = shards.folder / "manifest.jsonl"
    manifest.write_text(manifest.read_text() + "\n")
    with pytest.raises(UserError, match=r"train-000001.tar, .*manifest.jsonl changed since index.json was written"):
        verify(shards.folder)
    path.unlink()
    with pytest.raises(UserError, match=r"train-000001.tar is missing"):
        verify(shards.folder)


def test_verify_reads_as_many_files_at_once_as_there_are_cores(corpus, tmp_path, monkeypatch):
    folder = prepare(settings({"x": corpus}, tmp_path / "out")).folder
    together, add_up = threading.Barrier(2), shards_module._sha256

    def meeting(path):
        # Fails where nobody else adds up a file meanwhile.
        if path.name in ("table.npy", "manifest.jsonl"):
            together.wait(10)
        return add_up(path)

    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(shards_module, "_sha256", meeting)
    assert verify(folder) > 2


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"corpora": {}}, "no corpora: give at least one NAME=FOLDER"),
        ({"corpora": {"../x": Path("x")}}, "the corpus '../x' must be named in lower-case letters, digits, - and _"),
        ({"corpora": {"Laughs": Path("x")}}, "the corpus 'Laughs' must be named in lower-case"),
        ({"seed": -1}, "seed must be at least 0, but is -1"),
        ({"validation_share": 1.0}, r"validation_share must be in \[0, 1\), but is 1.0"),
        ({"max_seconds": 1.0}, r"max_seconds must be in \[2, 3600\], but is 1.0"),
        ({"max_seconds": float("nan")}, "max_seconds must be in .*, but is nan"),
        ({"shard_megabytes": 0.0}, "shard_megabytes must be above 0"),
        ({"processes": 0}, "processes must be at least 1"),
    ],
)
def test_settings_without_shards_are_refused(tmp_path, values, message):
    with pytest.raises(UserError, match=message):
        settings(**{"corpora": {"x": tmp_path}, "out": tmp_path / "out", **values})


def test_an_empty_and_a_misspelt_folder_and_an_out_inside_are_refused(tmp_path, corpus):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty holds no audio: expected files such as <class>/<clip>.wav, found 0"):
        prepare(settings({"x": tmp_path / "empty"}, tmp_path / "out"))
    with pytest.raises(UserError, match="the corpus 'x' should be in .*laugs, but there is no such folder"):
        prepare(settings({"x": tmp_path / "laugs"}, tmp_path / "out"))
    for out in (corpus, corpus / "b/shards"):
        with pytest.raises(UserError, match="--out .* is in .*laughs, the corpus 'x': choose another folder"):
            prepare(settings({"x": corpus}, out))
    with pytest.raises(UserError, match="there is no manifest .*nowhere.jsonl"):
        prepare(settings({"x": corpus}, tmp_path / "out", exclude=[tmp_path / "nowhere.jsonl"]))


RECIPE = """\
corpora:
  digits:
    folder: corpora/digits
    reader: folder
    pattern: (?P<speaker>[a-z]+)_.*
    licence: CC-BY-SA-4.0
  laughs:
    folder: corpora/laughs
seed: 3
"""


def load(*argv):
    return config.load(PrepareConfig, with_corpora([str(item) for item in argv]), "nonverbal prepare", "")


def test_corpora_on_the_command_line_and_in_a_recipe(tmp_path):
    given = load("laughs=my folder/a=b", "cries=x,y", "--out", "shards", "--seed", "5")
    assert given.corpora == {"laughs": Source(Path("my folder/a=b")), "cries": Source(Path("x,y"))}
    assert (given.out, given.seed) == (Path("shards"), 5)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    moved = load(recipe, "digits=elsewhere", "more=there", "--out", "shards", "--corpora.laughs.licence", "MIT")
    pattern = "(?P<speaker>[a-z]+)_.*"
    assert moved.corpora == {
        "digits": Source(Path("elsewhere"), "folder", pattern, licence="CC-BY-SA-4.0"),
        "laughs": Source(Path("corpora/laughs"), licence="MIT"),
        "more": Source(Path("there")),
    }
    assert moved.seed == 3
    with pytest.raises(
        UserError,
        match="unknown key 'corpora.laughs.folders' .*; did you mean 'corpora.laughs.folder'",
    ):
        load(recipe, "--corpora.laughs.folders", "x", "--out", "shards")


def test_what_was_resolved_reads_back_as_a_recipe(corpus, tmp_path):
    before = settings({"x": with_speakers(corpus)}, tmp_path / "out")
    prepare(before)
    assert load(tmp_path / "out/recipe.yaml") == before
    assert yaml.safe_load((tmp_path / "out/recipe.yaml").read_text())["corpora"]["x"]["reader"] == "folder"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["Laughs=laughs"], "the corpus 'Laughs' must be named in lower-case letters, digits, - and _"),
        (["laughs=laugs"], "the corpus 'laughs' should be in laugs, but there is no such folder"),
        (["laughs"], "laughs is a folder: give its corpus a name, such as sounds=laughs"),
        (["laughs="], "there is no file 'laughs=' here or among the shipped ones"),
        (
            ["laughs=laughs", "--corpora.laugh.licence", "CC0-1.0"],
            "missing: --corpora.laugh.folder; did you mean 'laughs'?",
        ),
        (["laughs=laughs", "--seeds", "3"], "unknown key 'seeds' on the command line; did you mean 'seed'?"),
        (["laughs=laughs", "--strict"], "--strict: 5 files are not as they should be"),
        (["--seed", "3"], "no corpora: give at least one NAME=FOLDER"),
        (["a=x", "b=y", "a=z"], "a=z: the corpus 'a' was given before; give each folder a name of its own"),
        (["--verify"], "--verify takes one folder of shards and nothing else"),
    ],
)
def test_mistakes_on_the_command_line_are_one_line(corpus, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        main([*arguments, "--out", "out"])
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.processes
def test_the_command_line_from_folder_to_verified_shards(corpus, tmp_path, capsys):
    command = [sys.executable, "-m", "nonverbal", "prepare", "laughs=laughs", "--out", "out"]
    made = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert "laughs: dropped: 2 duplicate" in made.stdout
    out = tmp_path / "out"
    main(["--verify", str(out)])
    assert capsys.readouterr().out == f"{out}: 4 files are as they were written\n"


def test_reading_needs_nothing_but_the_folder(corpus, tmp_path):
    prepare(settings({"x": corpus}, tmp_path / "out"))
    shutil.rmtree(corpus)
    moved = (tmp_path / "out").rename(tmp_path / "moved")
    assert verify(moved) == len(open_shards(moved).shards) + 2
    assert len(list(read_manifest(moved / "manifest.jsonl"))) == 23


def test_absent_corpora_are_refused_or_said_and_left_out(corpus, tmp_path):
    said = []
    gone = tmp_path / "gone"
    with pytest.raises(UserError, match=r"the corpus 'gone' should be in .*gone, but there is no such folder"):
        prepare(settings({"here": corpus, "gone": gone}, tmp_path / "out"))
    skipping = settings({"here": corpus, "gone": gone}, tmp_path / "out", absent="skip")
    shards = prepare(skipping, said.append)
    assert shards.corpora == ["here"]
    assert said[-1] == "absent, and left out: gone"
    assert prepare(skipping, said.append).sha256 == shards.sha256
    with pytest.raises(UserError, match=r"none of the folders is there: .*gone; say where they are with NAME=FOLDER"):
        prepare(settings({"gone": gone}, tmp_path / "none", absent="skip"))
    write(gone / "a.wav", noise(200))
    with pytest.raises(UserError, match=r"holds shards of other input \(files changed since\)"):
        prepare(skipping, said.append)


def test_the_share_of_voc125_is_said(tmp_path):
    write(tmp_path / "data/voices/martin/notes/exports/mono/A.wav", noise(1, 36))
    said = []
    corpora = {name: tmp_path / ("data" if name == "human-voice" else name) for name in VOC125}
    prepare(settings(corpora, tmp_path / "out", absent="skip"), said.append)
    assert said[-1] == "of Voc125: 1 of 10 corpora, 1 of 68,067 clips, 0.01 of 125.19 hours (0.0%)"
