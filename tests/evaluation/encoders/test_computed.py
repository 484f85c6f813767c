"""Encoders without weights: against code that we did not write, or by hand."""

import importlib.util
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.fft
import torch
from torchaudio.compliance import kaldi
from torchaudio.functional import compute_deltas
from torchaudio.transforms import MelSpectrogram

from nonverbal.data.manifest import Clip
from nonverbal.errors import UserError
from nonverbal.evaluation.encoders import (
    KINDS,
    ManifestEncoder,
    check_encoder,
    learned,
    load_encoder,
    load_frame_encoder,
)

COMPUTED = [kind.name for kind in KINDS.values() if not kind.learned]
HEARD = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            KINDS[name].needs == "opensmile" and importlib.util.find_spec("opensmile") is None,
            reason="openSMILE is not installed",
        ),
    )
    for name in COMPUTED
    if name != "rate"
]

CLIP = Clip(
    id="a/1.wav", corpus="a", path="1.wav", start=0, end=1, sample_rate=44_100, label="cry", speaker=None, session=None,
    language=None, split=None, recording="a:1", licence="CC0-1.0", sha256="",
)  # fmt: skip


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


@pytest.mark.parametrize("samples", [201, 400, 16_001])
def test_log_mel_bands_are_those_of_torchaudio(samples: int) -> None:
    waveform = noise(samples)
    transform = MelSpectrogram(16_000, n_fft=400, hop_length=160, f_min=50, f_max=8000, n_mels=80)
    expected = (transform(torch.from_numpy(waveform)) + torch.finfo(torch.float32).eps).log().T.numpy()
    np.testing.assert_allclose(load_frame_encoder("logmel").frames(waveform)[0], expected, atol=1e-5)


def test_mfccs_are_those_of_kaldi_with_their_derivatives_every_20_ms() -> None:
    waveform = noise(16_000)
    (frames,) = load_frame_encoder("mfcc").frames(waveform)
    assert frames.shape == (49, 39)
    assert frames.dtype == np.float32
    base = kaldi.mfcc(torch.from_numpy(waveform)[None], sample_frequency=16_000, use_energy=False).numpy()
    np.testing.assert_allclose(frames[:, :13], base[::2], atol=2e-4)
    # Cosines of Kaldi's log-mel bands, lifted by 1 + 11 sin(pi i / 22).
    bands = kaldi.fbank(torch.from_numpy(waveform)[None], num_mel_bins=23, sample_frequency=16_000).numpy()
    lifter = 1 + 11 * np.sin(math.pi * np.arange(13) / 22)
    cosines = scipy.fft.dct(bands.astype(np.float64), norm="ortho")[:, :13] * lifter
    np.testing.assert_allclose(frames[:, :13], cosines[::2], atol=2e-3)
    deltas = compute_deltas(torch.from_numpy(base.T))
    expected = torch.cat([deltas, compute_deltas(deltas)]).T[::2].numpy()
    np.testing.assert_allclose(frames[:, 13:], expected, atol=2e-4)
    # A derivative is a regression over two frames of 10 ms to either side.
    weights = np.array([-2, -1, 0, 1, 2]) / 10
    first = np.array([(base[i - 2 : i + 3] * weights[:, None]).sum(0) for i in range(2, 40)])
    np.testing.assert_allclose(frames[10, 13:26], first[20 - 2], atol=1e-4)
    np.testing.assert_allclose(frames[10, 26:], (first[18 - 2 : 23 - 2] * weights[:, None]).sum(0), atol=1e-4)


@pytest.mark.parametrize(("name", "theirs"), [("compare", "ComParE_2016"), ("egemaps", "eGeMAPSv02")])
def test_functionals_are_opensmiles(name: str, theirs: str) -> None:
    opensmile = pytest.importorskip("opensmile")
    smile: Any = opensmile.Smile(getattr(opensmile.FeatureSet, theirs), opensmile.FeatureLevel.Functionals)
    encoder = load_frame_encoder(name)
    for samples in (960, 20_000):
        expected = smile.process_signal(noise(samples), 16_000).to_numpy()
        np.testing.assert_array_equal(encoder.frames(noise(samples)), expected[None])
    assert expected.shape == (1, encoder.dimensions)
    assert opensmile.__version__ in encoder.key


