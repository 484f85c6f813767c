"""How the work is cut, and what comes of it whoever does it."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from patience import wait_until
from safetensors.numpy import load_file
from tiny_encoders import SAVED, save_tiny

from nonverbal.data.index import ShardFolder
from nonverbal.errors import UserError
from nonverbal.evaluation import pieces
from nonverbal.evaluation.embeddings import embed, embed_frames
from nonverbal.evaluation.encoders import load_frame_encoder
from nonverbal.evaluation.encoders.logmel import LogMel
from nonverbal.evaluation.pieces import Work, batches, embed_clips, plan

Make = Callable[..., ShardFolder]

LENGTHS = (400, 3000, 3000, 5003, 7777, 8000, 16_000, 16_001, 20_000)
"""Samples: one frame, equal ones, and some that no hop divides."""


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def sounds(shards: Make, lengths: tuple[int, ...] = LENGTHS) -> ShardFolder:
    return shards([("a", None, str(i), [noise(n, i)]) for i, n in enumerate(lengths)])


def test_batches_hold_like_lengths_and_no_more_than_they_may() -> None:
    lengths = [16_000, 100, 16_000, 13_000, 100_000, 16_000]
    assert batches(lengths, None, 10) == batches(lengths, "any", 0) == [[i] for i in range(6)]
    assert batches(lengths, "equal", 3.0) == [[1], [3], [0, 2, 5], [4]]
    assert batches(lengths, "any", 2.0) == [[1], [3, 0], [2, 5], [4]]
    # Five seconds of four rows, none of them padded by more than a quarter of its length.
    assert batches(lengths, "any", 5.0) == [[1], [3, 0, 2, 5], [4]]
    assert batches([16_000, 12_000], "any", 5.0) == [[1], [0]]


def test_pieces_hold_every_clip_once_from_short_to_long(labelled_shards: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    shards = labelled_shards(
        [("a", None, str(i), [noise(n, i), noise(200, i)][: 1 + i % 2]) for i, n in enumerate(LENGTHS)]
    )
    monkeypatch.setattr(pieces, "PIECE_SECONDS", 1.2)
    monkeypatch.setattr(pieces, "PIECE_CLIPS", 3)
    wanted = np.array([8, 0, 3, 5, 1, 6, 2])
    found = plan(shards, wanted)
    samples = [[int(shards.table["samples"][list(rows)].sum()) for rows in piece.parts] for piece in found]
    flat = [length for piece in samples for length in piece]
    assert sorted(clip for piece in found for clip in piece.clips) == sorted(wanted)
    assert flat == sorted(flat)
    assert [piece.number for piece in found] == list(range(len(found)))
    assert all(len(piece) <= 3 and (len(piece) == 1 or sum(piece) <= 1.2 * 16_000) for piece in samples)
    table = shards.table
    for piece in found:
        for clip, rows in zip(piece.clips, piece.parts, strict=True):
            assert table["clip"][list(rows)].tolist() == [clip] * len(rows)
            assert table["part"][list(rows)].tolist() == list(range(len(rows)))


@pytest.mark.parametrize("kind", SAVED)
def test_a_clip_does_not_depend_on_its_neighbours(kind: str, tmp_path: Path) -> None:
    encoder = load_frame_encoder(str(save_tiny(kind, tmp_path / "encoder")))
    clips = [noise(n, i) for i, n in enumerate(LENGTHS)]
    alone, own_frames = embed_clips(encoder, clips, 0, frames=True)
    given = []
    many = encoder.many  # type: ignore[attr-defined]
    encoder.many = lambda waveforms: given.append(len(waveforms)) or many(waveforms)  # type: ignore[attr-defined]
    together, frames = embed_clips(encoder, clips, 10, frames=True)
    assert max(given) > 1
    if encoder.batching == "any":  # type: ignore[attr-defined]
        # All of them in one batch, the shortest padded to fifty times its length.
        each = many(clips)
        for waveform, own in zip(clips, each, strict=True):
            frame = encoder.frames(waveform)
            scale = np.sqrt(np.square(frame).mean((1, 2), keepdims=True))
            assert own.shape == frame.shape
            assert (np.abs(own.numpy() - frame) <= 1e-5 * scale).all()
    scale = np.sqrt(np.square(alone).mean((0, 2), keepdims=True))
    assert (np.abs(together - alone) <= 1e-5 * scale).all()
    for one, other in zip(own_frames, frames, strict=True):
        assert one.dtype == np.float16
        np.testing.assert_allclose(one, other, atol=2e-3, rtol=2e-3)


def test_group_norm_over_padding_is_what_is_kept_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the own statistics of a row, the test above would fail."""
    import contextlib

    from nonverbal.evaluation.encoders import padding

    encoder = load_frame_encoder(str(save_tiny("wav2vec2 base", tmp_path / "encoder")))
    clips = [noise(5000), noise(6000)]
    alone = encoder.frames(clips[0])
    monkeypatch.setattr(padding, "each_row_alone", lambda *_: contextlib.nullcontext())
    padded = encoder.many(clips)[0].numpy()  # type: ignore[attr-defined]
    assert np.abs(padded - alone).max() > 1e-3 * np.sqrt(np.square(alone).mean())


