"""What every family loads from Hugging Face format, and says of it where it cannot."""

import json
from pathlib import Path

import pytest
import torch
from hub_sessions import hub_sessions
from sources import model_of, save_transformers
from transformers import Wav2Vec2Config, Wav2Vec2ForPreTraining

from nonverbal.errors import UserError
from nonverbal.evaluation.encoders import load_encoder
from nonverbal.families import read_any
from nonverbal.models.checkpoints.base import Checkpoint, account_of
from nonverbal.models.checkpoints.hugging_face import check_whole, load, misshapen, new_model, place_of, read_config
from nonverbal.models.tuned.opening import open_tuned
from nonverbal.models.tuned.settings import TunedSettings


def test_a_model_is_loaded_in_float32_with_what_was_found_of_its_weights(tmp_path):
    model = model_of()
    model.wav2vec2.to(torch.bfloat16).save_pretrained(tmp_path)
    loaded = load("a", tmp_path)
    assert {value.dtype for value in loaded.model.state_dict().values()} == {torch.float32}
    assert (loaded.missing, loaded.unexpected, loaded.mismatched) == ((), (), ())
    whole = load("a", tmp_path, Wav2Vec2ForPreTraining, Wav2Vec2Config.from_pretrained(tmp_path))
    assert set(whole.missing) == {name for name in model.state_dict() if not name.startswith("wav2vec2.")}


def test_a_model_does_not_lie_in_a_memory_map_of_its_file(tmp_path):
    # A page of it would end the process by SIGBUS after its file was truncated, or change with its file.
    expected = {name: value.clone() for name, value in model_of().wav2vec2.state_dict().items()}
    model_of().wav2vec2.save_pretrained(tmp_path)
    loaded = load("a", tmp_path)
    assert str(tmp_path) not in Path("/proc/self/maps").read_text()
    assert all(torch.equal(value, expected[name]) for name, value in loaded.model.state_dict().items())


def test_code_beside_a_checkpoint_is_not_run_and_other_files_are_refused(tmp_path):
    save_transformers(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "evil.py").write_text("raise SystemExit")
    with_code = config | {"auto_map": {"AutoModel": "evil.Model", "AutoConfig": "evil.Config"}}
    (tmp_path / "config.json").write_text(json.dumps(with_code))
    assert type(load("a", tmp_path).model).__module__.startswith("transformers.")
    assert type(new_model("a", tmp_path)).__module__.startswith("transformers.")
    (tmp_path / "config.json").write_text(json.dumps(config | {"transformers_weights": "other.safetensors"}))
    for make in (load, new_model):
        with pytest.raises(UserError, match="the configuration of .*a has transformers_weights"):
            make("a", tmp_path)


def test_all_who_load_a_folder_say_the_same_of_it(tmp_path):
    save_transformers(tmp_path)
    (tmp_path / "config.json").write_text("{")
    said = set()
    for read in (read_config, read_any, load_encoder):
        with pytest.raises(UserError, match="cannot load the checkpoint '.*'") as refused:
            read(str(tmp_path))
        said.add(str(refused.value).partition(";")[0])
    assert len(said) == 1


OPENERS = {"any": read_any, "compared": load_encoder, "tuned": lambda source: open_tuned(source, TunedSettings(), 0)}


@pytest.mark.parametrize("read", OPENERS.values(), ids=OPENERS)
def test_of_a_folder_that_is_not_here_it_is_said_first_that_it_is_not(tmp_path, monkeypatch, read):
    monkeypatch.chdir(tmp_path)
    with hub_sessions(offline=True), pytest.raises(UserError) as refused:
        read("runs/frist")
    first, found, rest = str(refused.value).partition(": ")
    assert first == "there is no folder runs/frist here, and as an id on the Hugging Face Hub it cannot be loaded"
    assert found
    assert "https://huggingface.co" in rest
    assert "\n" not in rest


# By the Hub's rules: up to 96 letters, digits, "-", "_" and ".", none of the last three at an end, no "--" or "..".
NO_IDS = ["runs/", "my runs/frist", "runs/-frist", "runs/frist.", "ru--ns/frist", "fr..ist", "runs/frist.git", "x" * 97]


@pytest.mark.parametrize("name", NO_IDS)
def test_the_hub_is_not_asked_for_what_cannot_be_an_id(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as refused:
        place_of(name)
    assert str(refused.value).startswith(f"there is no file or folder {name}; ")
    save_transformers(tmp_path / name)
    assert place_of(name) == Path(name)


@pytest.mark.parametrize("name", ["frist", "runs/frist", "owner/wav2vec2.0-base_960h", "x" * 96])
def test_what_can_be_an_id_is_left_to_the_hub(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert place_of(name) is None


def test_what_is_missing_unknown_or_of_another_shape_is_counted_and_named():
    check_whole("a", [], [], [], "a whole one")
    weights = {"x": torch.zeros(2), "y": torch.zeros(3), "z": torch.zeros(1, dtype=torch.int64)}
    found = misshapen(weights, {"x": torch.Size([2]), "y": torch.Size([4]), "z": torch.Size([1])})
    with pytest.raises(UserError) as refused:
        check_whole("a", ["p", "q", "r"], ["s"], found, "a whole one")
    assert str(refused.value) == (
        "a does not hold one complete encoder: missing weights: 3 (p, q), unknown weights: 1 (s), weights of another "
        "shape or type: 2 (y (3,), not (4,), z in torch.int64); expected a whole one; download or export it again"
    )


def test_an_account_adds_up_what_was_taken_drawn_and_left_over():
    weights = {"a.x": torch.zeros(2, 3), "a.y": torch.zeros(4)}
    checkpoint = Checkpoint("s", "f", Wav2Vec2Config(), weights, False, False, ("head.w",), ("a note",))
    state = weights | {"a.z": torch.zeros(5), "b": torch.zeros(7)}
    account = account_of(checkpoint, state, {"encoder": ["a.x", "a.y", "a.z"], "head": ["b"]}, "look out")
    assert account.rows == (
        ("taken", "encoder", "2 weights, 10 parameters"),
        ("initialised", "encoder", "1 weight, 5 parameters"),
        ("initialised", "head", "1 weight, 7 parameters"),
        ("left over", "head.w", "1 weight"),
    )
    assert (account.source, account.notes, account.warning) == ("s", ("a note",), "look out")
