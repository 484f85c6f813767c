"""Tiny recognisers by transformers, their encoders under a head of ours, and batches of clips with texts."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tiny_shapes import LARGE, WAVEFORMS
from tuned_batches import NONE, noise

from nonverbal.batch import Batch, Rows
from nonverbal.data.batching.clips import ClipBatches
from nonverbal.data.transcripts import vocabulary_of
from nonverbal.models.tuned.opening import open_tuned
from nonverbal.models.tuned.settings import TunedSettings
from nonverbal.objectives.ctc import CtcObjective, CtcSettings

TEXTS = ["TWO", "THREE FEET", "A", "TOOT"]
VOCABULARY = vocabulary_of(TEXTS)
SHAPE = {
    **WAVEFORMS,
    "vocab_size": len(VOCABULARY.tokens),
    "pad_token_id": 0,
    "ctc_loss_reduction": "sum",
    "apply_spec_augment": False,
    "layerdrop": 0.0,
    **dict.fromkeys(
        ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout", "final_dropout"), 0.0
    ),
}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "wav2vec2": ("Wav2Vec2", {}),
    "wav2vec2 large": ("Wav2Vec2", LARGE | {"conv_bias": True}),
    "hubert": ("Hubert", {}),
    "wavlm": ("WavLM", {}),
    "unispeech-sat": ("UniSpeechSat", {}),
    "data2vec-audio": ("Data2VecAudio", {"conv_pos_kernel_size": 3}),
}
SAMPLES = [4000, 6000, 3000, 6000]


def recogniser_of(kind):
    """A tiny recogniser by transformers; norms and biases are random too, which would hide their part otherwise."""
    name, more = KINDS[kind]
    torch.manual_seed(0)
    model = getattr(transformers, f"{name}ForCTC")(getattr(transformers, f"{name}Config")(**SHAPE, **more))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.fixture
def objective_from(tmp_path):
    """Return what saves a recogniser, and opens its encoder under a new head that gets the recogniser's weights."""

    def make(model, settings=None, **encoder):
        folder = tmp_path / "recogniser"
        model.save_pretrained(folder)
        masked = getattr(model.config, "feat_extract_norm", "layer") == "layer"
        transformers.Wav2Vec2FeatureExtractor(do_normalize=False, return_attention_mask=masked).save_pretrained(folder)
        tuned = open_tuned(str(folder), TunedSettings(**{"train": "all", **NONE, **encoder}), seed=0)
        objective = CtcObjective(tuned, VOCABULARY, settings or CtcSettings(dropout=0), seed=3)
        objective.head.load_state_dict(model.lm_head.state_dict())
        return objective

    return make


def targets_of(objective, texts, samples, speeds=(1.0, 1.0), **batches):
    ids = [f"made/{number}.wav" for number in range(len(texts))]
    limits = ClipBatches(**batches).limits(objective.encoder.shortest, objective.encoder.longest)
    return objective.targets(ids, texts, np.array(samples), limits, speeds)


def batch_of(objective, texts, samples, random=None, clips=None):
    """The clips, a row each, as ClipData makes a batch of them."""
    clips = np.arange(len(texts)) if clips is None else np.array(clips)
    lengths = np.array(samples)[clips]
    targets = targets_of(objective, texts, samples)(clips, Rows(lengths), np.arange(len(clips)), random)
    places = {"clip": torch.arange(len(clips)), "places": torch.from_numpy(clips)}
    targets = replace(targets, tensors=targets.tensors | places)
    rows = [noise(length, seed=place) for length, place in zip(lengths.tolist(), clips.tolist(), strict=True)]
    waveforms = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    padded = bool((lengths < lengths.max()).any())
    return Batch(waveforms, torch.from_numpy(lengths), [""] * len(clips), targets, 0, 0, 0, padded)


def labels_of(texts):
    rows = [torch.from_numpy(VOCABULARY.encode(text)) for text in texts]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-100)
