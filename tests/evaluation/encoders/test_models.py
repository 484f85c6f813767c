"""Encoders with weights: their frames are transformers' own, one clip at a time, and of the clip's own time."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_encoders import SAVED, save_tiny
from transformers import AutoFeatureExtractor, AutoModel, WhisperModel

from nonverbal.errors import UserError
from nonverbal.evaluation.encoders import KINDS, check_encoder, learned, load_encoder, load_frame_encoder

READ_WAVEFORMS = [name for name in SAVED if name not in ("whisper", "audio-spectrogram-transformer")]
WINDOWED = ("whisper", "audio-spectrogram-transformer")


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


@pytest.fixture(params=SAVED)
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """A kind and layout, and a folder of it."""
    return request.param, str(save_tiny(request.param, tmp_path / "encoder"))


def transformers_own(folder: str, waveform: np.ndarray) -> list[torch.Tensor]:
    """Hidden states by transformers alone, ``(layers, S, M)``, the last as the model gives it."""
    extractor, model = AutoFeatureExtractor.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    inputs = next(iter(extractor(waveform, sampling_rate=16_000, return_tensors="pt").values()))
    if isinstance(model, WhisperModel):
        model = model.encoder
    with torch.inference_mode():
        output = model(inputs, output_hidden_states=True)
    return [*(state[0] for state in output.hidden_states[:-1]), output.last_hidden_state[0]]


@pytest.mark.parametrize("samples", [12_345, 163_840])
def test_frames_are_those_of_transformers(saved: tuple[str, str], samples: int) -> None:
    name, folder = saved
    waveform = noise(samples)
    encoder = load_frame_encoder(folder)
    frames = encoder.frames(waveform)
    if name == "audio_mamba":
        model = encoder.model.cpu()  # type: ignore[attr-defined]
        with torch.inference_mode():
            output = model(torch.from_numpy(waveform)[None], output_hidden_states=True)
        theirs = [state[0] for state in output.hidden_states]
    else:
        theirs = transformers_own(folder, waveform)
    if name == "whisper":
        theirs = [state[: math.ceil(samples / 320)] for state in theirs]
    if name == "audio-spectrogram-transformer":
        # The patches of each time, one by one: token 2 + band x 101 + time; a patch has 16 frames, one every 10.
        times = ((1 + (samples - 400) // 160) - 16) // 10 + 1
        at = [[2 + 101 * band + time for band in range(12)] for time in range(times)]
        theirs = [torch.stack([state[tokens].mean(0) for tokens in at]) for state in theirs]
    assert encoder.kind == name.split()[0]
    assert encoder.layers == len(frames) == len(theirs) == 3
    assert encoder.dimensions == frames.shape[-1]
    for mine, state in zip(frames, theirs, strict=True):
        assert mine.shape == state.shape
        np.testing.assert_allclose(mine, state.numpy(), atol=1e-5 * float(state.square().mean().sqrt()))


def test_every_kind_with_weights_is_tried_here() -> None:
    # emotion2vec, FunASR's, has a file of tests of its own.
    assert {name.split()[0] for name in SAVED} | {"emotion2vec"} == {
        kind.name for kind in KINDS.values() if kind.learned
    }


def test_frames_are_the_same_each_time_whatever_was_heard_between(saved: tuple[str, str]) -> None:
    encoder, waveform = load_frame_encoder(saved[1]), noise(20_000)
    first = encoder.frames(waveform)
    encoder.frames(noise(7000, 1))
    np.testing.assert_array_equal(encoder.frames(waveform), first)
    np.testing.assert_array_equal(load_frame_encoder(saved[1]).frames(waveform), first)


@pytest.mark.parametrize("name", WINDOWED)
def test_of_a_window_the_frames_of_a_clip_are_its_own(name: str, tmp_path: Path) -> None:
    """Whisper hears a clip as one followed by silence, so how much of that is called the clip's changes no frame.

    The spectrogram of an AST is filled behind the clip, with what silence does not look like.
    """
    encoder = load_frame_encoder(str(save_tiny(name, tmp_path)))
    clip = noise(20_000)
    followed = np.concatenate([clip, np.zeros(30_000, dtype=np.float32)])
    short, long = encoder.frames(clip), encoder.frames(followed)
    assert short.shape[1] < long.shape[1]
    if name == "whisper":
        assert short.shape[1] == 63  # 20 000 / 320, rounded up
        np.testing.assert_array_equal(short, long[:, :63])
    else:
        assert short.shape[1] == 11  # 123 frames of the spectrogram
    np.testing.assert_array_equal(encoder.frames(clip), short)


@pytest.mark.parametrize(("samples", "times"), [(400, 1), (2799, 1), (2800, 1), (4399, 1), (4400, 2), (163_840, 101)])
def test_an_asts_frames_are_of_patches_that_lie_within_the_clip(samples: int, times: int, tmp_path: Path) -> None:
    # A patch of 16 frames ends at 15 x 160 + 400 = 2800 samples, the next 1600 later.
    encoder = load_frame_encoder(str(save_tiny("audio-spectrogram-transformer", tmp_path)))
    assert encoder.frames(noise(samples)).shape[1] == times


@pytest.mark.parametrize(("name", "seconds"), [("whisper", 30.0), ("audio-spectrogram-transformer", 10.24)])
def test_more_than_a_window_is_refused(name: str, seconds: float, tmp_path: Path) -> None:
    encoder = load_frame_encoder(str(save_tiny(name, tmp_path)))
    assert encoder.max_seconds == seconds
    with pytest.raises(UserError, match=f"at once, but was given {round(seconds * 16_000) + 1}"):
        encoder.frames(noise(round(seconds * 16_000) + 1))


def test_a_clip_too_short_for_a_frame_is_refused_and_the_shortest_is_not(saved: tuple[str, str]) -> None:
    encoder = load_frame_encoder(saved[1])
    assert encoder.frames(noise(encoder.shortest)).shape[1] >= 1
    with pytest.raises(UserError, match=f"makes a frame of {encoder.shortest} samples, but a part of a clip has"):
        encoder.frames(noise(encoder.shortest - 1))


def test_the_initialised_twin_is_random_by_seed(saved: tuple[str, str]) -> None:
    waveform, name = noise(5000), f"initialised:{saved[1]}"
    given = ((saved[1], 0), (name, 0), (name, 0), (name, 1))
    trained, first, again, other = (load_frame_encoder(source, seed).frames(waveform) for source, seed in given)
    np.testing.assert_array_equal(first, again)
    assert first.shape == trained.shape
    assert np.abs(first - trained).max() > 0.01
    assert np.abs(first - other).max() > 0.01
    assert learned(saved[1])
    assert not learned(name)


def test_a_key_is_of_weights_and_reading(saved: tuple[str, str], tmp_path: Path) -> None:
    name, folder = saved
    key = load_encoder(folder).key
    assert load_encoder(str(save_tiny(name, tmp_path / "again"))).key == key
    assert load_encoder(f"initialised:{folder}").key != key
    path = Path(folder) / "preprocessor_config.json"
    settings = json.loads(path.read_text())
    if name == "whisper":
        return  # all that counts is that of the model, or refused
    changed = {"mean": 0.0} if name == "audio-spectrogram-transformer" else {"do_normalize": True}
    if settings.get("do_normalize") is True and "mean" not in changed:
        changed = {"do_normalize": False}
    path.write_text(json.dumps(settings | changed))
    assert load_encoder(folder).key != key


@pytest.mark.parametrize(
    ("name", "changed", "said"),
    [
        ("whisper", {"sampling_rate": 8000}, "has sampling_rate: 8000, but only 16000 is supported"),
        ("whisper", {"dither": 0.1}, "has dither: 0.1, but only 0.0 is supported"),
        ("whisper", {"feature_size": 128}, "gives 128 bands of 3000 frames, but its model reads 80 of 3000"),
        ("whisper", {"feature_extractor_type": "Wav2Vec2FeatureExtractor"}, "is for Wav2Vec2FeatureExtractor"),
        ("audio-spectrogram-transformer", {"max_length": 512}, "128 bands of 512 frames, but its model reads 128 of"),
        (
            "audio-spectrogram-transformer",
            {"sampling_rate": 8000},
            "has sampling_rate: 8000, but only 16000 is supported",
        ),
    ],
)
def test_a_spectrogram_that_is_not_the_models_is_refused(
    name: str, changed: dict[str, object], said: str, tmp_path: Path
) -> None:
    path = save_tiny(name, tmp_path) / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    with pytest.raises(UserError, match=said):
        load_encoder(str(tmp_path))


@pytest.mark.parametrize("name", WINDOWED)
def test_without_its_extractor_a_model_is_not_guessed_at(name: str, tmp_path: Path) -> None:
    (save_tiny(name, tmp_path) / "preprocessor_config.json").unlink()
    with pytest.raises(UserError, match=r"there is no preprocessor_config.json in .*, which describes the spectrogram"):
        check_encoder(str(tmp_path))


def test_whispers_decoder_plays_no_part(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = save_tiny("whisper", tmp_path)
    key, frames = load_encoder(str(folder)).key, load_frame_encoder(str(folder)).frames(noise(5000))
    weights = load_file(folder / "model.safetensors")
    kept = {name: weight for name, weight in weights.items() if "decoder" not in name}
    assert len(kept) < len(weights)
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    assert load_encoder(str(folder)).key == key
    np.testing.assert_array_equal(load_frame_encoder(str(folder)).frames(noise(5000)), frames)
    save_file(
        {k: v for k, v in kept.items() if "layers.1.fc1" not in k}, folder / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(UserError, match=r"missing weights: 2 \(encoder\.layers\.1\.fc1"):
        load_encoder(str(folder))


def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel, Wav2Vec2FeatureExtractor

    config = BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    BertModel(config).save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"is a 'bert' model, which cannot be read here; give one of .*hubert"):
        load_encoder(str(tmp_path))
