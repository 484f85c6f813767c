"""Characters of clips: loss, gradients and texts against transformers' recognisers, and cases computed by hand."""

import copy
import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from recognisers import (
    KINDS,
    SAMPLES,
    TEXTS,
    VOCABULARY,
    batch_of,
    labels_of,
    recogniser_of,
    targets_of,
)
from waits import NoWaits

from nonverbal.batch import Rows
from nonverbal.data.transcripts import Vocabulary
from nonverbal.errors import UserError
from nonverbal.objectives import ctc
from nonverbal.objectives.character_targets import CharacterTargets
from nonverbal.objectives.ctc import CtcObjective, CtcSettings
from nonverbal.training.metrics import Means


def gradients(module):
    return {name: value.grad.clone() for name, value in module.named_parameters() if value.grad is not None}


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_is_that_of_transformers(kind, objective_from):
    """Loss and gradients, of clips of one length: with padding transformers' group norm computes something else."""
    model = recogniser_of(kind).train()
    objective = objective_from(model).train()
    batch = batch_of(objective, TEXTS, [6000] * 4)
    assert batch.targets.count == 3 + 10 + 1 + 4
    loss = objective(batch)
    theirs = model(batch.waveforms, labels=labels_of(TEXTS)).loss
    torch.testing.assert_close(loss.sum, theirs, rtol=1e-5, atol=1e-5)
    loss.sum.backward()
    theirs.backward()
    plain, ours = gradients(model), gradients(objective)
    for name, gradient in ours.items():
        own = name.replace("encoder.model.", model.base_model_prefix + ".").replace("head.", "lm_head.")
        torch.testing.assert_close(gradient, plain.pop(own), rtol=1e-4, atol=1e-4, msg=name)
    assert set(plain) <= {f"{model.base_model_prefix}.masked_spec_embed"}


def test_padded_rows_are_those_of_transformers(objective_from):
    model = recogniser_of("wav2vec2 large").train()
    objective = objective_from(model).train()
    batch = batch_of(objective, TEXTS, SAMPLES)
    mask = (torch.arange(8000) < batch.lengths[:, None]).long()
    theirs = model(batch.waveforms, attention_mask=mask, labels=labels_of(TEXTS)).loss
    torch.testing.assert_close(objective(batch).sum, theirs, rtol=1e-5, atol=1e-5)


def test_texts_of_one_length_average_as_the_mean_of_transformers(objective_from):
    """Its ``mean`` divides each clip's loss by its characters first."""
    model = recogniser_of("wav2vec2")
    texts = ["TWO", "TOE", "FAR", "HOT"]
    objective = objective_from(model)
    model.config.ctc_loss_reduction = "mean"
    batch = batch_of(objective, texts, [6000] * 4)
    theirs = model(batch.waveforms, labels=labels_of(texts)).loss
    torch.testing.assert_close(objective(batch).sum / batch.targets.count, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["wav2vec2", "wav2vec2 large"])
def test_micro_batches_add_up(kind, objective_from):
    objective = objective_from(recogniser_of(kind)).train()
    whole = batch_of(objective, TEXTS, SAMPLES)
    objective(whole).sum.backward()
    expected = gradients(objective)
    objective.zero_grad()
    parts = [batch_of(objective, TEXTS, SAMPLES, clips=clips) for clips in ([1, 2], [0], [3])]
    assert sum(part.targets.count for part in parts) == whole.targets.count
    for part in parts:
        objective(part).sum.backward()
    for name, gradient in gradients(objective).items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-4, msg=name)


class Uniform(torch.nn.Module):
    """An encoder of three frames, whose head says nothing of them."""

    def __init__(self, objective):
        super().__init__()
        self.inner = objective.encoder

    def forward(self, batch):
        seen = self.inner(batch)
        return replace(seen, states=[state[:, :3] * 0 for state in seen.states])


def test_a_case_by_hand(objective_from):
    """Three frames, every token as likely. AB has 5 ways: AAB, ABB, AB-, A-B, -AB; AA has one, A-A."""
    objective = objective_from(recogniser_of("wav2vec2"))
    objective.vocabulary = Vocabulary(("A", "B"))
    objective.head = torch.nn.Linear(16, 5)
    torch.nn.init.zeros_(objective.head.bias)
    # The convolutions make 3 frames of 1040 samples.
    batch = batch_of(objective, ["AB", "AA"], [1040, 1040])
    objective.encoder = Uniform(objective)
    loss = objective(batch)
    assert loss.sum.item() == pytest.approx(-math.log(5 / 5**3) - math.log(1 / 5**3), rel=1e-6)


def one_of(logits, objective):
    """Make an objective say these tokens."""
    objective.logits = lambda batch: torch.nn.functional.one_hot(logits, len(VOCABULARY.tokens)).float()


