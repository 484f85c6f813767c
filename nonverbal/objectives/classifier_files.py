"""Writes classifiers: as a model of transformers if one computes the same, or else an encoder with a head beside it."""

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING, PretrainedConfig

from nonverbal.files import write_atomically
from nonverbal.models.classifier_heads import HeadShape
from nonverbal.models.tuned.base import TunedEncoder

HEAD_FILE, HEAD_WEIGHTS = "head.json", "head.safetensors"
"""Files beside an encoder: the description of its head, and the head's weights."""


@dataclass(frozen=True)
class Classifier:
    """Everything in a classifier's files except its weights."""

    encoder: TunedEncoder
    shape: HeadShape
    """Shape of the head."""
    classes: Sequence[str]


def misfit(encoder: TunedEncoder, shape: HeadShape) -> str | None:
    """Return why transformers has no model class for audio classification that computes the same; None if it has."""
    config = encoder.config
    if type(config) not in MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING:
        return f"transformers has no classifier for {encoder.model_type} models"
    name = MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING[type(config)].__name__
    if encoder.longest < float("inf"):
        return f"{name} pools its whole window of {encoder.longest:g} s, not only the frames of the clip"
    if shape.attentive:
        return f"{name} pools by the mean over frames, not by attention (head.pooling)"
    if shape.hidden:
        return f"{name} has no hidden layers in its head (head.hidden)"
    projects = hasattr(config, "classifier_proj_size")
    if projects != bool(shape.projection):
        has = "has a linear layer before its last" if projects else "has no linear layer before its last"
        return f"{name} {has} (head.projection)"
    if shape.states and not hasattr(config, "use_weighted_layer_sum"):
        return f"{name} uses only the last layer (head.layers)"
    return None


def write_plain(
    classifier: Classifier, weights: Mapping[str, Tensor], head: Mapping[str, Tensor], folder: Path
) -> None:
    """Write the model of transformers that computes the same, for ``AutoModelForAudioClassification``.

    Args:
        classifier: one without a ``misfit``.
        weights: of the encoder, by the names of its ``model``.
        head: weights of the head, whose names are those of transformers.
        folder: to be written.
    """
    config = _labelled(classifier)
    kind: Any = MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING[type(config)]
    # The given weights are written, so the model needs none of its own.
    with torch.device("meta"):
        model = kind(config)
    prefix = model.base_model_prefix + "."
    state = {prefix + name: value for name, value in classifier.encoder.plain(weights).items()}
    model.save_pretrained(folder, state_dict=state | dict(head))
    classifier.encoder.save_reading(folder)


def _labelled(classifier: Classifier) -> PretrainedConfig:
    """Return the configuration of a classifier with this encoder."""
    config: PretrainedConfig = copy.deepcopy(classifier.encoder.config)
    config.id2label = dict(enumerate(classifier.classes))
    config.label2id = {name: number for number, name in enumerate(classifier.classes)}
    if classifier.shape.projection:
        config.classifier_proj_size = classifier.shape.projection
    if hasattr(config, "use_weighted_layer_sum"):
        config.use_weighted_layer_sum = classifier.shape.states > 0
    config.problem_type = "single_label_classification"
    return config


def write_head(classifier: Classifier, weights: Mapping[str, Tensor], folder: Path) -> None:
    """Write ``head.safetensors``, and ``head.json`` with the classes and the shape of the head."""
    save_file({name: value.detach().cpu().contiguous() for name, value in weights.items()}, folder / HEAD_WEIGHTS)
    content = {"classes": list(classifier.classes), "shape": asdict(classifier.shape)}
    write_atomically(folder / HEAD_FILE, json.dumps(content, indent=1, ensure_ascii=False))
