"""Tiny wav2vec 2.0 checkpoints as fairseq, fairseq2 and transformers write them, with random weights."""

import argparse
import sys
import types
import typing

import torch
from tiny_shapes import WAV2VEC2
from transformers import Wav2Vec2ForPreTraining

from nonverbal.models.checkpoints.weight_names import Layout, renamed
from nonverbal.models.wav2vec2 import Architecture, config_of, export

SIZES = WAV2VEC2 | {"hidden_size": 64}
"""A file that does not say how many heads a model has is taken to have one for 64 channels."""


def model_of(layout="base", **sizes):
    """A model whose biases and norms are random too: drawn as zeros and ones, a mistake would not show."""
    torch.manual_seed(1)
    model = Wav2Vec2ForPreTraining(config_of(Architecture(layout=layout, **SIZES | sizes))).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter += 0.1 * torch.randn_like(parameter)
    return model


def layout_named(layout):
    return Layout(group_norm=layout == "base", pre_norm=layout == "large")


def fairseq_weights(model, layout, prefix=""):
    weights = renamed(model.state_dict(), "transformers", "fairseq", layout_named(layout))
    assert len(weights) == len(model.state_dict())
    return {prefix + name: value for name, value in weights.items()}


def namespace(layout):
    """Configuration as in fairseq's released base model."""
    return argparse.Namespace(
        task="audio_pretraining",
        normalize=layout == "large",
        encoder_attention_heads=4,
        layer_norm_first=layout == "large",
    )


def omegaconf_like(layout):
    """Configuration whose classes live in omegaconf and fairseq, with nodes that point to their parents."""
    values = {"task": {"normalize": layout == "large"}, "model": {"encoder_attention_heads": 4}}
    root = made("omegaconf.dictconfig", "DictConfig")
    root._ref_type = typing.Any
    root._content, root.type = {}, made("fairseq.dataclass.configs", "FairseqConfig")
    for group, content in values.items():
        child = made("omegaconf.dictconfig", "DictConfig")
        child._parent, child._content = root, {}
        for key, value in content.items():
            child._content[key] = made("omegaconf.nodes", "AnyNode")
            child._content[key]._val, child._content[key]._parent = value, child
        root._content[group] = child
    return root


def made(module, name):
    """An instance of a class that pickles under a module's name, which is forgotten by ``forget``."""
    parts = module.split(".")
    for i in range(1, len(parts) + 1):
        sys.modules.setdefault(".".join(parts[:i]), types.ModuleType(".".join(parts[:i])))
    if not hasattr(sys.modules[module], name):
        setattr(sys.modules[module], name, type(name, (), {"__module__": module}))
    return getattr(sys.modules[module], name)()


def forget():
    """Remove the packages that ``made`` made up: reading must do without them."""
    for name in [name for name in sys.modules if name.split(".")[0] in ("omegaconf", "fairseq")]:
        del sys.modules[name]


def save_fairseq(path, layout="base", zipped=True, configuration=namespace, prefix="", model=None, **more):
    model = model_of(layout) if model is None else model
    state = {
        "args": configuration(layout),
        "model": fairseq_weights(model, layout, prefix),
        "extra_state": {"epoch": 3},
    }
    state["model"] |= more
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    forget()
    return model


def save_transformers(folder, layout="base"):
    model = model_of(layout)
    export(model, model.state_dict(), layout == "large", folder)
    return model
