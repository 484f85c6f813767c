"""Masks that a batch brings: frames and features are hidden where they say, as transformers hides them."""

from pathlib import Path

import pytest
import torch
from tiny_encoders import SAVED, save_tiny
from transformers import AutoModel
from tuned_batches import NONE, batch_of, noise

from nonverbal.models.tuned.base import TunedEncoder
from nonverbal.models.tuned.opening import KINDS, open_tuned
from nonverbal.models.tuned.settings import TunedSettings

NAMES = [name for name in SAVED if name.split()[0] in KINDS]
LEARNED = [name for name in NAMES if name.split()[0] not in ("audio_mamba", "whisper", "audio-spectrogram-transformer")]
ROWS = [noise(9000), noise(6500, 1)]


def opened(folder: Path, train: str = "all") -> TunedEncoder:
    return open_tuned(str(folder), TunedSettings(**{**NONE, "train": train}), seed=0)  # type: ignore[arg-type]


def masks(encoder: TunedEncoder) -> dict[str, torch.Tensor]:
    frames = int(encoder.frames(9000))
    time = torch.zeros(2, frames, dtype=torch.bool)
    time[0, 1:3] = time[1, 0] = True
    feature = torch.zeros(2, encoder.width, dtype=torch.bool)
    feature[0, 2:5] = True
    return {"time_mask": time, "feature_mask": feature}


@pytest.mark.parametrize("name", LEARNED)
def test_frames_are_hidden_as_transformers_hides_them(name: str, tmp_path: Path) -> None:
    encoder = opened(save_tiny(name, tmp_path))
    reference = AutoModel.from_pretrained(tmp_path).eval()
    time = masks(encoder)["time_mask"]
    hidden = encoder(batch_of(ROWS[:1], {"time_mask": time[:1]}))
    row = ROWS[0][None]
    if encoder.normalise:
        row = (row - row.mean()) / torch.sqrt(row.var(correction=0) + 1e-7)
    theirs = reference(row, mask_time_indices=time[:1], output_hidden_states=True)
    for mine, state in zip(hidden.states[:-1], theirs.hidden_states[:-1], strict=True):
        torch.testing.assert_close(mine, state, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(hidden.states[-1], theirs.last_hidden_state, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", LEARNED)
def test_features_are_zero_before_positions(name: str, tmp_path: Path) -> None:
    encoder = opened(save_tiny(name, tmp_path))
    reference = AutoModel.from_pretrained(tmp_path).eval()
    feature = masks(encoder)["feature_mask"][:1]
    row = ROWS[0][None]
    if encoder.normalise:
        row = (row - row.mean()) / torch.sqrt(row.var(correction=0) + 1e-7)
    # transformers has no argument for them: what it projects is zeroed by a hook.
    reference.feature_projection.projection.register_forward_hook(
        lambda _module, _inputs, output: output.masked_fill(feature[:, None], 0)
    )
    hidden = encoder(batch_of(ROWS[:1], {"feature_mask": feature}))
    last = reference(row).last_hidden_state
    torch.testing.assert_close(hidden.states[-1], last, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_masks_of_a_row_are_its_own_and_nothing_is_seen_of_what_they_hide(name: str, tmp_path: Path) -> None:
    encoder = opened(save_tiny(name, tmp_path))
    given = masks(encoder)
    together = encoder(batch_of(ROWS, given))
    plain = encoder(batch_of(ROWS))
    assert not torch.allclose(together.states[0], plain.states[0], atol=1e-3)
    count = int(encoder.frames(6500))
    alone = encoder(batch_of(ROWS[1:], {"time_mask": given["time_mask"][1:, :count]}))
    for mine, state in zip(together.states, alone.states, strict=True):
        torch.testing.assert_close(mine[1, :count], state[0], atol=1e-5, rtol=1e-5)
    hidden = {"time_mask": torch.ones(1, count, dtype=torch.bool)}
    if name in ("audio_mamba", "audio-spectrogram-transformer"):
        # All of the clip's frames are hidden: what it was is not seen.
        first, second = (encoder(batch_of([noise(6500, seed)], hidden)).states[-1] for seed in (1, 2))
        torch.testing.assert_close(first, second, atol=2e-2 if "spectrogram" in name else 1e-5, rtol=1e-5)


@pytest.mark.parametrize(("train", "learns"), [("all", True), ("no_convolutions", True), ("head", False)])
def test_the_mask_embedding_learns_where_frames_are_hidden_in_training(
    train: str, learns: bool, tmp_path: Path
) -> None:
    encoder = opened(save_tiny("wav2vec2 base", tmp_path), train)
    embedding = encoder.model.masked_spec_embed
    assert not embedding.requires_grad
    encoder.learn_mask()
    assert embedding.requires_grad == learns
    if learns:
        encoder(batch_of(ROWS, masks(encoder))).states[-1].square().sum().backward()
        assert embedding.grad is not None
        assert embedding.grad.any()
