"""Where encoders to be fine-tuned come from, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_encoders import SAVED, save_tiny
from tiny_shapes import WAV2VEC2
from transformers import AutoModelForAudioClassification
from tuned_batches import NONE, batch_of, noise

from nonverbal.errors import UserError
from nonverbal.models.tuned.opening import KINDS, open_tuned
from nonverbal.models.tuned.settings import TunedSettings
from nonverbal.models.wav2vec2 import Architecture, export, new_model

NAMES = [name for name in SAVED if name.split()[0] in KINDS]
SETTINGS = TunedSettings(**NONE)


@pytest.fixture(params=NAMES)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return save_tiny(request.param, tmp_path / "encoder")


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_every_kind_with_weights_is_tried() -> None:
    assert {name.split()[0] for name in SAVED} == set(KINDS)


def test_weights_are_the_folders_or_drawn_by_the_seed_without_any(folder: Path) -> None:
    given = open_tuned(str(folder), SETTINGS, 0)
    (folder / "model.safetensors").unlink()
    drawn = [open_tuned(f"initialised:{folder}", SETTINGS, seed) for seed in (0, 0, 1)]
    states = [encoder.state_dict() for encoder in (given, *drawn)]
    assert states[0].keys() == states[1].keys()
    matrices = [name for name, value in states[0].items() if value.ndim > 1 and "embed_positions" not in name]
    assert all(torch.equal(states[1][name], states[2][name]) for name in states[1])
    assert not any(torch.equal(states[0][name], states[1][name]) for name in matrices)
    # A_log of an Audio Mamba, and an AST's positions, start as they always do.
    changed = [name for name in matrices if not torch.equal(states[1][name], states[3][name])]
    assert len(changed) > len(matrices) / 2
    assert given.account.rows[0][:2] == ("taken", "encoder")
    assert {row[0] for row in drawn[0].account.rows} == {"initialised"}


def test_it_keeps_nothing_that_no_gradient_changes(folder: Path) -> None:
    encoder = open_tuned(str(folder), SETTINGS, 0)
    assert encoder.state_dict().keys() == dict(encoder.named_parameters()).keys()
    assert all(parameter.dtype == torch.float32 for parameter in encoder.parameters())


@pytest.mark.parametrize("name", ["wav2vec2 base", "wavlm base", "data2vec-audio", "audio-spectrogram-transformer"])
def test_of_an_earlier_fine_tuning_the_head_is_left_over_and_said(name: str, tmp_path: Path) -> None:
    folder = save_tiny(name, tmp_path / "encoder")
    model = AutoModelForAudioClassification.from_pretrained(folder)
    model.save_pretrained(tmp_path / "tuned")
    (tmp_path / "tuned/preprocessor_config.json").write_text((folder / "preprocessor_config.json").read_text())
    before, after = (open_tuned(str(path), SETTINGS, 0) for path in (folder, tmp_path / "tuned"))
    assert any(row[0] == "left over" and "classifier" in row[1] for row in after.account.rows)
    rows = [noise(8000)]
    for mine, state in zip(after.eval()(batch_of(rows)).states, before.eval()(batch_of(rows)).states, strict=True):
        torch.testing.assert_close(mine, state, atol=1e-6, rtol=0)


def test_a_run_and_its_encoder_are_the_same(tmp_path: Path) -> None:
    run = tmp_path / "run"
    model, normalise = new_model(Architecture(**WAV2VEC2), None, 0)
    export(model, model.state_dict(), normalise, run / "encoder")
    (run / "recipe.yaml").write_text("")
    found, same = (open_tuned(str(path), SETTINGS, 0) for path in (run, run / "encoder"))
    assert all(torch.equal(value, same.state_dict()[name]) for name, value in found.state_dict().items())
    assert any("quantizer" in row[1] for row in found.account.rows if row[0] == "left over")


def test_files_of_other_toolkits_are_read(tmp_path: Path) -> None:
    from nonverbal.models.checkpoints.audio_mamba import read_checkpoint, to_released

    folder = save_tiny("audio_mamba", tmp_path / "mamba")
    torch.save(to_released(read_checkpoint(str(folder))), tmp_path / "released.pth")
    released = open_tuned(str(tmp_path / "released.pth"), SETTINGS, 0)
    given = open_tuned(str(folder), SETTINGS, 0)
    assert released.model_type == "audio_mamba"
    assert released.config.padding == "official"
    assert all(torch.equal(value, given.state_dict()[name]) for name, value in released.state_dict().items())
    # What the released code does with clips, it does with each row of a batch as with a clip alone.
    rows = [noise(40_000), noise(9000, 1)]
    together, alone = released(batch_of(rows)), released(batch_of(rows[1:]))
    counts = released.frames(np.array([40_000, 9000])).tolist()
    assert together.valid is not None
    assert together.valid.sum(1).tolist() == counts
    for mine, state in zip(together.states, alone.states, strict=True):
        torch.testing.assert_close(mine[1, : counts[1]], state[0], atol=1e-5, rtol=1e-5)
    initialised = open_tuned(f"initialised:{tmp_path / 'released.pth'}", SETTINGS, 0)
    assert initialised.layers == 2


def test_fairseqs_files_are_read(tmp_path: Path) -> None:
    from nonverbal.families import wav2vec2
    from nonverbal.models.checkpoints.reading import read_checkpoint

    model, normalise = new_model(Architecture(**WAV2VEC2 | {"hidden_size": 64, "heads": 1}), None, 0)
    export(model, model.state_dict(), normalise, tmp_path / "encoder")
    checkpoint = read_checkpoint(str(tmp_path / "encoder"))
    wav2vec2.ENCODERS.formats["fairseq"].write(checkpoint, tmp_path / "fairseq.pt")
    found = open_tuned(str(tmp_path / "fairseq.pt"), SETTINGS, 0)
    own = model.wav2vec2.state_dict()
    assert all(torch.equal(value, own[name]) for name, value in found.model.state_dict().items())


def test_an_ast_of_the_papers_size_needs_no_source() -> None:
    with torch.device("meta"):
        encoder = open_tuned("initialised:ast", TunedSettings(train="all"), 0)
    # Gong et al., 2021: ViT base, 12 blocks of 768 values.
    assert (encoder.layers, encoder.width, encoder.longest) == (12, 768, 10.24)
    assert all(parameter.requires_grad for parameter in encoder.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_weights_that_are_missing_misshapen_or_not_numbers_are_refused(name: str, tmp_path: Path) -> None:
    folder = save_tiny(name, tmp_path)
    path = folder / "model.safetensors"
    weights = load_file(path)
    first = next(
        key
        for key in weights
        if weights[key].ndim == 2 and "decoder" not in key and "classifier" not in key and "embed" not in key
    )
    for broken, said in (
        ({key: value for key, value in weights.items() if key != first}, "missing weights: 1"),
        ({**weights, first: weights[first][:-1].clone()}, "another shape|size mismatch"),
        ({**weights, first: weights[first] * float("nan")}, "NaN or infinite values in 1 of"),
    ):
        save_file(broken, path, {"format": "pt"})
        with pytest.raises(UserError, match=said):
            open_tuned(str(folder), SETTINGS, 0)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "audio_mamba"])
def test_a_model_for_another_rate_is_refused(name: str, tmp_path: Path) -> None:
    folder = save_tiny(name, tmp_path)
    change(folder / "preprocessor_config.json", sampling_rate=8000)
    with pytest.raises(UserError, match="8000"):
        open_tuned(str(folder), SETTINGS, 0)


def test_code_of_its_own_is_never_run(tmp_path: Path) -> None:
    folder = save_tiny("wavlm base", tmp_path)
    change(folder / "config.json", auto_map={"AutoModel": "evil.Model"})
    (folder / "evil.py").write_text("raise SystemExit('run')")
    assert open_tuned(str(folder), SETTINGS, 0).layers == 2
    change(folder / "config.json", conv_pos_batch_norm=True)
    with pytest.raises(UserError, match="conv_pos_batch_norm: True, which is not supported"):
        open_tuned(str(folder), SETTINGS, 0)


def test_another_kind_of_model_is_refused_with_those_that_are_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(UserError, match=r"is a 'bert' model, which cannot be fine-tuned here; give one of wav2vec2, "):
        open_tuned(str(tmp_path), SETTINGS, 0)


def test_a_checkpoints_own_shares_are_dropped_unless_the_settings_say_others(tmp_path: Path) -> None:
    folder = save_tiny("wav2vec2 base", tmp_path)
    change(folder / "config.json", hidden_dropout=0.25, layerdrop=0.125, attention_dropout=0.5)
    shares = open_tuned(str(folder), TunedSettings(attention_dropout=0.0), 0).dropouts
    assert (shares.hidden, shares.layer, shares.attention) == (0.25, 0.125, 0.0)
    change(folder / "config.json", layerdrop=1.5)
    with pytest.raises(UserError, match=r"has a layer dropout of 1.5; expected"):
        open_tuned(str(folder), TunedSettings(), 0)


def test_what_is_loaded_are_the_weights_of_the_folder(folder: Path) -> None:
    encoder = open_tuned(str(folder), SETTINGS, 0)
    weights = load_file(folder / "model.safetensors")
    for name, value in encoder.model.state_dict().items():
        (there,) = [
            weight
            for key, weight in weights.items()
            if f".{key}".endswith(f".{name}") and "decoder" not in key and "classifier" not in key
        ]
        assert torch.equal(value, there), name
