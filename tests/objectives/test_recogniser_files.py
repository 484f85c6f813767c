"""Recognisers in folders: what transformers makes of them is what is computed here."""

import json
from types import SimpleNamespace

import pytest
import torch
import transformers
from recognisers import KINDS, SAMPLES, TEXTS, VOCABULARY, batch_of, recogniser_of
from transformers import AutoModelForCTC, AutoProcessor, pipeline

from nonverbal.errors import UserError
from nonverbal.models.tuned.opening import open_tuned
from nonverbal.models.tuned.settings import TunedSettings
from nonverbal.objectives.recogniser_files import check_recogniser


def exported(objective, folder):
    objective.export(folder, objective.state_dict())
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_a_pipeline_writes_what_we_write(kind, objective_from, tmp_path):
    objective = objective_from(recogniser_of(kind)).eval()
    with torch.no_grad():
        # Texts of many tokens: a head that is new says nearly the same of all frames.
        objective.head.weight.normal_(std=2.0)
    batch = batch_of(objective, TEXTS, SAMPLES)
    ours = objective.transcripts(batch)
    assert len(set(ours)) == 4
    assert sum(map(len, ours)) > 12
    recognise = pipeline("automatic-speech-recognition", model=str(exported(objective, tmp_path / "model")))
    rows = zip(batch.waveforms, batch.lengths.tolist(), strict=True)
    theirs = [recognise(row[:length].numpy())["text"] for row, length in rows]
    assert theirs == ours


def test_a_recogniser_comes_back_as_it_was(objective_from, tmp_path):
    objective = objective_from(recogniser_of("wav2vec2")).eval()
    folder = exported(objective, tmp_path / "model")
    model = AutoModelForCTC.from_pretrained(folder).eval()
    config = model.config
    assert type(model).__name__ == "Wav2Vec2ForCTC"
    assert (config.vocab_size, config.pad_token_id, config.ctc_loss_reduction) == (len(VOCABULARY.tokens), 0, "sum")
    batch = batch_of(objective, TEXTS, [6000] * 4)
    with torch.no_grad():
        theirs, ours = model(batch.waveforms).logits, objective.logits(batch)
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-5)
    processor = AutoProcessor.from_pretrained(folder)
    assert processor.decode([4, 4, 0, 4, 2, 0, 2, 5]) == VOCABULARY.decode([4, 4, 0, 4, 2, 0, 2, 5])
    assert processor(text="A TOE").input_ids == VOCABULARY.encode("A TOE").tolist()
    assert json.loads((folder / "vocab.json").read_text()) == {name: i for i, name in enumerate(VOCABULARY.tokens)}
    assert processor.tokenizer.vocab_size == len(processor.tokenizer) == len(VOCABULARY.tokens)


def test_a_recogniser_becomes_an_encoder(objective_from, tmp_path):
    """For what the emotion recovery paper does: a recogniser first, and then classes."""
    objective = objective_from(recogniser_of("hubert")).eval()
    again = open_tuned(str(exported(objective, tmp_path / "model")), TunedSettings(), seed=1).eval()
    batch = batch_of(objective, TEXTS, SAMPLES)
    with torch.no_grad():
        ours, theirs = objective.encoder(batch).states[-1], again(batch).states[-1]
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-6)
    assert any(verb == "left over" and "lm_head" in what for verb, what, _ in again.account.rows)


def test_adapters_are_merged(objective_from, tmp_path):
    objective = objective_from(recogniser_of("wav2vec2"), train="lora").eval()
    with torch.no_grad():
        for name, parameter in objective.named_parameters():
            if "lora" in name:
                parameter.normal_(std=0.3)
    batch = batch_of(objective, TEXTS, [6000] * 4)
    model = AutoModelForCTC.from_pretrained(exported(objective, tmp_path / "model")).eval()
    with torch.no_grad():
        torch.testing.assert_close(model(batch.waveforms).logits, objective.logits(batch), rtol=0, atol=1e-5)


def test_weights_are_those_that_are_given(objective_from, tmp_path):
    """The module itself may be spread over processes, and hold none."""
    objective = objective_from(recogniser_of("wav2vec2"))
    weights = {name: value.clone() for name, value in objective.state_dict().items()}
    with torch.no_grad():
        for parameter in objective.parameters():
            parameter.zero_()
    objective.export(tmp_path / "model", weights)
    model = AutoModelForCTC.from_pretrained(tmp_path / "model")
    assert torch.equal(model.lm_head.weight, weights["head.weight"])


@pytest.mark.parametrize(
    "config", [transformers.WhisperConfig(), transformers.ASTConfig()], ids=lambda config: config.model_type
)
def test_encoders_without_a_recogniser_are_refused(config):
    encoder = SimpleNamespace(config=config, source="an/encoder", model_type=config.model_type)
    with pytest.raises(UserError, match=f"an/encoder is a '{config.model_type}' model, but transformers has no"):
        check_recogniser(encoder)