def test_what_opensmile_would_wrap_is_held_to_its_range() -> None:
    pytest.importorskip("opensmile")
    encoder = load_frame_encoder("egemaps")
    loud = np.sign(np.sin(np.arange(8000) / 9)).astype(np.float32)
    assert (loud == 1).any()
    np.testing.assert_array_equal(encoder.frames(loud), encoder.frames(loud.clip(-1, 32767 / 32768)))
    np.testing.assert_allclose(encoder.frames(loud), encoder.frames(loud * 0.9999), rtol=0.05, atol=1)


def test_without_opensmile_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for ask in (check_encoder, load_encoder):
        with pytest.raises(UserError, match=r"not installed: pip install 'nonverbal\[opensmile\]'"):
            ask("compare")


def test_duration_and_loudness_by_hand() -> None:
    duration, loudness = load_frame_encoder("duration"), load_frame_encoder("loudness")
    square = np.tile(np.array([0.5, -0.5], dtype=np.float32), 4000)
    assert duration.frames(square).tolist() == [[[0.5]]]
    np.testing.assert_allclose(loudness.frames(square), [[[20 * math.log10(0.5)]]], rtol=1e-6)
    sine = np.sin(2 * math.pi * 100 * np.arange(16_000) / 16_000).astype(np.float32)
    np.testing.assert_allclose(loudness.frames(sine), [[[20 * math.log10(math.sqrt(0.5))]]], rtol=1e-4)
    for quiet in (np.zeros(100, dtype=np.float32), np.full(100, 1e-9, dtype=np.float32)):
        assert loudness.frames(quiet).tolist() == [[[-100]]]


def test_rate_is_the_manifests() -> None:
    encoder = load_encoder("rate")
    assert isinstance(encoder, ManifestEncoder)
    assert encoder.values(CLIP).tolist() == [[44_100]]
    assert encoder.values(replace(CLIP, sample_rate=8000)).tolist() == [[8000]]
    with pytest.raises(UserError, match="rate makes no frames"):
        load_frame_encoder("rate")


@pytest.mark.parametrize("name", HEARD)
def test_frames_are_as_the_list_says(name: str) -> None:
    encoder, size = load_frame_encoder(name), KINDS[name].size
    frames = encoder.frames(noise(16_000))
    assert (encoder.name, encoder.kind, (encoder.dimensions, encoder.layers)) == (name, name, size)
    assert (frames.shape[0], frames.shape[2]) == (encoder.layers, encoder.dimensions)
    assert frames.dtype == np.float32
    assert encoder.one_frame == (frames.shape[1] == 1)
    np.testing.assert_array_equal(load_frame_encoder(name).frames(noise(16_000)), frames)


@pytest.mark.parametrize("name", HEARD)
def test_the_shortest_clip_has_a_frame_and_what_is_shorter_is_refused(name: str) -> None:
    encoder = load_frame_encoder(name)
    frames = encoder.frames(noise(encoder.shortest))
    assert frames.shape[1] >= 1
    assert np.isfinite(frames).all()
    if encoder.shortest > 1:
        with pytest.raises(UserError, match=f"makes a frame of {encoder.shortest} samples, but a part of a clip has"):
            encoder.frames(noise(encoder.shortest - 1))


@pytest.mark.parametrize("name", COMPUTED)
def test_what_has_no_weights_has_heard_nothing_and_no_random_twin(name: str) -> None:
    assert not learned(name)
    assert not KINDS[name].learned
    with pytest.raises(UserError, match=f"{name} has no weights that could be drawn at random"):
        check_encoder(f"initialised:{name}")


def test_a_name_that_is_nearly_one_is_guessed_at(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'logmel'"):
        check_encoder("log-mel")
