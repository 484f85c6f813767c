"""Where a pretraining run starts: a model with a checkpoint's weights, and an account of what was taken from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from rich.table import Table
from transformers import HubertModel, PretrainedConfig, Wav2Vec2ForPreTraining

from nonverbal.errors import UserError
from nonverbal.models.checkpoints.reading import (
    HEAD,
    MASK,
    Checkpoint,
    Family,
    read_checkpoint,
    refuse_not_finite,
    with_mask,
)
from nonverbal.models.wav2vec2 import Architecture, config_of, encoder_options
from nonverbal.seeding import Stream, torch_seed

GROUPS = {"quantiser": "quantizer.", "projections": "project_", "mask embedding": MASK}
"""What pretraining has besides the encoder."""

NO_QUANTISER = (
    "the checkpoint has no quantiser: codes and projections start at random, and disturb the encoder until they have "
    "learned; with --wav2vec2.warm_quantiser_steps 1000, say, they learn alone at first"
)

HEAD_SIZES = ("num_codevector_groups", "num_codevectors_per_group", "codevector_dim", "proj_codevector_dim")


@dataclass(frozen=True)
class Account:
    """What became of a checkpoint's weights."""

    source: str
    rows: tuple[tuple[str, str, str], ...]
    """What was done, with what, and how much of it."""
    notes: tuple[str, ...]
    """What the checkpoint does not say."""
    warning: str | None
    """What is missing and matters, and what to do about it."""

    def table(self) -> Table:
        """Return what was done, for a terminal."""
        table = Table(title=f"starting from {self.source}", title_justify="left")
        for column in ("", "what", "how much"):
            table.add_column(column, overflow="fold")
        for row in self.rows:
            table.add_row(*row)
        return table


@dataclass(frozen=True)
class Start:
    """A model to train."""

    model: Wav2Vec2ForPreTraining
    normalise: bool
    account: Account


@dataclass(frozen=True)
class EncoderStart:
    """A HuBERT to train, which has no head of its own."""

    model: HubertModel
    normalise: bool
    account: Account


def start_from(init: str, architecture: Architecture, normalise: bool | None, seed: int) -> Start:
    """Return the model of a checkpoint in float32; what the checkpoint lacks is drawn from ``seed``.

    Raises:
        UserError: it cannot be read, has values that are no numbers, or is of another architecture than the settings'.
    """
    checkpoint = _read(init, architecture, "wav2vec2")
    if architecture != replace(Architecture(), layout=architecture.layout):
        if not checkpoint.has_head:
            checkpoint.config.update({size: getattr(config_of(architecture), size) for size in HEAD_SIZES})
        wanted = config_of(architecture)
        _check_architecture(checkpoint, wanted, set(wanted.to_diff_dict()), "wav2vec2")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed(seed, Stream.INIT))
        model = Wav2Vec2ForPreTraining(with_mask(checkpoint.config))
    model.load_state_dict(checkpoint.weights, strict=False)
    account = account_of(checkpoint, model.state_dict(), None if checkpoint.has_head else NO_QUANTISER)
    return Start(model.float(), checkpoint.normalise if normalise is None else normalise, account)


def hubert_from(init: str, architecture: Architecture, normalise: bool | None, seed: int) -> EncoderStart:
    """Return the encoder of a checkpoint as a HuBERT in float32; a mask embedding that it lacks is drawn from ``seed``.

    Raises:
        UserError: as ``start_from``.
    """
    checkpoint = _read(init, architecture, "hubert")
    if architecture != replace(Architecture(), layout=architecture.layout):
        options = encoder_options(architecture)
        _check_architecture(checkpoint, type(checkpoint.config)(**options), set(options), "hubert")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed(seed, Stream.INIT))
        model = HubertModel(with_mask(checkpoint.config))
    prefix = "wav2vec2."
    weights = {name.removeprefix(prefix): value for name, value in checkpoint.weights.items()}
    model.load_state_dict(weights, strict=False)
    state = {prefix + name: value for name, value in model.state_dict().items()}
    return EncoderStart(
        model.float(), checkpoint.normalise if normalise is None else normalise, account_of(checkpoint, state, None)
    )


def _read(init: str, architecture: Architecture, family: Family) -> Checkpoint:
    given = architecture != replace(Architecture(), layout=architecture.layout)
    checkpoint = read_checkpoint(init, architecture.heads if given else None, family)
    refuse_not_finite(init, checkpoint.weights)
    return checkpoint


def account_of(checkpoint: Checkpoint, state: Mapping[str, Any], warning: str | None) -> Account:
    """Say which weights of a model came from the checkpoint, which were drawn, and which found no place.

    Args:
        checkpoint: where it starts.
        state: the model's weights, under ``Wav2Vec2ForPreTraining``'s names.
        warning: what is missing and matters.
    """
    groups = {"encoder": [key for key in state if not key.startswith((*HEAD, MASK))]}
    groups |= {name: [key for key in state if key.startswith(prefix)] for name, prefix in GROUPS.items()}
    rows = []
    for name, keys in groups.items():
        if keys:
            verb = "taken" if keys[0] in checkpoint.weights else "initialised"
            rows.append((verb, name, f"{_weights(keys)}, {sum(state[key].numel() for key in keys):,} parameters"))
    if checkpoint.left_over:
        rows.append(("left over", ", ".join(checkpoint.left_over), _weights(checkpoint.left_over)))
    return Account(checkpoint.source, tuple(rows), checkpoint.notes, warning)


def _weights(names: Sequence[str]) -> str:
    return f"{len(names)} weight{'s' if len(names) > 1 else ''}"


def _check_architecture(checkpoint: Checkpoint, wanted: PretrainedConfig, keys: set[str], group: str) -> None:
    expected, found = wanted.to_dict(), checkpoint.config.to_dict()
    different = sorted(key for key in keys if found.get(key) != expected[key])
    if different:
        raise UserError(
            f"{group}.architecture contradicts the checkpoint {checkpoint.source!r} in {', '.join(different)}; leave "
            "it out to take the checkpoint's own"
        )