def test_error_rates_are_of_all_clips_together(objective_from):
    objective = objective_from(recogniser_of("wav2vec2"))
    batch = batch_of(objective, ["TWO", "THREE FEET"], [6000, 8000])
    assert batch.targets.frames == [18, 24]
    said = ["TWO", "THRE FEET A"]
    tokens = torch.zeros(2, 24, dtype=torch.long)
    for row, text in zip(tokens, said, strict=True):
        # A blank after each character; and sound-like padding, which is not the clip's own.
        row[: 2 * len(text) : 2] = torch.from_numpy(VOCABULARY.encode(text))
    tokens[0, 18:] = 3
    one_of(tokens, objective)
    assert set(objective.train()(batch).metrics) == {"loss", "blank"}
    means = Means(objective.finish)
    objective.eval()
    means.add(objective(batch))
    means.add(objective(batch_of(objective, ["TWO", "THREE FEET"], [6000, 8000], clips=[0, 1])))
    row = means.read()
    # THRE for THREE, and A too much, of 3 words; E, and a space and A, of 13 characters.
    assert row["wer"] == pytest.approx(2 / 3)
    assert row["cer"] == pytest.approx(3 / 13)
    assert row["blank"] == pytest.approx((15 + 13) / 42)
    assert objective.transcripts(batch) == said
    assert row[objective.best.metric] == row["cer"]


def test_validation_spends_no_gradient_and_training_no_texts(objective_from, monkeypatch):
    """A text is only written in evaluation: it takes values off the device."""
    objective = objective_from(recogniser_of("wav2vec2")).train()
    monkeypatch.setattr(objective, "_texts", lambda *_: pytest.fail("a text was written in training"))
    assert objective(batch_of(objective, TEXTS, SAMPLES)).sum.requires_grad


def test_a_micro_batch_waits_for_nothing(objective_from, monkeypatch):
    """A GPU would have to finish all that is queued. (On a CPU, dropout draws in NumPy.)"""
    monkeypatch.setattr(ctc, "dropout", torch.nn.functional.dropout)
    settings = CtcSettings(time_masking=0.3, time_mask_length=3)
    objective = objective_from(recogniser_of("wav2vec2"), settings).train()
    batch = batch_of(objective, TEXTS, SAMPLES, random=np.random.default_rng(0))
    with NoWaits():
        objective(batch).sum.backward()


def test_rows_count_as_if_alone(objective_from):
    objective = objective_from(recogniser_of("wav2vec2")).eval()
    together = objective(batch_of(objective, TEXTS, SAMPLES)).sum
    alone = sum(objective(batch_of(objective, TEXTS, SAMPLES, clips=[place])).sum for place in range(4))
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-4)


def test_the_head_is_drawn_by_the_seed(objective_from):
    encoder = objective_from(recogniser_of("wav2vec2")).encoder
    one, same, other = (CtcObjective(encoder, VOCABULARY, CtcSettings(), seed).head for seed in (1, 1, 2))
    assert torch.equal(one.weight, same.weight)
    assert not torch.equal(one.weight, other.weight)
    assert one.weight.std().item() == pytest.approx(0.02, rel=0.2)


def test_masks_are_drawn_in_training_alone(objective_from):
    settings = CtcSettings(dropout=0, time_masking=0.5, time_mask_length=2, feature_masking=0.5, feature_mask_length=4)
    objective = objective_from(recogniser_of("wav2vec2"), settings)
    drawn = batch_of(objective, TEXTS, SAMPLES, random=np.random.default_rng(0)).targets.tensors
    assert drawn["time_mask"].shape == (4, 18)
    assert drawn["feature_mask"].shape == (4, 16)
    assert not {"time_mask", "feature_mask"} & batch_of(objective, TEXTS, SAMPLES).targets.tensors.keys()


def test_dropout_is_of_training_alone(objective_from):
    objective = objective_from(recogniser_of("wav2vec2"), CtcSettings(dropout=0.5))
    batch = batch_of(objective, TEXTS, SAMPLES)
    trained = {objective.train()(batch).sum.item() for _ in range(2)}
    assert len(trained) == 2
    assert len({objective.eval()(batch).sum.item() for _ in range(2)}) == 1


def test_targets_travel_to_data_workers(objective_from):
    objective = objective_from(recogniser_of("wav2vec2"))
    targets = pickle.loads(pickle.dumps(targets_of(objective, TEXTS, SAMPLES)))
    drawn = pickle.loads(pickle.dumps(targets(np.array([3, 0]), Rows(np.array([8000, 6000])), np.arange(2), None)))
    assert isinstance(drawn, CharacterTargets)
    assert (drawn.count, drawn.lengths, drawn.frames) == (7, [4, 3], [24, 18])
    assert VOCABULARY.spell(drawn.tensors["characters"].tolist()) == "TOOTTWO"
    moved = drawn.to(torch.device("meta"))
    assert isinstance(moved, CharacterTargets)
    assert moved.frames == [24, 18]


