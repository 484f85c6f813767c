"""wav2vec 2.0 (Baevski et al., 2020), and checkpoints of its encoder, which HuBERT shares."""

import re
from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import Wav2Vec2ForPreTraining, Wav2Vec2Model

from nonverbal.data.index import ShardFolder
from nonverbal.families import fairseq
from nonverbal.families.base import Encoders, Family, Format, Pretraining, States
from nonverbal.families.hidden_states import states_of
from nonverbal.models.checkpoints.base import Checkpoint
from nonverbal.models.checkpoints.config_keys import FUNCTION, ONLY
from nonverbal.models.checkpoints.hugging_face import load
from nonverbal.models.checkpoints.reading import read_checkpoint
from nonverbal.models.checkpoints.weight_names import FIRST
from nonverbal.models.wav2vec2 import export
from nonverbal.objectives.contrastive import Wav2Vec2Settings, build_objective

PREFIX = "wav2vec2."
"""Prefix of the encoder's names of weights in a model with a head."""


def build(
    settings: Wav2Vec2Settings, folders: list[ShardFolder], seed: int, begun: Iterable[str] | None
) -> Pretraining:
    """Build a pretraining that reads only the shards."""
    objective = build_objective(settings, seed)
    return Pretraining(objective, objective.target_sampler)


def encoder(checkpoint: Checkpoint) -> Any:
    """Return transformers' wav2vec 2.0 in evaluation mode."""
    model = Wav2Vec2Model(checkpoint.config)
    weights = {name.removeprefix(PREFIX): value for name, value in checkpoint.weights.items()}
    model.load_state_dict({name: value for name, value in weights.items() if name in model.state_dict()}, strict=False)
    return model.eval()


def states(checkpoint: Checkpoint, inputs: Tensor) -> tuple[States, str]:
    """Return hidden states, computed by transformers for its folders, by fairseq2 if installed, or by our encoder."""
    if checkpoint.format == "transformers" and checkpoint.path is not None and checkpoint.path.is_dir():
        loaded = load(checkpoint.source, checkpoint.path)
        # transformers does not find weights with a wrapper's prefix, such as _orig_mod., and draws random ones.
        if all(name.endswith("masked_spec_embed") for name in loaded.missing):
            # Loaded weights may begin at any byte of the file, which changes the order of sums; copies do not.
            return states_of(deepcopy(loaded.model).eval(), inputs), "transformers"
    if checkpoint.format == "fairseq2" and fairseq.fairseq2_is_here():
        return fairseq.fairseq2_states(checkpoint, inputs), "fairseq2"
    return states_of(encoder(checkpoint), inputs), "transformers"


def write(checkpoint: Checkpoint, folder: Path) -> None:
    """Write a folder for transformers. Without quantiser and projections, only the encoder is written."""
    with torch.random.fork_rng(devices=[]):
        model = (Wav2Vec2ForPreTraining if checkpoint.has_head else Wav2Vec2Model)(checkpoint.config)
    weights = {
        name if checkpoint.has_head else re.sub(rf"^{re.escape(PREFIX)}", "", name): value
        for name, value in checkpoint.weights.items()
    }
    export(model, weights, checkpoint.normalise, folder)


def remarks(source: Checkpoint, result: Checkpoint) -> list[str]:
    """Say how a file of fairseq was read."""
    if "fairseq" not in (source.format, result.format):
        return []
    return ["fairseq itself cannot be installed beside nonverbal, so the file was compared in transformers' model"]


ENCODERS = Encoders(
    called="a wav2vec 2.0",
    model_types=("wav2vec2", "hubert"),
    weight_names=tuple(FIRST.values()),
    read=read_checkpoint,
    encoder=encoder,
    write=write,
    settings=frozenset(FUNCTION | {key for key, accepted in ONLY.items() if None not in accepted}),
    formats={
        "fairseq": Format(fairseq.write_fairseq, fairseq.check_fairseq),
        "fairseq2": Format(fairseq.write_fairseq2, fairseq.check_fairseq2),
    },
    head="quantiser and projections",
    states=states,
    remarks=remarks,
)

FAMILY = Family(name="wav2vec2", settings=Wav2Vec2Settings, build=build, encoders=ENCODERS)
