import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_shapes import WAV2VEC2
from transformers import AutoFeatureExtractor, AutoModel, Wav2Vec2ForPreTraining

from nonverbal.errors import UserError
from nonverbal.models import wav2vec2
from nonverbal.models.checkpoints.starting import start_from
from nonverbal.models.wav2vec2 import NO_DROPOUT, Architecture, Dropouts, export, frames_of, new_model, normalised


@pytest.mark.parametrize("layout", ["base", "large"])
def test_the_exported_encoder_gives_the_context_of_our_forward_pass(tmp_path, layout):
    model, normalise = new_model(Architecture(layout=layout, **WAV2VEC2), None, seed=0)
    model.eval()
    export(model, model.state_dict(), normalise, tmp_path)
    waveforms = 0.1 * torch.randn(2, 16_000) + 0.05
    lengths = torch.tensor([16_000, 16_000])
    with torch.no_grad():
        read = normalised(waveforms, lengths) if normalise else waveforms
        projection = model.wav2vec2.feature_projection
        features = projection.projection(projection.layer_norm(wav2vec2.conv_features(model.wav2vec2, read)))
        ours = wav2vec2.transformer(model.wav2vec2, features, None, [True, True], NO_DROPOUT)
        extractor = AutoFeatureExtractor.from_pretrained(tmp_path)
        inputs = extractor(list(waveforms.numpy()), sampling_rate=16_000, return_tensors="pt")
        theirs = AutoModel.from_pretrained(tmp_path).eval()(**inputs).last_hidden_state
    assert normalise == (layout == "large")
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_a_checkpoint_is_continued_with_its_weights_shape_and_normalisation(tmp_path):
    model, _ = new_model(Architecture(**WAV2VEC2), None, seed=0)
    export(model, model.state_dict(), True, tmp_path)
    start = start_from(str(tmp_path), Architecture(), None, seed=1)
    again = start.model
    assert start.normalise
    assert again.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items())
    assert start_from(str(tmp_path), Architecture(**WAV2VEC2), False, seed=1).normalise is False


def test_what_is_no_checkpoint_is_refused_in_words(tmp_path):
    with pytest.raises(UserError, match="there is no file or folder .*nowhere; nonverbal pretrain"):
        start_from(str(tmp_path / "nowhere"), Architecture(), None, 0)
    model, _ = new_model(Architecture(**WAV2VEC2), None, seed=0)
    export(model, model.state_dict(), False, tmp_path / "whole")
    with pytest.raises(UserError, match=r"architecture contradicts the checkpoint '.*whole' in num_hidden_layers"):
        start_from(str(tmp_path / "whole"), Architecture(**WAV2VEC2 | {"layers": 3}), None, 0)


def test_a_pickled_checkpoint_is_never_loaded(tmp_path):
    model, _ = new_model(Architecture(**WAV2VEC2), None, seed=0)
    export(model, model.state_dict(), False, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match="cannot load the checkpoint"):
        start_from(str(tmp_path), Architecture(), None, 0)


def test_weights_are_a_function_of_the_seed():
    state = torch.get_rng_state()
    models = [new_model(Architecture(**WAV2VEC2), None, seed)[0].state_dict() for seed in (0, 0, 1)]
    assert torch.equal(state, torch.get_rng_state())
    name = "project_hid.weight"
    assert torch.equal(models[0][name], models[1][name])
    assert not torch.equal(models[0][name], models[2][name])


def test_base_has_the_size_of_the_paper():
    with torch.device("meta"):
        model = Wav2Vec2ForPreTraining(wav2vec2.config_of(Architecture()))
    # Baevski et al., 2020, section 5.2: 95 M parameters.
    assert round(sum(parameter.numel() for parameter in model.parameters()) / 1e6, 1) == 95.0
    assert json.loads(model.config.to_json_string())["conv_stride"] == [5, 2, 2, 2, 2, 2, 2]


def test_frames_are_as_transformers_counts_them():
    model, _ = new_model(Architecture(**WAV2VEC2), None, seed=0)
    kernels, strides = model.config.conv_kernel, model.config.conv_stride
    lengths = torch.tensor([400, 719, 720, 1040, 16_000, 160_000])
    expected = model._get_feat_extract_output_lengths(lengths)
    assert torch.equal(frames_of(lengths, kernels, strides), expected)
    assert expected.tolist()[3] == 3
    assert frames_of(np.array([160_000]), kernels, strides).tolist() == [499]


def test_normalised_has_zero_mean_and_unit_variance_within_each_length():
    waveforms = torch.randn(2, 1000) * 3 + 5
    waveforms[1, 600:] = 0
    out = normalised(waveforms, torch.tensor([1000, 600]))
    for row, length in zip(out, (1000, 600), strict=True):
        assert row[:length].mean().abs() < 1e-5
        assert row[:length].var(correction=0) == pytest.approx(1, abs=1e-4)
        assert (row[length:] == 0).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Architecture(heads=7), "architecture.hidden_size must be a multiple of heads, but they are 768 and 7"),
        (lambda: Dropouts(layer=1.0), "dropouts.layer must be at least 0 and below 1, but is 1.0"),
    ],
)
def test_impossible_settings_are_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()


def test_stock_convolutions_agree_with_ours(monkeypatch):
    for layout in ("base", "large"):
        model, _ = new_model(Architecture(layout=layout, **WAV2VEC2), None, seed=0)
        waveforms = torch.randn(2, 4000)
        with torch.no_grad():
            stock = model.wav2vec2.feature_extractor(waveforms).transpose(1, 2)
            assert torch.allclose(wav2vec2.conv_features(model.wav2vec2, waveforms), stock, atol=1e-5)


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 5)), min_size=1, max_size=5), st.integers(0, 5000))
def test_a_frames_size_gives_their_number(layers, more):
    kernels, strides = zip(*layers, strict=True)
    window, hop = wav2vec2.frame_size(kernels, strides)
    assert frames_of(window + more, kernels, strides) == more // hop + 1


def test_convolutions_without_biases_before_layer_norm():
    model, _ = new_model(Architecture(layout="large", **WAV2VEC2), None, seed=0)
    for layer in model.wav2vec2.feature_extractor.conv_layers:
        layer.conv.bias = None
    waveforms = torch.randn(2, 4000)
    with torch.no_grad():
        stock = model.wav2vec2.feature_extractor(waveforms).transpose(1, 2)
        assert torch.allclose(wav2vec2.conv_features(model.wav2vec2, waveforms), stock, atol=1e-5)
