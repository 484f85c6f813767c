import hashlib
import json
import math
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from made_shards import with_clips

from nonverbal.data.index import ShardFolder
from nonverbal.errors import UserError
from nonverbal.evaluation.embeddings import POOLING, embed, embed_frames
from nonverbal.evaluation.encoders import confounds
from nonverbal.evaluation.encoders import load_frame_encoder as load_encoder
from nonverbal.evaluation.encoders.confounds import Duration
from nonverbal.evaluation.encoders.logmel import LogMel
from nonverbal.evaluation.pieces import Work
from nonverbal.evaluation.pooling import pool, windows

Make = Callable[..., ShardFolder]


def _noise(samples: int, seed: int, level: float = 0.1) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(samples) * level).clip(-1, 1).astype(np.float32)


def test_hidden_states_are_those_of_transformers(encoder_folder: Path) -> None:
    import torch
    from transformers import AutoFeatureExtractor, AutoModel

    waveform = _noise(12_345, 0)
    frames = load_encoder(str(encoder_folder)).frames(waveform)
    extractor = AutoFeatureExtractor.from_pretrained(encoder_folder)
    model = AutoModel.from_pretrained(encoder_folder).eval()
    values = extractor(waveform, sampling_rate=16_000, return_tensors="pt").input_values
    with torch.inference_mode():
        output = model(values, output_hidden_states=True)
        # Of a pre-norm encoder transformers 5 has the last before the norm that ends it.
        states = (*output.hidden_states[:-1], output.last_hidden_state)
    assert frames.shape == (3, 38, 16)
    np.testing.assert_allclose(frames, torch.cat(states).numpy(), atol=1e-5)
    # Layer 0 is the input to the first block: the block applied to it gives layer 1.
    with torch.inference_mode():
        first = model.encoder.layers[0](torch.from_numpy(frames[:1]))[0]
    np.testing.assert_allclose(first.reshape(38, 16).numpy(), frames[1], atol=1e-5)


def test_parts_of_a_clip_are_joined(labelled_shards: Make, tmp_path: Path) -> None:
    parts = [_noise(8000, 1), _noise(20_000, 2, 0.01), _noise(4000, 3)]
    shards = labelled_shards([("a", None, "1", [_noise(9000, 4)]), ("b", None, "2", parts)])
    encoder = LogMel()
    result = embed(encoder, shards, np.array([1]), tmp_path)
    frames = encoder.frames(_heard(np.concatenate(parts)))[0].astype(np.float64)
    assert result.shape == (1, 1, 160)
    np.testing.assert_allclose(result[0, 0], np.concatenate([frames.mean(0), frames.std(0)]), rtol=1e-4, atol=1e-4)


def test_a_clip_beyond_what_an_encoder_reads_is_pooled_over_the_frames_of_windows(
    labelled_shards: Make, tmp_path: Path
) -> None:
    parts = [_noise(8000, 1), _noise(8001, 2, 0.01)]
    shards = labelled_shards([("b", None, "2", parts)])
    encoder = LogMel()
    encoder.max_seconds = 0.4  # 6400 samples
    result = embed(encoder, shards, np.array([0]), tmp_path)
    whole = _heard(np.concatenate(parts))
    cuts = [whole[:5334], whole[5334:10_668], whole[10_668:]]
    assert [len(window) for window in windows(whole, 0.4)] == [len(cut) for cut in cuts] == [5334, 5334, 5333]
    frames = np.concatenate([encoder.frames(cut)[0] for cut in cuts]).astype(np.float64)
    np.testing.assert_allclose(result[0, 0], np.concatenate([frames.mean(0), frames.std(0)]), rtol=1e-4, atol=1e-4)
    assert [len(window) for window in windows(whole, math.inf)] == [16_001]
    assert [len(window) for window in windows(whole[:6400], 0.4)] == [6400]


def test_embeddings_kept_before_parts_were_joined_count_where_there_are_no_parts_to_join(
    labelled_shards: Make, tmp_path: Path
) -> None:
    shards = labelled_shards(
        [("a", None, "1", [_noise(9000, 4)]), ("b", None, "2", [_noise(8000, 1), _noise(8000, 2)])]
    )
    for clip, there in ((0, True), (1, False)):
        rows = np.array([clip], dtype="<i8")
        key = [LogMel.key, shards.sha256, hashlib.sha256(rows.tobytes()).hexdigest(), POOLING]
        name = f"logmel-{hashlib.sha256('|'.join(key).encode()).hexdigest()[:16]}.safetensors"
        embed(LogMel(), shards, rows, tmp_path / "cache")
        assert (tmp_path / "cache" / name).exists() == there


