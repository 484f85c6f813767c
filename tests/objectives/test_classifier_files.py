"""Classifiers that are written, and read by transformers and by us."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_classifiers import CLASSES, NAMES, PLAIN, clip_batch, encoder_of, objective_of
from tiny_encoders import save_tiny
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

from nonverbal.errors import UserError
from nonverbal.objectives.classification import ClassificationObjective, ClassifierSettings
from nonverbal.objectives.opening_classifiers import open_classifier

ODD = ["né à «7»", "7", "a/b.c: {x}", "\t"]
"""Labels as folders and tables of corpora have them."""

SHAPES = {
    "plain": ClassifierSettings(),
    "layers": ClassifierSettings(layers="weighted"),
    "attentive": ClassifierSettings(pooling="attentive", layers="weighted", projection=0),
    "hidden": ClassifierSettings(hidden=[5, 7], dropout=0.3, projection=6),
}


def exported(objective: ClassificationObjective, folder: Path) -> Path:
    objective.export(folder, objective.state_dict())
    return folder


def same_logits(objective, other):
    batch = clip_batch([0.5, 0.3, 0.5], clip=[0, 1, 0])
    with torch.no_grad():
        torch.testing.assert_close(other.eval().logits(batch), objective.eval().logits(batch), rtol=0, atol=1e-6)


@pytest.mark.parametrize("train", ["all", "lora"])
@pytest.mark.parametrize(("name", "layers"), PLAIN)
def test_transformers_reads_what_is_written(name, layers, train, tmp_path):
    objective = objective_of(name, ClassifierSettings(layers=layers), ODD, train).eval()
    with torch.no_grad():
        for parameter in objective.encoder.parameters():
            # Adapters begin at 0.
            parameter.add_(0.01 * parameter.requires_grad)
    assert objective.inexpressible() is None
    model = AutoModelForAudioClassification.from_pretrained(exported(objective, tmp_path)).eval()
    batch = clip_batch([0.5])
    extractor = AutoFeatureExtractor.from_pretrained(tmp_path)
    inputs = extractor(batch.waveforms[0].numpy(), sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        torch.testing.assert_close(model(**inputs).logits, objective.logits(batch), rtol=0, atol=1e-5)
    assert [model.config.id2label[number] for number in range(4)] == ODD
    assert model.config.label2id == {name: number for number, name in enumerate(ODD)}
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == [type(model).__name__]
    again = open_classifier(str(tmp_path))
    assert again.classes == ODD
    same_logits(objective, again)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_is_read_again(name, shape, tmp_path):
    objective = objective_of(name, SHAPES[shape], ODD)
    again = open_classifier(str(exported(objective, tmp_path)))
    assert again.classes == ODD
    assert again.head.shape == replace(objective.head.shape, dropout=again.head.shape.dropout)
    assert (tmp_path / "head.json").exists() == (objective.inexpressible() is not None)
    assert not any(parameter.requires_grad for parameter in again.encoder.parameters())
    assert not again.training
    same_logits(objective, again)


@pytest.mark.parametrize(
    ("name", "changes", "why"),
    [
        ("wav2vec2 base", {"pooling": "attentive"}, "pools by the mean over frames, not by attention"),
        ("wav2vec2 base", {"hidden": [4]}, "has no hidden layers"),
        ("wav2vec2 base", {"projection": 0}, "has a linear layer before its last"),
        ("audio_mamba", {"projection": 4}, "has no linear layer before its last"),
        ("audio_mamba", {"layers": "weighted"}, "uses only the last layer"),
    ],
)
def test_what_transformers_cannot_compute_is_said(name, changes, why):
    objective = ClassificationObjective(encoder_of(name), CLASSES, ClassifierSettings(**changes), seed=0)
    assert why in objective.inexpressible()


def test_an_encoder_alone_is_not_a_classifier(tmp_path):
    save_tiny("wav2vec2 base", tmp_path)
    with pytest.raises(UserError, match="is not a classifier, because it has no .*nonverbal finetune"):
        open_classifier(str(tmp_path))


def test_a_file_is_not_a_classifier(tmp_path):
    folder = save_tiny("wav2vec2 base", tmp_path / "encoder")
    with pytest.raises(UserError, match="is a file, but a classifier is a folder"):
        open_classifier(str(folder / "model.safetensors"))


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("problem_type", "multi_label_classification", "one class per clip"),
        ("problem_type", "regression", "one class per clip"),
        ("id2label", {"0": "a", "1": "a", "2": "b"}, "3 classes, but 3 names, 2 of them distinct"),
        ("id2label", {"0": "a", "1": "b", "7": "c"}, "not a list of strings"),
    ],
)
def test_other_models_of_transformers_are_refused(key, value, why, tmp_path):
    folder = exported(objective_of(), tmp_path)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(UserError, match=why):
        open_classifier(str(folder))


@pytest.fixture(scope="module")
def with_a_head(tmp_path_factory):
    """A folder of an encoder with ``head.json`` beside it."""
    return exported(objective_of(settings=SHAPES["hidden"]), tmp_path_factory.mktemp("written") / "model")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"classes": ["a", "b"]}, "3 classes, but 2 names"),
        ({"classes": ["a", "b", "a"]}, "2 of them distinct"),
        ({"classes": ["a", "b", 3]}, "not a list of strings"),
        ({"classes": "abc"}, "not a list of strings"),
        ({"shape": []}, "its shape is not an object"),
        ({"shape": {"width": 16}}, "its shape is not an object"),
        ({"more": 1}, "not an object with classes and shape"),
        ({"width": True}, "width is True"),
        ({"width": 0}, "its shape is"),
        ({"hidden": [5, "7"]}, "its shape is"),
        ({"hidden": None}, "hidden is None"),
        ({"hidden": [5]}, "the weights of the head of .* do not have the shape of the head"),
        ({"hidden": [1] * 1000}, "1000 hidden layers"),
        ({"hidden": [10**30, 7]}, "its shape is"),
        ({"hidden": [10**6, 7]}, "the weights of the head of .* do not have the shape of the head: hidden.0"),
        ({"dropout": 1.0}, "its shape is"),
        ({"width": 32}, "is for 32 values per frame"),
        ({"states": 2}, "and 2 layers, but its encoder has 16 values and 3 layers"),
    ],
)
def test_a_description_that_is_not_of_a_head_is_refused(with_a_head, changes, why, tmp_path):
    folder = shutil.copytree(with_a_head, tmp_path / "copy")
    path = folder / "head.json"
    content = json.loads(path.read_text())
    inner = {key: value for key, value in changes.items() if key in content["shape"] and key != "classes"}
    content["shape"] |= inner
    path.write_text(json.dumps(content | {key: value for key, value in changes.items() if key not in inner}))
    with pytest.raises(UserError, match=why):
        open_classifier(str(folder))


@pytest.mark.parametrize("text", ["", "[" * 100_000, "\ud800"])
def test_a_description_that_cannot_be_read_is_refused(with_a_head, text, tmp_path):
    folder = shutil.copytree(with_a_head, tmp_path / "copy")
    (folder / "head.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(UserError, match="head.json does not describe a head"):
        open_classifier(str(folder))


def test_weights_of_a_head_that_are_damaged_are_refused(with_a_head, tmp_path):
    folder = shutil.copytree(with_a_head, tmp_path / "copy")
    path = folder / "head.safetensors"
    weights = load_file(path)
    save_file(weights | {"classifier.bias": torch.full((3,), torch.nan)}, path)
    with pytest.raises(UserError, match="NaN or infinite values"):
        open_classifier(str(folder))
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(UserError, match="head.safetensors cannot be read"):
        open_classifier(str(folder))
    path.unlink()
    with pytest.raises(UserError, match="head.safetensors cannot be read"):
        open_classifier(str(folder))