def test_clips_that_cannot_be_learned_are_refused(objective_from):
    objective = objective_from(recogniser_of("wav2vec2"))
    # 1040 samples are 3 frames: enough for TWO, and one too few for TOO, which needs a blank between its O.
    assert targets_of(objective, ["TWO"], [1040])
    with pytest.raises(
        UserError, match=r"1 of 2 clips are too short .* the first is made/1.wav with 3 frames, but its text needs 4"
    ):
        targets_of(objective, ["TWO", "TOO"], [1040, 1040])
    with pytest.raises(UserError, match=r"made/0.wav with 2 frames, but its text needs 3"):
        targets_of(objective, ["TWO"], [1040], speeds=(0.9, 1.1))
    with pytest.raises(
        UserError,
        match=r"2 of 3 clips are longer .* made/1.wav with 0.2 s; raise batches.max_seconds to 1",
    ):
        targets_of(objective, ["A", "A", "A"], [1600, 3200, 8000], max_seconds=0.1)
    with pytest.raises(UserError, match=r"made/0.wav with 1.1 s; raise batches.pad_to to 2"):
        targets_of(objective, ["A"], [16000], speeds=(0.9, 1.1), pad_to=1)
    assert targets_of(objective, ["A"], [100]), "what is too short for a frame is filled to one"
    assert targets_of(objective, ["TOO"], [1040], pad_to=1), "what is filled counts as sound"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dropout": 1.0}, "ctc.dropout must be at least 0 and below 1, but is 1.0"),
        ({"time_masking": -1}, "ctc.time_masking must be at least 0"),
        ({"head_steps": -1}, "ctc.head_steps must be at least 0, but is -1"),
    ],
)
def test_settings_without_meaning_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        CtcSettings(**settings)


def test_masks_wider_than_a_frame_are_refused(objective_from):
    with pytest.raises(UserError, match="ctc.feature_mask_length must be below 16, the number of values"):
        objective_from(recogniser_of("wav2vec2"), CtcSettings(feature_masking=0.1))


def test_without_jiwer_nothing_begins(objective_from, monkeypatch):
    objective = objective_from(recogniser_of("wav2vec2"))
    monkeypatch.setitem(__import__("sys").modules, "jiwer", None)
    with pytest.raises(UserError, match=r"pip install 'nonverbal\[speech\]'"):
        CtcObjective(objective.encoder, VOCABULARY, CtcSettings(), 0)


def test_a_recogniser_becomes_an_encoder_whose_head_is_left_over(objective_from):
    objective = objective_from(recogniser_of("wav2vec2"))
    assert ("left over", "lm_head.bias, lm_head.weight", "2 weights") in objective.account.rows
    assert not any("lm_head" in name for name in objective.encoder.model.state_dict())


def test_gradients_reach_what_is_trained(objective_from):
    """Every trainable parameter, in the first step too."""
    objective = objective_from(recogniser_of("hubert"), train="no_convolutions").train()
    before = copy.deepcopy(objective.state_dict())
    optimizer = torch.optim.SGD([p for p in objective.parameters() if p.requires_grad], lr=0.1)
    batch = batch_of(objective, TEXTS, SAMPLES)
    objective(batch).sum.backward()
    trained = {name for name, value in objective.named_parameters() if value.requires_grad}
    assert trained == gradients(objective).keys()
    optimizer.step()
    moved = {name for name, value in objective.state_dict().items() if not torch.equal(value, before[name])}
    assert "head.weight" in moved
    assert not any(".feature_extractor." in name for name in moved)


class Remembered(torch.nn.Module):
    """What an encoder makes of one batch, whatever it is given."""

    def __init__(self, seen):
        super().__init__()
        self.seen = replace(seen, states=[10 * state.detach() for state in seen.states])

    def forward(self, batch):
        return self.seen


def test_texts_of_clips_can_be_learned(objective_from):
    """By the head alone: the frames of three noises are told apart, and each text is written without error."""
    objective = objective_from(recogniser_of("wav2vec2 large"))
    batch = batch_of(objective, ["TWO", "FEET", "A TO"], [4000] * 3)
    with torch.no_grad():
        objective.encoder = Remembered(objective.encoder(batch))
    optimizer = torch.optim.Adam(objective.head.parameters(), lr=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        (objective(batch).sum / batch.targets.count).backward()
        optimizer.step()
    assert objective.transcripts(batch) == ["TWO", "FEET", "A TO"]