def test_an_encoder_of_one_frame_has_no_deviation(labelled_shards: Make, tmp_path: Path) -> None:
    parts = [_noise(8000, 1), _noise(4000, 2)]
    shards = labelled_shards([("a", None, "1", [_noise(9000, 4)]), ("b", None, "2", parts)])
    clips = np.array([next(i for i, clip in enumerate(shards.clips()) if clip.label == label) for label in "ab"])
    result = embed(Duration(), shards, clips, tmp_path)
    np.testing.assert_allclose(result, [[[9000 / 16_000]], [[12_000 / 16_000]]])
    np.testing.assert_array_equal(embed(Duration(), shards, clips, tmp_path), result)


def test_what_the_manifest_says_is_not_kept(labelled_shards: Make, tmp_path: Path) -> None:
    shards = labelled_shards([("a", None, "1", [_noise(9000, 4)])])
    for rate in (16_000, 44_100):
        shards = with_clips(shards, [replace(clip, sample_rate=rate) for clip in shards.clips()])
        np.testing.assert_array_equal(embed(confounds.rate(), shards, np.array([0]), tmp_path / "cache"), [[[rate]]])
    assert not (tmp_path / "cache").exists()


def _heard(samples: np.ndarray) -> np.ndarray:
    """As 16 bits keep it."""
    return (np.round(samples * 32768) / 32768).astype(np.float32)


def test_pooling_is_exact_far_from_zero() -> None:
    frames = 1e4 + np.random.default_rng(0).standard_normal((2, 50, 3)).astype(np.float64)
    pooled = pool([frames[:, :7], frames[:, 7:8], frames[:, 8:]])
    np.testing.assert_allclose(pooled, np.concatenate([frames.mean(1), frames.std(1)], axis=1), rtol=1e-6)


def test_an_embedding_depends_on_its_clip_alone(labelled_shards: Make, encoder_folder: Path, tmp_path: Path) -> None:
    sounds = [("a", None, str(i), [_noise(3000 + 2000 * i, i)]) for i in range(4)]
    shards, encoder = labelled_shards(sounds), load_encoder(str(encoder_folder))
    together = embed(encoder, shards, np.arange(4), tmp_path)
    assert together.shape == (4, 3, 32)
    assert together.dtype == np.float32
    for row in range(4):
        np.testing.assert_array_equal(embed(encoder, shards, np.array([row]), tmp_path)[0], together[row])


