"""Encoders as fine-tuning trains them, against transformers' own, each row alone and without dropout."""

import copy
import math
from pathlib import Path

import pytest
import torch
from tiny_encoders import SAVED, save_tiny
from torch import Tensor, nn
from transformers import ASTModel, AutoFeatureExtractor, AutoModel, WhisperModel
from tuned_batches import NONE, batch_of, directed, noise

from nonverbal.models.tuned.base import Hidden, TunedEncoder
from nonverbal.models.tuned.opening import KINDS, open_tuned
from nonverbal.models.tuned.settings import TunedSettings

LENGTHS = (12_345, 4000, 9999)
NAMES = [name for name in SAVED if name.split()[0] in KINDS]


@pytest.fixture(params=NAMES)
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    return request.param, str(save_tiny(request.param, tmp_path / "encoder"))


def opened(folder: str, **changes: object) -> TunedEncoder:
    return open_tuned(folder, TunedSettings(**{**NONE, "train": "all", **changes}), seed=0)  # type: ignore[arg-type]


def theirs(model: nn.Module, folder: str, waveform: Tensor) -> list[Tensor]:
    """All hidden states of one waveform, ``(1, S, M)``, by transformers' own extractor and forward pass."""
    extractor = AutoFeatureExtractor.from_pretrained(folder)
    inputs = next(iter(extractor(waveform.numpy(), sampling_rate=16_000, return_tensors="pt").values()))
    output = (model.encoder if isinstance(model, WhisperModel) else model)(inputs, output_hidden_states=True)
    states = [*output.hidden_states[:-1], output.last_hidden_state]
    if isinstance(model, WhisperModel):
        states = [state[:, : math.ceil(len(waveform) / 320)] for state in states]
    if isinstance(model, ASTModel):
        # The patches of each time, one by one: token 2 + band x 101 + time; a patch has 16 frames, one every 10.
        times = ((1 + (len(waveform) - 400) // 160) - 16) // 10 + 1
        at = [[2 + 101 * band + time for band in range(12)] for time in range(times)]
        states = [torch.stack([state[0, tokens].mean(0) for tokens in at])[None] for state in states]
    return states


def test_states_and_gradients_are_those_of_transformers_each_row_alone(saved: tuple[str, str]) -> None:
    name, folder = saved
    encoder = opened(folder)
    reference = AutoModel.from_pretrained(folder).eval()
    rows = [noise(length, seed) for seed, length in enumerate(LENGTHS)]
    hidden = encoder(batch_of(rows))
    assert len(hidden.states) == encoder.layers + 1 == 3
    loss, expected = directed(hidden), torch.zeros(())
    for row, waveform in enumerate(rows):
        states = theirs(reference, folder, waveform)
        own = hidden.valid[row]
        for mine, state in zip(hidden.states, states, strict=True):
            assert mine.shape[-1] == encoder.width
            torch.testing.assert_close(mine[row, own], state[0], atol=1e-5 * rms(state), rtol=0)
        expected = expected + directed(Hidden(states, None), row)
    loss.backward()
    expected.backward()
    whole = reference.encoder if isinstance(reference, WhisperModel) else reference
    gradients = dict(whole.named_parameters())
    for name, parameter in encoder.model.named_parameters():
        if name == encoder.mask_embedding:
            assert parameter.grad is None
            assert not parameter.requires_grad
            continue
        if not parameter.requires_grad:
            assert name == "embed_positions.weight"
            continue
        wanted = gradients[name].grad
        torch.testing.assert_close(parameter.grad, wanted, atol=1e-4 * rms(wanted) + 1e-7, rtol=0, msg=name)


def rms(x: Tensor) -> float:
    return float(x.detach().square().mean().sqrt())


def test_frames_are_counted_on_the_host_as_they_come_out(saved: tuple[str, str]) -> None:
    import numpy as np

    encoder = opened(saved[1])
    lengths = np.array([encoder.shortest, encoder.shortest + 999, *LENGTHS])
    hidden = encoder(batch_of([noise(int(length)) for length in lengths]))
    assert hidden.valid is not None
    assert hidden.valid.sum(1).tolist() == encoder.frames(lengths).tolist()
    assert encoder.frames(lengths).min() >= 1
    assert encoder.longest == {"whisper": 30.0, "audio-spectrogram-transformer": 10.24}.get(saved[0], math.inf)


def test_a_row_of_a_padded_batch_is_as_alone_in_training_with_dropout_off(saved: tuple[str, str]) -> None:
    encoder = opened(saved[1]).train()
    rows = [noise(length, seed) for seed, length in enumerate(LENGTHS)]
    together = encoder(batch_of(rows))
    for row, waveform in enumerate(rows):
        alone = encoder(batch_of([waveform]))
        assert alone.valid is None
        for mine, state in zip(together.states, alone.states, strict=True):
            own = mine[row, together.valid[row]]
            torch.testing.assert_close(own, state[0], atol=1e-5 * rms(state), rtol=0)


def test_whatever_lies_beyond_a_row_is_not_looked_at(saved: tuple[str, str]) -> None:
    encoder = opened(saved[1])
    batch = batch_of([noise(9000), noise(5000)])
    before = encoder(batch)
    other = copy.deepcopy(batch)
    other.waveforms[1, 5000:] = noise(4000, 7)
    after = encoder(other)
    for mine, state in zip(before.states, after.states, strict=True):
        torch.testing.assert_close(mine[before.valid], state[after.valid], atol=1e-5, rtol=0)
