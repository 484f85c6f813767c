"""Opens classifiers: folders written here, and models of transformers that compute the same."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForAudioClassification

from nonverbal.errors import UserError
from nonverbal.files import read_json
from nonverbal.models.checkpoints.hugging_face import load, misshapen, place_of, refuse_not_finite
from nonverbal.models.checkpoints.quiet import quiet
from nonverbal.models.classifier_heads import ClassifierHead, HeadShape
from nonverbal.models.tuned.base import TunedEncoder
from nonverbal.models.tuned.opening import open_tuned
from nonverbal.models.tuned.settings import TunedSettings
from nonverbal.objectives.classification import ClassificationObjective, ClassifierSettings
from nonverbal.objectives.classifier_files import HEAD_FILE, HEAD_WEIGHTS, misfit

REMEDY = "nonverbal finetune writes a classifier to RUN/model with --final"

LARGEST = 1 << 20
"""Largest size of a layer of a head."""


class Head(NamedTuple):
    """A head as it was read."""

    classes: list[str]
    shape: HeadShape
    weights: dict[str, Tensor]
    """By the names of ``ClassifierHead``."""


def open_classifier(source: str) -> ClassificationObjective:
    """Return a classifier for inference: in float32, on the CPU, with frozen weights and without dropout.

    Args:
        source: a folder written by ``ClassificationObjective.export``, or a folder or Hub id of one of transformers'
            models for audio classification that computes the same as a classifier of ours.

    Raises:
        UserError: it cannot be read, or is not such a model.
    """
    with quiet():
        folder = place_of(source)
        if folder is not None and folder.is_file():
            raise UserError(f"{source} is a file, but a classifier is a folder in Hugging Face format; {REMEDY}")
        encoder = open_tuned(source, TunedSettings(train="head"), seed=0)
        beside = folder is not None and (folder / HEAD_FILE).is_file()
        head = _beside(folder) if folder is not None and beside else _of_transformers(source, folder, encoder)
    _check(source, head, encoder)
    objective = ClassificationObjective(encoder, head.classes, _settings(head.shape), seed=0)
    objective.head.load_state_dict(head.weights)
    return objective.eval()


def _settings(shape: HeadShape) -> ClassifierSettings:
    return ClassifierSettings(
        pooling="attentive" if shape.attentive else "mean",
        layers="weighted" if shape.states else "last",
        projection=shape.projection,
        hidden=list(shape.hidden),
        dropout=shape.dropout,
    )


def _check(source: str, head: Head, encoder: TunedEncoder) -> None:
    """Refuse a head that does not fit the encoder, or whose weights do not have its shape."""
    shape = head.shape
    if shape.width != encoder.width or shape.states not in (0, encoder.layers + 1):
        raise UserError(
            f"the head of {source} is for {shape.width} values per frame and {shape.states or 1} layers, but its "
            f"encoder has {encoder.width} values and {encoder.layers + 1} layers; export or copy it again"
        )
    with torch.device("meta"):
        expected = {name: value.shape for name, value in ClassifierHead(shape).state_dict().items()}
    if head.weights.keys() != expected.keys() or misshapen(head.weights, expected):
        wrong = sorted(head.weights.keys() ^ expected.keys()) or misshapen(head.weights, expected)
        raise UserError(
            f"the weights of the head of {source} do not have the shape of the head: {', '.join(wrong[:4])}; {REMEDY}"
        )
    refuse_not_finite(source, head.weights)


def _beside(folder: Path) -> Head:
    """Read ``head.json`` and ``head.safetensors``."""
    path = folder / HEAD_FILE
    try:
        content = read_json(path)
        classes, shape = _read_content(content)
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{path} does not describe a head ({' '.join(str(error).split())}); {REMEDY}") from error
    try:
        weights = load_file(folder / HEAD_WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{folder / HEAD_WEIGHTS} cannot be read ({error}); export or copy it again") from error
    if len(shape.hidden) > len(weights):
        raise UserError(f"{path} has {len(shape.hidden)} hidden layers, but {HEAD_WEIGHTS} lacks them; {REMEDY}")
    return Head(classes, shape, weights)


def _read_content(content: Any) -> tuple[list[str], HeadShape]:
    """Return the classes and the shape in ``head.json``.

    Raises:
        ValueError: something is missing, has another type, or is out of range.
    """
    if not isinstance(content, dict) or content.keys() != {"classes", "shape"}:
        raise ValueError("it is not an object with classes and shape")
    given, usual = content["shape"], asdict(HeadShape(width=1, classes=2))
    if not isinstance(given, dict) or given.keys() != usual.keys():
        raise ValueError(f"its shape is not an object with {', '.join(usual)}")
    given = given | {"hidden": tuple(given["hidden"]) if isinstance(given["hidden"], list) else given["hidden"]}
    for name, value in given.items():
        if type(value) is not type(usual[name]):
            raise ValueError(f"{name} is {value!r}")
    shape = HeadShape(**given)
    sizes = [(shape.width, 1), (shape.states, 0), (shape.projection, 0), *((size, 1) for size in shape.hidden)]
    fit = all(type(size) is int and least <= size <= LARGEST for size, least in sizes)
    if not fit or not 0 <= shape.dropout < 1:
        raise ValueError(f"its shape is {shape}")
    return _classes(content["classes"], shape.classes), shape


def _classes(names: Any, count: int) -> list[str]:
    """Return the names of ``count`` classes.

    Raises:
        ValueError: ``count`` is below two, or ``names`` is not a list of ``count`` distinct strings.
    """
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("the names of its classes are not a list of strings")
    if count < 2 or len(names) != count or len(set(names)) != count:
        raise ValueError(f"it has {count} classes, but {len(names)} names, {len(set(names))} of them distinct")
    return names


def _of_transformers(source: str, folder: Path | None, encoder: TunedEncoder) -> Head:
    """Read the head of a model of transformers that computes the same as a head of ours."""
    loaded = load(source, folder, AutoModelForAudioClassification)
    config, prefix = loaded.model.config, f"{loaded.model.base_model_prefix}."
    if lacking := [name for name in loaded.missing if not name.startswith(prefix)]:
        raise UserError(
            f"{source} is not a classifier, because it has no {', '.join(lacking[:3])}; fine-tune it: nonverbal "
            f"finetune --init {source} --final writes a classifier to RUN/model"
        )
    shape = HeadShape(
        encoder.width,
        config.num_labels,
        states=encoder.layers + 1 if getattr(config, "use_weighted_layer_sum", False) else 0,
        projection=getattr(config, "classifier_proj_size", 0),
    )
    if why := misfit(encoder, shape):
        raise UserError(f"{source} is not a classifier that can be used here: {why}; {REMEDY}")
    if config.problem_type not in (None, "single_label_classification"):
        raise UserError(
            f"the configuration of {source} has problem_type: {config.problem_type!r}; expected a classifier that "
            "assigns one class per clip (single_label_classification)"
        )
    try:
        classes = _classes([config.id2label.get(number) for number in range(config.num_labels)], config.num_labels)
    except ValueError as error:
        raise UserError(f"the id2label in the configuration of {source} cannot be read: {error}") from error
    state = loaded.model.state_dict()
    return Head(classes, shape, {name: value for name, value in state.items() if not name.startswith(prefix)})
