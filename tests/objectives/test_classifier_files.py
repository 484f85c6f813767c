"""Classifiers that are written, and read by transformers and by us."""

import json

import pytest
import torch
from plain_encoders import KINDS, clip_batch
from test_classification import objective_of
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

from nonverbal.objectives.classification import ClassifierSettings

ODD = ["né à «7»", "7", "a/b.c: {x}", "\t"]
"""Labels as folders and tables of corpora have them."""


@pytest.mark.parametrize("layers", ["last", "weighted"])
@pytest.mark.parametrize("kind", [*KINDS, "audio_mamba"])
def test_transformers_reads_what_is_written(kind, layers, tmp_path):
    if kind == "audio_mamba" and layers == "weighted":
        pytest.skip("its classifier reads the last layer alone")
    objective = objective_of(kind, ClassifierSettings(layers=layers), ODD).eval()
    assert objective.inexpressible() is None
    objective.export(tmp_path, objective.state_dict())
    model = AutoModelForAudioClassification.from_pretrained(tmp_path).eval()
    batch = clip_batch([0.5])
    extractor = AutoFeatureExtractor.from_pretrained(tmp_path)
    inputs = extractor(batch.waveforms[0].numpy(), sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        torch.testing.assert_close(model(**inputs).logits, objective.logits(batch), rtol=0, atol=1e-5)
    assert [model.config.id2label[number] for number in range(4)] == ODD
    assert model.config.label2id == {name: number for number, name in enumerate(ODD)}
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == [type(model).__name__]
