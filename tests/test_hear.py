"""HEAR's interface, by the rules of its validator, for every kind of encoder that ``nonverbal encoders`` lists."""

import importlib.util

import numpy as np
import pytest
import torch
from tiny_encoders import SAVED, save_tiny
from torch import nn

from nonverbal import hear, load_encoder
from nonverbal.errors import UserError
from nonverbal.evaluation.encoders.listing import entries

OWN = ("logmel", "mfcc", "compare", "egemaps", "boaw", "duration", "loudness")
DEAF = ("rate",)
NEEDS = {"compare": "opensmile", "egemaps": "opensmile", "boaw": "opensmile"}
GRIDS = {"logmel": (0, 160), "audio_mamba": (480, 640), "whisper": (1, 320)}
GRIDS |= {"audio-spectrogram-transformer": (2800, 1600), "boaw": (800, 160)}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """Return ``loaded(name)``: the model of a name, or of a tiny checkpoint of a kind; each once."""
    kept: dict[str, hear.HearModel] = {}

    def load(name: str) -> hear.HearModel:
        if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None:
            pytest.skip(f"needs {NEEDS[name]}")
        if name not in kept:
            path = str(save_tiny(name, tmp_path_factory.mktemp("encoder"))) if name in SAVED else name
            kept[name] = hear.load_model(path)
        return kept[name]

    return load


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(3)) * 2 - 1


def test_all_that_are_listed_are_tried_here():
    """But emotion2vec, whose frames are those of wav2vec 2.0's convolutions, and which needs FunASR."""
    listed = {entry.kind.name for entry in entries()}
    tried = {name.partition(" ")[0] for name in SAVED} | {*OWN, *DEAF}
    assert listed - tried == {"emotion2vec"}


@pytest.mark.parametrize("name", [*OWN, *SAVED])
def test_it_passes_what_the_validator_checks(loaded, name):
    """The rules of hearvalidator, which is of 2021 and needs torch 1.9, with its lengths of sounds."""
    model = loaded(name)
    assert isinstance(model, nn.Module)
    assert model.sample_rate in (16_000, 22_050, 44_100, 48_000)
    assert isinstance(model.scene_embedding_size, int)
    assert isinstance(model.timestamp_embedding_size, int)
    # Windows of openSMILE take long.
    for seconds in (1.07,) if model.encoder.one_frame else (1.07, 1.98, 4.0):
        embeddings, times = hear.get_timestamp_embeddings(noise(2, int(seconds * 16_000)), model)
        assert embeddings.dtype == torch.float32
        assert embeddings.shape == (2, times.shape[1], model.timestamp_embedding_size)
        assert times.shape == embeddings.shape[:2]
        assert (times[0] == times[1]).all()
        steps = times.diff()
        assert (steps - steps.mean()).abs().max() <= 1
        # It warns of these.
        assert steps.max() <= 50 or name == "audio-spectrogram-transformer"
        assert times.min() <= steps.mean()
        assert 0 <= times.min() <= times.max() <= 1000 * seconds
        assert times.max() >= 1000 * seconds - 2 * steps.mean()
        assert torch.isfinite(embeddings).all()
        assert not embeddings.requires_grad
    scenes = hear.get_scene_embeddings(noise(4, int(0.74 * 16_000)), model)
    assert (scenes.shape, scenes.dtype) == ((4, model.scene_embedding_size), torch.float32)
    assert torch.isfinite(scenes).all()
    assert not scenes.requires_grad


@pytest.mark.parametrize("name", [*OWN, *SAVED])
def test_a_sound_is_heard_alone(loaded, name):
    model, audio = loaded(name), noise(2, 6000)
    audio[1] *= 1e-3
    for function in (hear.get_scene_embeddings, lambda *given: hear.get_timestamp_embeddings(*given)[0]):
        both, alone = function(audio, model), function(audio[1:], model)
        assert torch.allclose(both[1:], alone, rtol=1e-5, atol=1e-5 * float(alone.square().mean().sqrt()))


@pytest.mark.parametrize("name", [name for name in (*OWN, *SAVED) if name not in ("duration", "loudness")])
def test_frames_lie_where_they_are_said_to(loaded, name):
    model = loaded(name)
    if model.encoder.one_frame:
        assert (model.grid.support, model.grid.hop) == (0, 800)
        return
    assert (model.grid.support, model.grid.hop) == GRIDS.get(name, (400, 320))
    for samples in (model.encoder.shortest, 4000, 4401, 8720):
        waveform = noise(samples).numpy()
        assert model.encoder.frames(waveform).shape[1] == model.grid.count(samples)