def test_models_are_left_as_they_were(tmp_path: Path) -> None:
    for kind in ("wav2vec2 base", "data2vec-audio"):
        encoder = load_frame_encoder(str(save_tiny(kind, tmp_path / kind)))
        before = encoder.frames(noise(5000))
        encoder.many([noise(3000), noise(7000)])  # type: ignore[attr-defined]
        np.testing.assert_array_equal(encoder.frames(noise(5000)), before)


@pytest.mark.parametrize("kind", ["wav2vec2 base", "whisper"])
def test_windows_of_a_long_clip_are_in_the_order_of_time(kind: str, tmp_path: Path) -> None:
    encoder = load_frame_encoder(str(save_tiny(kind, tmp_path / "encoder")))
    encoder.max_seconds = 0.25
    clip = noise(16_001)
    _, (frames,) = embed_clips(encoder, [clip], 5, frames=True)
    cuts = np.array_split(clip, 5)
    expected = np.concatenate([encoder.frames(cut) for cut in cuts], axis=1)
    np.testing.assert_allclose(frames, expected, atol=2e-3, rtol=2e-3)


def test_over_two_processes_the_embeddings_are_the_same(
    labelled_shards: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards, folder = sounds(labelled_shards), str(save_tiny("wav2vec2 base", tmp_path / "encoder"))
    monkeypatch.setattr(pieces, "PIECE_CLIPS", 3)
    encoder, clips = load_frame_encoder(folder), np.array([3, 0, 1, 2, 8, 7, 5, 4, 6])
    one = embed(encoder, shards, clips, tmp_path / "one")
    monkeypatch.setattr(encoder, "frames", lambda _: pytest.fail("computed in this process"))
    two = embed(encoder, shards, clips, tmp_path / "two", Work(processes=2))
    np.testing.assert_allclose(two, one, atol=1e-6)
    assert [path.name for path in (tmp_path / "two").iterdir()] == [path.name for path in (tmp_path / "one").iterdir()]


@pytest.mark.slow  # several processes, or a compiler, that import torch
def test_another_process_says_what_is_wrong(
    labelled_shards: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards, folder = sounds(labelled_shards, (5000, 300)), str(save_tiny("wav2vec2 base", tmp_path / "encoder"))
    monkeypatch.setattr(pieces, "PIECE_CLIPS", 1)
    with pytest.raises(UserError, match="makes a frame of 400 samples, but a part of a clip has 300"):
        embed(load_frame_encoder(folder), shards, np.arange(2), tmp_path / "cache", Work(processes=2))


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from nonverbal.data.index import open_shards
from nonverbal.evaluation import pieces
from nonverbal.evaluation.embeddings import embed_frames
from nonverbal.evaluation.encoders.logmel import LogMel
pieces.PIECE_CLIPS = 2
own = LogMel.frames
calls = []
def frames(self, waveform):
    calls.append(1)
    if len(calls) == 6:  # one to tell the size, and four of the first two pieces
        os.kill(os.getpid(), signal.SIGKILL)
    return own(self, waveform)
LogMel.frames = frames
embed_frames(LogMel(), open_shards(Path(sys.argv[1])), np.arange(9), Path(sys.argv[2]))
"""


@pytest.mark.processes
def test_a_killed_run_continues_to_the_same_files(
    labelled_shards: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = sounds(labelled_shards)
    monkeypatch.setattr(pieces, "PIECE_CLIPS", 2)
    embed_frames(LogMel(), shards, np.arange(9), tmp_path / "whole")
    killed = subprocess.run([sys.executable, "-c", KILLED, shards.folder, tmp_path / "killed"], check=False)
    assert killed.returncode == -signal.SIGKILL
    (parts,) = (tmp_path / "killed").glob("*.parts")
    assert len(list(parts.glob("*.safetensors"))) == 2
    assert not list((tmp_path / "killed").glob("*.safetensors"))
    calls, own = [], LogMel.frames
    monkeypatch.setattr(LogMel, "frames", lambda self, waveform: calls.append(1) or own(self, waveform))
    embed_frames(LogMel(), shards, np.arange(9), tmp_path / "killed")
    assert len(calls) == 1 + 9 - 4
    for path in sorted((tmp_path / "whole").rglob("*")):
        other = tmp_path / "killed" / path.relative_to(tmp_path / "whole")
        if path.suffix == ".safetensors":
            # Their headers name what is said of the file in any order.
            assert {k: v.tobytes() for k, v in load_file(other).items()} == {
                k: v.tobytes() for k, v in load_file(path).items()
            }
        else:
            assert path.is_dir() or other.read_bytes() == path.read_bytes()
    assert len(list((tmp_path / "killed").rglob("*"))) == len(list((tmp_path / "whole").rglob("*")))


@pytest.mark.processes
def test_a_piece_that_is_torn_or_of_another_plan_is_made_again(
    labelled_shards: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = sounds(labelled_shards)
    monkeypatch.setattr(pieces, "PIECE_CLIPS", 2)
    expected = embed(LogMel(), shards, np.arange(9), tmp_path / "whole")
    subprocess.run([sys.executable, "-c", KILLED, shards.folder, tmp_path / "cache"], check=False)
    (torn,) = (tmp_path / "cache").glob("*.parts/000000.safetensors")
    torn.write_bytes(torn.read_bytes()[:50])
    monkeypatch.setattr(pieces, "PIECE_CLIPS", 4)
    np.testing.assert_array_equal(embed(LogMel(), shards, np.arange(9), tmp_path / "cache"), expected)
    assert not list((tmp_path / "cache").glob("*.parts"))


@pytest.mark.processes
def test_two_at_once_compute_once(labelled_shards: Make, tmp_path: Path) -> None:
    """The second waits for the first, and reads what that has written."""
    shards = sounds(labelled_shards)
    code = """
import sys, time
from pathlib import Path
import numpy as np
from nonverbal.data.index import open_shards
from nonverbal.evaluation.embeddings import embed
from nonverbal.evaluation.encoders.logmel import LogMel
own = LogMel.frames
def slow(self, waveform):
    Path(sys.argv[3]).touch()
    time.sleep(0.1)
    return own(self, waveform)
LogMel.frames = slow
embed(LogMel(), open_shards(Path(sys.argv[1])), np.arange(9), Path(sys.argv[2]))
"""
    begun = tmp_path / "begun"
    first = subprocess.Popen([sys.executable, "-c", code, shards.folder, tmp_path / "cache", begun])
    try:
        wait_until(begun.exists, first)
        encoder = LogMel()
        encoder.frames = lambda _: pytest.fail("computed twice")  # type: ignore[method-assign]
        assert len(embed(encoder, shards, np.arange(9), tmp_path / "cache")) == 9
    finally:
        first.wait()
