"""What of an encoder a task trains: every trainable parameter gets a gradient, and what is not trained stays."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_encoders import SAVED, save_tiny
from transformers import AutoModel
from tuned_batches import NONE, batch_of, directed, noise

from nonverbal.errors import UserError
from nonverbal.models.tuned.base import TunedEncoder
from nonverbal.models.tuned.opening import KINDS, open_tuned
from nonverbal.models.tuned.settings import LoraSettings, TunedSettings

NAMES = [name for name in SAVED if name.split()[0] in KINDS]
TRAINED = ("all", "no_convolutions", "head", "last", "lora")
ROWS = [noise(9000), noise(6000, 1)]


@pytest.fixture(params=NAMES)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(save_tiny(request.param, tmp_path / "encoder"))


def opened(folder: str, **changes: Any) -> TunedEncoder:
    return open_tuned(folder, TunedSettings(**{**NONE, "last_layers": 1, **changes}), seed=0)


def possible(encoder: TunedEncoder, **shares: float) -> dict[str, float]:
    """Those of the shares that the kind of encoder can drop."""
    return {name: share for name, share in shares.items() if name in encoder.dropout_keys}


def gradients(encoder: TunedEncoder, step: int = 0) -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    loss = directed(encoder(batch_of(ROWS, step=step)))
    if loss.requires_grad:
        loss.backward()
    return {name: p.grad for name, p in encoder.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("train", TRAINED)
def test_every_trainable_parameter_has_a_gradient_and_no_other(folder: str, train: str) -> None:
    encoder = opened(folder, train=train).train()
    found = gradients(encoder)
    trainable = {name for name, parameter in encoder.named_parameters() if parameter.requires_grad}
    assert found.keys() == trainable
    parts = {encoder.part(name) for name in trainable}
    if train == "head":
        assert not trainable
    elif train == "last":
        assert {(part.kind, part.depth) for part in parts} == {("transformer", 0)}
    elif train == "lora":
        assert all("lora_" in name for name in trainable)
        assert {part.depth for part in parts} == set(range(encoder.layers))
    else:
        assert ("conv" in {part.kind for part in parts}) == (train == "all")
        # Nothing that learns lies between these kinds' convolutions and their blocks.
        bare = encoder.model_type in ("audio_mamba", "whisper")
        before = set() if bare and train != "all" else {encoder.layers}
        assert {part.depth for part in parts} == set(range(encoder.layers)) | before


@pytest.mark.parametrize("train", ["all", "lora"])
def test_passed_by_blocks_have_gradients_of_zero(folder: str, train: str) -> None:
    encoder = opened(folder, train=train).train()
    if "layer_drop" not in encoder.dropout_keys:
        with pytest.raises(UserError, match=r"encoder.layer_drop is 0.9, but .* has no such dropout"):
            opened(folder, layer_drop=0.9)
        return
    encoder = opened(folder, train=train, layer_drop=0.9).train()
    step = next(step for step in range(99) if list(encoder.kept(batch_of(ROWS, step=step))) == [True, False])
    found = gradients(encoder, step)
    assert found.keys() == {name for name, parameter in encoder.named_parameters() if parameter.requires_grad}
    for name, gradient in found.items():
        if encoder.part(name).depth == 0 and ".layers.1." in name:
            assert not gradient.any(), name
    assert any(gradient.any() for name, gradient in found.items() if ".layers.0." in name)
    assert all(encoder.eval().kept(batch_of(ROWS, step=step)))


def test_recomputed_blocks_draw_the_same_noise(folder: str) -> None:
    encoder = opened(folder, train="all")
    shares = possible(encoder, hidden_dropout=0.2, attention_dropout=0.2, layer_drop=0.5)
    plain, again = (
        opened(folder, **shares, train="all", gradient_checkpointing=recompute).train() for recompute in (False, True)
    )
    found, recomputed = gradients(plain), gradients(again)
    assert found.keys() == recomputed.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(recomputed[name], gradient, rtol=1e-5, atol=1e-6, msg=name)
    if shares:
        torch.manual_seed(4)
        other = opened(folder, **shares, train="all").train()
        other_states = other(batch_of(ROWS)).states[1]
        torch.manual_seed(5)
        assert not torch.equal(other(batch_of(ROWS)).states[1], other_states)


def test_adapters_start_as_nothing_and_merge_into_what_they_compute(folder: str, tmp_path: Path) -> None:
    before = opened(folder, train="head")(batch_of(ROWS)).states
    encoder = opened(folder, train="lora", lora=LoraSettings(rank=2, alpha=6.0)).eval()
    for state, same in zip(encoder(batch_of(ROWS)).states, before, strict=True):
        # By another kernel of attention, where gradients are wanted.
        torch.testing.assert_close(state, same, atol=1e-5, rtol=1e-5)
    moved(encoder)
    adapted = encoder(batch_of(ROWS)).states
    assert not torch.allclose(adapted[-1], before[-1], atol=1e-3)
    encoder.save(tmp_path / "merged", encoder.model.state_dict())
    again = opened(str(tmp_path / "merged"), train="head").eval()
    assert not any("lora" in name for name in again.state_dict())
    for state, same in zip(again(batch_of(ROWS)).states, adapted, strict=True):
        torch.testing.assert_close(state, same, atol=1e-5, rtol=1e-5)


def moved(encoder: TunedEncoder) -> None:
    with torch.no_grad():
        for parameter in encoder.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(8))


@pytest.mark.parametrize("train", ["all", "lora"])
def test_what_is_saved_is_read_by_transformers_with_the_same_states(folder: str, tmp_path: Path, train: str) -> None:
    encoder = opened(folder, train=train)
    moved(encoder)
    encoder.save(tmp_path / "saved", encoder.model.state_dict())
    again = opened(str(tmp_path / "saved")).eval()
    assert again.account.rows[0][0] == "taken"
    for mine, state in zip(encoder.eval()(batch_of(ROWS)).states, again(batch_of(ROWS)).states, strict=True):
        torch.testing.assert_close(mine, state, atol=1e-5, rtol=1e-5)
    loaded, info = AutoModel.from_pretrained(tmp_path / "saved", output_loading_info=True)
    assert not info["unexpected_keys"]
    assert not [key for key in info["missing_keys"] if "decoder" not in key]
    plain = encoder.plain(encoder.model.state_dict())
    weights = loaded.encoder.state_dict() if "decoder" in dict(loaded.named_children()) else loaded.state_dict()
    assert weights.keys() == plain.keys()
    assert all(torch.equal(weights[name], value) for name, value in plain.items())


def test_a_target_that_does_not_exist_is_refused_with_those_that_do(folder: str) -> None:
    with pytest.raises(
        UserError, match=r"contains 'qq_proj', but no linear layer of .* ends so; the names are .*(proj|query)"
    ):
        opened(folder, train="lora", lora=LoraSettings(targets=["qq_proj"]))


def test_more_blocks_than_there_are_are_refused(folder: str) -> None:
    with pytest.raises(UserError, match=r"last_layers is 3, but .* has only 2 blocks"):
        opened(folder, train="last", last_layers=3)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: TunedSettings(hidden_dropout=1.0), "encoder.hidden_dropout must be at least 0 and below 1, but is 1"),
        (lambda: TunedSettings(last_layers=0), "encoder.last_layers must be at least 1, but is 0"),
        (lambda: LoraSettings(rank=0), "encoder.lora.rank must be at least 1, but is 0"),
        (lambda: LoraSettings(alpha=0.0), "encoder.lora.alpha must be above 0, but is 0.0"),
        (lambda: LoraSettings(dropout=1.0), "encoder.lora.dropout must be at least 0 and below 1, but is 1.0"),
    ],
)
def test_settings_without_a_meaning_are_refused(make: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        make()