def test_embeddings_are_computed_once(labelled_shards: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards = labelled_shards([("a", None, "1", [_noise(5000, 1)]), ("b", None, "2", [_noise(5000, 2)])])
    first = embed(LogMel(), shards, np.arange(2), tmp_path / "cache")
    monkeypatch.setattr(LogMel, "frames", lambda *_: pytest.fail("computed again"))
    np.testing.assert_array_equal(embed(LogMel(), shards, np.arange(2), tmp_path / "cache"), first)
    (kept,) = (tmp_path / "cache").iterdir()
    kept.write_bytes(kept.read_bytes()[:100])
    with pytest.raises(UserError, match=r"cannot be read .*; remove the file"):
        embed(LogMel(), shards, np.arange(2), tmp_path / "cache")


def test_embeddings_are_taken_from_those_of_more_clips(
    labelled_shards: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = [[_noise(5000, 1)], [_noise(5000, 2)], [_noise(5000, 3), _noise(3000, 4)]]
    shards = labelled_shards([("a", None, str(i), own) for i, own in enumerate(parts)])
    whole = embed(LogMel(), shards, np.array([2, 0, 1]), tmp_path)
    monkeypatch.setattr(LogMel, "frames", lambda *_: pytest.fail("computed again"))
    for wanted in ([0, 2], [1], [1, 0]):
        expected = whole[[[2, 0, 1].index(clip) for clip in wanted]]
        np.testing.assert_array_equal(embed(LogMel(), shards, np.array(wanted), tmp_path), expected)


def test_embeddings_of_other_clips_are_not_taken(labelled_shards: Make, tmp_path: Path) -> None:
    shards = labelled_shards([("a", None, str(i), [_noise(5000, i)]) for i in range(3)])
    embed(LogMel(), shards, np.array([0, 2]), tmp_path / "cache")
    found = embed(LogMel(), shards, np.array([0, 1]), tmp_path / "cache")
    np.testing.assert_array_equal(found, embed(LogMel(), shards, np.array([0, 1]), tmp_path / "other"))


def test_a_single_part_that_is_cut_into_windows_has_a_key_of_its_own(labelled_shards: Make, tmp_path: Path) -> None:
    shards = labelled_shards([("a", None, "1", [_noise(9000, 1)])])
    whole = embed(LogMel(), shards, np.array([0]), tmp_path)
    encoder = LogMel()
    encoder.max_seconds = 0.5  # 8000 samples
    assert (embed(encoder, shards, np.array([0]), tmp_path) != whole).any()
    np.testing.assert_array_equal(embed(LogMel(), shards, np.array([0]), tmp_path), whole)


def test_kept_embeddings_are_found_by_what_they_are_whatever_the_encoder_is_called(
    labelled_shards: Make, encoder_folder: Path, tmp_path: Path
) -> None:
    shards = labelled_shards([("a", None, "1", [_noise(9000, 1)])])
    first = embed(load_encoder(str(encoder_folder)), shards, np.array([0]), tmp_path / "cache")
    encoder_folder.rename(tmp_path / "moved")
    encoder = load_encoder(str(tmp_path / "moved"))
    encoder.frames = lambda _: pytest.fail("computed again")  # type: ignore[method-assign]
    np.testing.assert_array_equal(embed(encoder, shards, np.array([0]), tmp_path / "cache"), first)


def test_frames_are_kept_in_16_bits(labelled_shards: Make, encoder_folder: Path, tmp_path: Path) -> None:
    parts = [[_noise(5000, 1)], [_noise(7000, 2)], [_noise(5000, 3), _noise(3000, 4)]]
    shards = labelled_shards([("a", None, str(i), own) for i, own in enumerate(parts)])
    encoder, said = load_encoder(str(encoder_folder)), []
    clips = np.array([2, 0, 1])
    frames = embed_frames(encoder, shards, clips, tmp_path / "cache", say=said.append)
    assert len(said) == 1
    assert sorted(frames) == [0, 1, 2]
    assert len(frames) == 3
    own = {clip: [int(row) for row in np.flatnonzero(shards.table["clip"] == clip)] for clip in range(3)}
    for clip, rows in own.items():
        rows.sort(key=lambda row: shards.table["part"][row])
        expected = encoder.frames(np.concatenate([shards.read(row) for row in rows]))
        np.testing.assert_array_equal(frames[clip], expected.astype(np.float16))
    # The size that was said is near: 58 frames of 3 layers of 16 values of 2 bytes.
    announced = re.search(r"about ([\d.]+) kB \(3 layers of 16 values, 1 s\)", said[0])
    assert announced
    assert abs(float(announced[1]) / (58 * 3 * 16 * 2 / 1e3) - 1) < 0.1
    encoder.frames = lambda _: pytest.fail("computed again")  # type: ignore[method-assign]
    again = embed_frames(encoder, shards, clips, tmp_path / "cache", say=said.append)
    np.testing.assert_array_equal(again[2], frames[2])
    assert len(embed(encoder, shards, clips, tmp_path / "cache")) == 3
    assert len(said) == 1
    index = tmp_path / next((tmp_path / "cache").glob("*.frames/index.json"))
    index.write_text(index.read_text().replace(shards.sha256, "0"))
    with pytest.raises(
        UserError, match=r"cached frames .* belong to other clips or another encoder; remove the folder"
    ):
        embed_frames(encoder, shards, clips, tmp_path / "cache")


def test_frames_that_16_bits_cannot_hold_are_refused(labelled_shards: Make, tmp_path: Path) -> None:
    shards = labelled_shards([("a", None, "1", [_noise(9000, 1)])])
    encoder = LogMel()
    encoder.frames = lambda _: np.full((1, 2, 3), 1e5, np.float32)  # type: ignore[method-assign]
    with pytest.raises(UserError, match="logmel gives frames with values beyond 65504"):
        embed_frames(encoder, shards, np.array([0]), tmp_path)


def test_frames_that_the_disk_cannot_hold_are_refused_before_anything_is_computed(
    labelled_shards: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = labelled_shards([("a", None, "1", [_noise(9000, 1)])])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=5000))
    with pytest.raises(UserError, match=r"take about 9.12 kB, but .* has 5 kB left; make room"):
        embed_frames(LogMel(), shards, np.array([0]), tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_kept_embeddings_belong_to_shards_and_weights(
    labelled_shards: Make, encoder_folder: Path, tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    one = labelled_shards([("a", None, "1", [_noise(5000, 1)])], "one")
    two = labelled_shards([("a", None, "1", [_noise(5000, 2)])], "two")
    first = embed(load_encoder(str(encoder_folder)), one, np.arange(1), tmp_path / "cache")
    assert (embed(load_encoder(str(encoder_folder)), two, np.arange(1), tmp_path / "cache") != first).any()
    weights = load_file(encoder_folder / "model.safetensors")
    name = next(name for name in weights if name.endswith("layers.1.feed_forward.output_dense.weight"))
    weights[name] = torch.flip(weights[name], [0])
    save_file(weights, encoder_folder / "model.safetensors", {"format": "pt"})
    changed = embed(load_encoder(str(encoder_folder)), one, np.arange(1), tmp_path / "cache")
    np.testing.assert_array_equal(changed[:, :2], first[:, :2])
    assert (changed[:, 2] != first[:, 2]).any()


@pytest.mark.parametrize("processes", [1, 2])
def test_clips_that_are_replaced_meanwhile_are_not_embedded_under_the_key_of_those_before(
    labelled_shards: Make, tmp_path: Path, processes: int
) -> None:
    # Longer than a piece together, so that two processes have one each.
    one = labelled_shards(
        [("a", None, "1", [_noise(16000 * 200, 1)]), ("a", None, "2", [_noise(16000 * 200, 2)])], "one"
    )
    two = labelled_shards(
        [("a", None, "1", [_noise(16000 * 200, 3)]), ("a", None, "2", [_noise(16000 * 200, 4)])], "two"
    )
    one.folder.rename(tmp_path / "before")
    two.folder.rename(one.folder)
    with pytest.raises(UserError, match=f"{one.folder} holds other data by now than when this command opened it"):
        embed(load_encoder("logmel"), one, np.arange(2), tmp_path / "cache", Work(processes))
    assert not list((tmp_path / "cache").glob("*.safetensors"))
    assert not list((tmp_path / "cache").glob("*/*.safetensors"))


def test_the_initialised_twin_is_random_by_seed(encoder_folder: Path) -> None:
    waveform, name = _noise(5000, 0), f"initialised:{encoder_folder}"
    trained, first, again, other = (
        load_encoder(n, s).frames(waveform) for n, s in ((str(encoder_folder), 0), (name, 0), (name, 0), (name, 1))
    )
    np.testing.assert_array_equal(first, again)
    assert first.shape == trained.shape
    assert np.abs(first - trained).max() > 0.01
    assert np.abs(first - other).max() > 0.01


def test_weights_that_are_missing_are_not_drawn_at_random(encoder_folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(encoder_folder / "model.safetensors")
    kept = {name: weight for name, weight in weights.items() if "layers.1.attention" not in name}
    save_file(kept, encoder_folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"not hold one complete encoder: missing weights: 8 \(.*layers\.1\.attention"):
        load_encoder(str(encoder_folder))


def test_blocks_that_the_configuration_has_not_are_not_left_out(encoder_folder: Path) -> None:
    config = json.loads((encoder_folder / "config.json").read_text())
    (encoder_folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 1}))
    with pytest.raises(UserError, match=r"unknown weights: 16 \(.*layers\.1\..*expected .* its config.json"):
        load_encoder(str(encoder_folder))


def test_weights_that_are_cut_short_are_named(encoder_folder: Path) -> None:
    weights = encoder_folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"model.safetensors is truncated or damaged; copy, download or export"):
        load_encoder(str(encoder_folder))


def test_of_a_run_it_is_the_encoder(encoder_folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "recipe.yaml").touch()
    encoder_folder.rename(run / "encoder")
    waveform = _noise(5000, 0)
    encoder, same = load_encoder(str(run)), load_encoder(str(run / "encoder"))
    assert encoder.name == str(run)
    assert encoder.key == same.key
    np.testing.assert_array_equal(encoder.frames(waveform), same.frames(waveform))


def test_pickled_weights_are_refused(encoder_folder: Path) -> None:
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(encoder_folder / "model.safetensors"), encoder_folder / "pytorch_model.bin")
    (encoder_folder / "model.safetensors").unlink()
    with pytest.raises(
        UserError,
        match=r"cannot load the checkpoint .*; nonverbal convert .*.bin --to transformers",
    ):
        load_encoder(str(encoder_folder))


def test_an_encoder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"there is no file or folder {tmp_path}/nothing"):
        load_encoder(f"{tmp_path}/nothing")


def test_of_a_checkpoint_that_is_a_file_it_says_how_it_becomes_a_folder(tmp_path: Path) -> None:
    (tmp_path / "ssam.pth").touch()
    with pytest.raises(UserError, match=r"ssam\.pth is a file.* nonverbal convert .*ssam\.pth --to transformers"):
        load_encoder(f"{tmp_path}/ssam.pth")


def test_log_mel_bands_are_ordered_by_frequency() -> None:
    time = np.arange(16_000) / 16_000
    peaks = [
        LogMel().frames(np.sin(2 * np.pi * f * time).astype(np.float32))[0].mean(0).argmax()
        for f in (100, 500, 2000, 7000)
    ]
    # Bands are even on the (HTK) mel scale from 50 to 8000 Hz.
    mel = lambda f: 2595 * np.log10(1 + f / 700)  # noqa: E731
    expected = [(mel(f) - mel(50)) / (mel(8000) - mel(50)) * 81 - 1 for f in (100, 500, 2000, 7000)]
    np.testing.assert_allclose(peaks, expected, atol=1)
