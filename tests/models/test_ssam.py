"""Audio Mamba's checkpoints: folders, runs and the released code's files, read, refused and written back."""

import argparse
import os
import sys
import types

import numpy as np
import plain_audio_mamba as plain
import pytest
import torch
from sources import save_transformers
from tiny_shapes import SSAM
from transformers import Wav2Vec2FeatureExtractor

from nonverbal.errors import UserError
from nonverbal.families import recognised
from nonverbal.families.ssam import ENCODERS, write_released
from nonverbal.models import ssam
from nonverbal.models.audio_mamba import AudioMambaConfig, AudioMambaForAudioClassification, AudioMambaForPreTraining
from nonverbal.models.checkpoints.audio_mamba import CHOICES, read_checkpoint
from nonverbal.models.ssam import Architecture, build_model, config_of

SMALL = Architecture(**SSAM)
OPTIONS = {"mask_ratio": 0.5, "loss": "masked", "masked_positions": "kept"}


def model_of(architecture=SMALL, **options):
    torch.manual_seed(0)
    return AudioMambaForPreTraining(config_of(architecture, **options))


def released_weights(model, prefix=""):
    """As the released code names them, with its positions."""
    state = {name.removeprefix("audio_mamba."): value for name, value in model.state_dict().items()}
    width = model.config.hidden_size
    places = np.concatenate([np.zeros((1, width)), plain.positions(50, width)])
    state["pos_embed"] = torch.from_numpy(places).float()[None]
    return {prefix + name: value for name, value in state.items()}


def save_released(path, model, prefix="", **more):
    torch.save({"model": released_weights(model, prefix), "epoch": 99, **more}, path)


def assert_same(model, expected):
    assert model.state_dict().keys() == expected.state_dict().keys()
    assert all(torch.equal(value, expected.state_dict()[name]) for name, value in model.state_dict().items())


def test_a_folder_and_a_run(tmp_path):
    model = model_of(frame_order="official")
    ssam.export(model, model.state_dict(), tmp_path / "run" / "encoder")
    (tmp_path / "run" / "recipe.yaml").write_text("family: ssam\n")
    for source in (tmp_path / "run", tmp_path / "run" / "encoder"):
        assert recognised(str(source)) is ENCODERS
        checkpoint = read_checkpoint(str(source))
        assert_same(ssam.model_of(checkpoint), model)
        assert checkpoint.config.frame_order == "official"
        assert (checkpoint.format, checkpoint.has_head, checkpoint.left_over) == ("transformers", True, ())


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_released_file_and_back_bit_for_bit(tmp_path, prefix):
    model = model_of()
    save_released(tmp_path / "tiny.pth", model, prefix)
    assert recognised(str(tmp_path / "tiny.pth")) is ENCODERS
    checkpoint = read_checkpoint(str(tmp_path / "tiny.pth"))
    assert_same(ssam.model_of(checkpoint), model)
    choices = {name: getattr(checkpoint.config, name) for name in CHOICES}
    assert choices == dict.fromkeys(choices, "official")
    write_released(checkpoint, tmp_path / "back.pth")
    back = torch.load(tmp_path / "back.pth", weights_only=True)["model"]
    given = released_weights(model)
    assert back.keys() == given.keys()
    places = back.pop("pos_embed")
    assert all(torch.equal(value, given[name]) for name, value in back.items())
    # Ours are rounded from float64; the released code's were computed in float32.
    assert torch.allclose(places, given["pos_embed"], atol=1e-5)


def test_what_the_released_training_saves_beside_its_weights_is_not_run(tmp_path):
    # Its arguments hold the recipe, an object of ml_collections.
    parts = ("ml_collections", "ml_collections.config_dict", "ml_collections.config_dict.config_dict")
    for name in parts:
        sys.modules[name] = types.ModuleType(name)
    kind = type("ConfigDict", (), {"__module__": parts[-1]})
    sys.modules[parts[-1]].ConfigDict = kind
    config = kind()
    config.model = {"arch": "mamba_ssast_tiny"}
    save_released(tmp_path / "raw.pth", model_of(), args=argparse.Namespace(config=config), scaler={"scale": 65536.0})
    for name in parts:
        del sys.modules[name]
    assert_same(ssam.model_of(read_checkpoint(str(tmp_path / "raw.pth"))), model_of())


class Harm:
    def __reduce__(self):
        return os.system, ("touch harmed",)