def test_times_are_the_middles_of_frames(loaded):
    """By hand: wav2vec 2.0's frame i is of 400 samples from 320 i on, at 16 samples a millisecond."""
    times = hear.get_timestamp_embeddings(noise(1, 1360), loaded("wav2vec2 base"))[1]
    assert times.tolist() == [[12.5, 32.5, 52.5, 72.5]]
    # A click in the middle of frame 20 of the spectrogram is loudest there.
    assert loaded("wav2vec2 base").grid.margin == 0
    click = torch.zeros(1, 8000)
    click[0, 20 * 160] = 1.0
    embeddings, times = hear.get_timestamp_embeddings(click, loaded("logmel"))
    assert times[0, embeddings[0].mean(1).argmax()] == 200.0


@pytest.mark.parametrize("name", ["logmel", "wav2vec2 large", "hubert base", "egemaps"])
def test_embeddings_are_those_of_the_toolkit(loaded, name):
    model, audio = loaded(name), noise(2, 12_000)
    heard = load_encoder(model.encoder.name)(list(audio.numpy()))
    assert np.array_equal(hear.get_scene_embeddings(audio, model).numpy(), heard.embeddings[:, -1])
    if not model.encoder.one_frame:
        assert np.array_equal(hear.get_timestamp_embeddings(audio, model)[0].numpy(), heard.frames[:, -1])


@pytest.mark.parametrize("name", ["logmel", "mfcc", "wav2vec2 base", "audio_mamba", "audio-spectrogram-transformer"])
def test_long_sounds_go_on_at_the_same_steps(loaded, name, monkeypatch):
    """As if they were given at once, where frames do not depend on others: but at the cuts."""
    model, audio = loaded(name), noise(1, 50_001)
    whole, times = hear.get_timestamp_embeddings(audio, model)
    monkeypatch.setattr(model.encoder, "max_seconds", 1.03)
    cut, same = hear.get_timestamp_embeddings(audio, model)
    assert torch.equal(times, same)
    assert cut.shape == whole.shape
    if name in ("logmel", "mfcc"):
        equal = (cut == whole).all(-1)[0]
        # Two cuts or three, each with the frames whose ends or differences it touches.
        assert equal.float().mean() > 0.9


@pytest.mark.parametrize("samples", [1, 159, 400, 719, 2799])
@pytest.mark.parametrize("name", ["logmel", "egemaps", "wav2vec2 base", "audio_mamba", "audio-spectrogram-transformer"])
def test_the_shortest_sounds_have_embeddings_within_them(loaded, name, samples):
    model, audio = loaded(name), noise(2, samples)
    assert hear.get_scene_embeddings(audio, model).shape == (2, model.scene_embedding_size)
    embeddings, times = hear.get_timestamp_embeddings(audio, model)
    assert embeddings.shape == (2, times.shape[1], model.timestamp_embedding_size)
    assert 0 <= times.min() <= times.max() <= samples / 16


def test_frames_of_long_support_reach_the_ends():
    """By hand: of 50 ms every 10 ms, 20 ms of silence are put before and after; the first is of the first 30 ms."""
    grid = hear.Grid(800, 160)
    assert grid.margin == 320
    assert grid.times(1600).tolist() == [5.0, 15.0, 25.0, 35.0, 45.0, 55.0, 65.0, 75.0, 85.0, 95.0]
    assert hear.Grid(2800, 1600).margin == hear.Grid(400, 320).margin == 0


def test_a_layer_can_be_chosen(loaded, tmp_path):
    path = str(save_tiny("wav2vec2 large", tmp_path))
    heard = load_encoder(path)([noise(8000).numpy()])
    for layer in range(3):
        model = hear.load_model(path, layer=layer)
        assert np.array_equal(model(noise(1, 8000)).numpy(), heard.embeddings[:, layer])
    with pytest.raises(UserError, match="layer must be 0 to 2 for .*, but is 3"):
        hear.load_model(path, layer=3)
    drawn = [hear.load_model(f"initialised:{path}", seed=seed)(noise(1, 8000)) for seed in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize(("name", "message"), [("", "no encoder is given"), ("rate", "rate makes no frames")])
def test_what_hears_nothing_is_refused(name, message):
    with pytest.raises(UserError, match=message):
        hear.load_model(name)


@pytest.mark.parametrize("audio", [torch.zeros(5), torch.zeros(2, 0), torch.zeros(0, 5), torch.zeros(1, 9).long()])
def test_what_is_no_audio_is_refused(loaded, audio):
    for function in (hear.get_scene_embeddings, hear.get_timestamp_embeddings):
        with pytest.raises(UserError, match=r"but must be \(sounds, samples\) of floating point"):
            function(audio, loaded("logmel"))
