"""Self-attention maps of every kind of encoder against transformers' own, and against what they make of values."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_encoders import SAVED, save_tiny

from nonverbal.errors import UserError
from nonverbal.evaluation.encoders import load_frame_encoder
from nonverbal.evaluation.encoders.attending import Attending
from nonverbal.evaluation.encoders.models import ModelEncoder
from nonverbal.families.hidden_states import layers_of

WAVEFORM = (np.random.default_rng(0).standard_normal(16_000) * 0.1).astype(np.float32)
ATTENDING = [name for name in SAVED if name != "audio_mamba"]


def maps_of(folder: Path) -> tuple[ModelEncoder, list[torch.Tensor]]:
    encoder = load_frame_encoder(str(folder))
    attending = Attending(encoder)
    maps = list(attending.maps(WAVEFORM))
    assert isinstance(encoder, ModelEncoder)
    assert (attending.layers, attending.heads) == (len(maps), maps[0].shape[0]) == (2, 2)
    return encoder, maps


def official(encoder: ModelEncoder) -> Any:
    with torch.inference_mode():
        return encoder.model(encoder.inputs(WAVEFORM)[None], output_attentions=True, output_hidden_states=True)


@pytest.mark.parametrize("name", ATTENDING)
def test_maps_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    encoder, maps = maps_of(save_tiny(name, tmp_path))
    # Frames of a clip of 1 s; patches of AST are in 12 bands.
    frames = {"whisper": 50, "audio-spectrogram-transformer": 12 * 9}.get(name, 49)
    for ours, theirs in zip(maps, official(encoder).attentions, strict=True):
        assert ours.shape == (2, frames, frames)
        np.testing.assert_allclose(ours.sum(-1), 1, atol=1e-5)
        own = encoder.own_tokens(theirs.shape[-1], len(WAVEFORM))
        expected = theirs[0][:, own][:, :, own]
        expected = expected / expected.sum(-1, keepdim=True)
        if name.startswith("wavlm"):
            # transformers gives WavLM's mean over heads twice.
            assert (theirs[0, 0] == theirs[0, 1]).all()
            assert (ours[0] - ours[1]).abs().max() > 1e-3
            ours = ours.mean(0, keepdim=True).expand(2, -1, -1)
        np.testing.assert_allclose(ours, expected, atol=2e-6)


@pytest.mark.parametrize("name", ["wavlm base", "wavlm large", "wav2vec2 base"])
def test_maps_make_of_values_what_the_attention_gives(name: str, tmp_path: Path) -> None:
    """Head by head, which transformers' own mean over the heads of WavLM does not show."""
    encoder, maps = maps_of(save_tiny(name, tmp_path))
    given: list[Any] = []
    modules = [block.attention for block in encoder.model.encoder.layers]
    hooks = [
        module.register_forward_hook(lambda _, args, kwargs, out: given.append((args[0], out[0])), with_kwargs=True)
        for module in modules
    ]
    official(encoder)
    for hook in hooks:
        hook.remove()
    for module, (hidden, output), ours in zip(modules, given, maps, strict=True):
        with torch.inference_mode():
            values = module.v_proj(hidden)[0].unflatten(-1, (2, -1)).transpose(0, 1)
            context = (ours @ values).transpose(0, 1).flatten(1)
            torch.testing.assert_close(module.out_proj(context), output[0], atol=1e-5, rtol=1e-4)


def test_the_encoder_computes_what_it_did(tmp_path: Path) -> None:
    encoder = load_frame_encoder(str(save_tiny("wav2vec2 base", tmp_path)))
    before = encoder.frames(WAVEFORM)
    attending = Attending(encoder)
    list(attending.maps(WAVEFORM))
    np.testing.assert_allclose(encoder.frames(WAVEFORM), before, atol=1e-5)
    assert isinstance(encoder, ModelEncoder)
    assert not any(module._forward_pre_hooks for module in encoder.model.modules())
    assert len(layers_of(official(encoder))) == 3


def test_a_layer_is_computed_when_it_is_asked_for(tmp_path: Path) -> None:
    attending = Attending(load_frame_encoder(str(save_tiny("wav2vec2 base", tmp_path))))
    calls = [0, 0]
    for number, module in enumerate(attending.modules):

        def count(*_: Any, own: int = number) -> None:
            calls[own] += 1

        module.register_forward_hook(count)
    maps = attending.maps(WAVEFORM)
    next(maps)
    assert not torch.is_inference_mode_enabled()
    # Once in the pass, which keeps no maps.
    assert calls == [2, 1]
    next(maps)
    assert calls == [2, 2]


@pytest.mark.parametrize("name", ["logmel", "audio_mamba"])
def test_what_does_not_attend_is_refused(name: str, tmp_path: Path) -> None:
    source = name if name == "logmel" else str(save_tiny(name, tmp_path))
    with pytest.raises(UserError, match="has no self-attention; give one of wav2vec 2.0's kind"):
        Attending(load_frame_encoder(source))


def test_a_clip_that_is_too_short_is_refused(tmp_path: Path) -> None:
    attending = Attending(load_frame_encoder(str(save_tiny("wav2vec2 base", tmp_path))))
    with pytest.raises(UserError, match="makes a frame of 400 samples"):
        next(attending.maps(WAVEFORM[:399]))