def test_what_is_no_such_file_is_refused_with_a_reason(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = model_of()
    save_released("whole.pth", model)
    whole = (tmp_path / "whole.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    save_released("harm.pth", model, harm=Harm())
    grid = released_weights(model)
    torch.save({"model": grid | {"pos_embed": torch.zeros(1, 101, 16)}}, "grid.pth")
    torch.save({"model": grid | {"pos_embed": grid["pos_embed"].flip(-1)}}, "order.pth")
    less = {name: value for name, value in grid.items() if name != "blocks.1.mixer.D"}
    torch.save({"model": less}, "less.pth")
    torch.save({"model": grid | {"patch_embed.proj.weight": torch.zeros(16, 1, 16, 16)}}, "patch.pth")
    torch.save({"model": grid | {"blocks.0.attn.weight": torch.zeros(2)}}, "more.pth")
    torch.save({"model": {"layer.weight": torch.zeros(2)}}, "other.pth")
    save_transformers(tmp_path / "wav2vec2")
    for source, message in (
        ("cut.pth", "cut.pth cannot be read .* it is truncated, damaged"),
        ("harm.pth", "harm.pth is refused: it imports (posix|os).system, which no checkpoint needs"),
        ("grid.pth", r"has positions of shape \(1, 101, 16\) that are not those of 50 x 5 patches"),
        ("order.pth", r"has positions of shape \(1, 251, 16\) that are not those of 50 x 5 patches"),
        (
            "less.pth",
            r"missing weights: 1 \(audio_mamba.blocks.1.mixer.D\); expected an Audio Mamba of 4 x 16",
        ),
        (
            "patch.pth",
            r"weights of another shape or type: 1 \(audio_mamba.patch_embed.proj.weight \(16, 1, 16, 16\), not",
        ),
        ("more.pth", r"unknown weights: 1 \(audio_mamba.blocks.0.attn.weight"),
        ("other.pth", "is not an Audio Mamba of the released code: it has no usable 'blocks.0.mixer.A_log'"),
        ("wav2vec2", "wav2vec2 is a 'wav2vec2' model, not an Audio Mamba"),
        (str(tmp_path / "nowhere"), "there is no file or folder .*nowhere; nonverbal pretrain"),
    ):
        with pytest.raises(UserError, match=message) as refused:
            read_checkpoint(source)
        assert "\n" not in str(refused.value)
    assert not (tmp_path / "harmed").exists()
    assert recognised("wav2vec2") is not ENCODERS
    assert recognised("other.pth") is not ENCODERS


def test_a_run_before_its_first_checkpoint_and_a_runs_own_checkpoint(tmp_path):
    (tmp_path / "recipe.yaml").touch()
    with pytest.raises(UserError, match="has no encoder/ yet"):
        read_checkpoint(str(tmp_path))
    (tmp_path / "state.json").touch()
    with pytest.raises(UserError, match="give the run's folder"):
        read_checkpoint(str(tmp_path))


def test_pickled_and_damaged_folders_are_refused(tmp_path):
    model = model_of()
    ssam.export(model, model.state_dict(), tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(UserError, match="cannot load the checkpoint"):
        read_checkpoint(str(tmp_path))
    weights.unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match="cannot load the checkpoint"):
        read_checkpoint(str(tmp_path))


def test_an_encoder_alone_gets_a_new_head_from_the_seed(tmp_path):
    model = model_of()
    headless = {k: v for k, v in released_weights(model).items() if not k.startswith(("pred", "mask"))}
    torch.save({"model": headless}, tmp_path / "encoder.pth")
    model.audio_mamba.save_pretrained(tmp_path / "folder")
    for source in (tmp_path / "encoder.pth", tmp_path / "folder"):
        first, account = build_model(str(source), Architecture(), OPTIONS, seed=0)
        again, _ = build_model(str(source), Architecture(), OPTIONS, seed=0)
        other, _ = build_model(str(source), Architecture(), OPTIONS, seed=1)
        assert_same(first.audio_mamba, model.audio_mamba)
        assert_same(first, again)
        assert first.mask_token.abs().max() > 0
        assert not torch.equal(first.pred[0].weight, other.pred[0].weight)
        assert account.rows[0][:2] == ("taken", "encoder")
        assert account.rows[1] == ("initialised", "head", "5 weights, 1,376 parameters")
        assert "head is incomplete" in account.warning


def test_a_classifier_leaves_its_head_over(tmp_path):
    classifier = AudioMambaForAudioClassification(config_of(SMALL))
    classifier.save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path)
    checkpoint = read_checkpoint(str(tmp_path))
    assert checkpoint.left_over == ("classifier.bias", "classifier.weight")
    assert_same(ssam.model_of(checkpoint).audio_mamba, classifier.audio_mamba)
    _, account = build_model(str(tmp_path), Architecture(), OPTIONS, seed=0)
    assert account.rows[-1][0] == "left over"


def test_a_start_is_told(tmp_path):
    model = model_of()
    save_released(tmp_path / "tiny.pth", model)
    built, account = build_model(str(tmp_path / "tiny.pth"), Architecture(), OPTIONS, seed=0)
    # The objective's settings hold; how clips are read is the checkpoint's.
    assert (built.config.loss, built.config.masked_positions) == ("masked", "kept")
    assert (built.config.frame_order, built.config.padding) == ("official", "official")
    count = sum(value.numel() for value in model.audio_mamba.state_dict().values())
    assert account.rows[0] == (
        "taken",
        "encoder",
        f"{len(model.audio_mamba.state_dict())} weights, {count:,} parameters",
    )
    assert [row[:2] for row in account.rows] == [("taken", "encoder"), ("taken", "head")]
    assert "standardisation, padding, frame_order are official" in account.notes[0]
    assert account.warning is None
    assert build_model(None, SMALL, OPTIONS, seed=0)[1] is None


def test_another_architecture_than_the_settings_is_refused(tmp_path):
    save_released(tmp_path / "tiny.pth", model_of())
    assert_same(build_model(str(tmp_path / "tiny.pth"), SMALL, OPTIONS, 0)[0], model_of())
    with pytest.raises(UserError, match="has Architecture.*layers=2.*but ssam.architecture is .*layers=3"):
        build_model(str(tmp_path / "tiny.pth"), Architecture(16, 3, 3), OPTIONS, 0)
    with pytest.raises(UserError, match="architecture.hidden_size must be a multiple of 4 and at least 4, but is 18"):
        Architecture(hidden_size=18)
    with pytest.raises(UserError, match="architecture.layers must be at least 1, but is 0"):
        Architecture(layers=0)


def test_weights_are_a_function_of_the_seed():
    state = torch.get_rng_state()
    models = [build_model(None, SMALL, OPTIONS, seed)[0] for seed in (0, 0, 1)]
    assert torch.equal(state, torch.get_rng_state())
    assert_same(models[0], models[1])
    assert not torch.equal(models[0].mask_token, models[2].mask_token)
    assert isinstance(models[0].config, AudioMambaConfig)
