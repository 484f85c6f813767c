"""Where a pretraining run starts: a model with a checkpoint's weights, and an account of what was taken from it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from rich.table import Table
from transformers import Wav2Vec2Config, Wav2Vec2ForPreTraining

from nonverbal.errors import UserError
from nonverbal.models.checkpoints import HEAD, MASK, Checkpoint, read_checkpoint
from nonverbal.models.wav2vec2 import Architecture, config_of
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


def start_from(init: str, architecture: Architecture, normalise: bool | None, seed: int) -> Start:
    """Return the model of a checkpoint in float32; what the checkpoint lacks is drawn from ``seed``.

    Raises:
        UserError: it cannot be read, or is of another architecture than the settings'.
    """
    given = architecture != replace(Architecture(), layout=architecture.layout)
    checkpoint = read_checkpoint(init, architecture.heads if given else None)
    config = checkpoint.config
    if given:
        if not checkpoint.has_head:
            config.update({size: getattr(config_of(architecture), size) for size in HEAD_SIZES})
        _check_architecture(config, architecture, init)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed(seed, Stream.INIT))
        model = Wav2Vec2ForPreTraining(config)
    model.load_state_dict(checkpoint.weights, strict=False)
    return Start(model.float(), checkpoint.normalise if normalise is None else normalise, account_of(checkpoint, model))


def account_of(checkpoint: Checkpoint, model: Wav2Vec2ForPreTraining) -> Account:
    """Say which of the model's weights came from the checkpoint, which were drawn, and which found no place."""
    state = model.state_dict()
    groups = {name: [key for key in state if key.startswith(prefix)] for name, prefix in GROUPS.items()}
    groups["encoder"] = [key for key in state if not key.startswith((*HEAD, MASK))]
    rows = []
    for name in ("encoder", *GROUPS):
        keys = groups[name]
        verb = "taken" if keys[0] in checkpoint.weights else "initialised"
        rows.append((verb, name, f"{_weights(keys)}, {sum(state[key].numel() for key in keys):,} parameters"))
    if checkpoint.left_over:
        rows.append(("left over", _first(checkpoint.left_over), _weights(checkpoint.left_over)))
    return Account(checkpoint.source, tuple(rows), checkpoint.notes, None if checkpoint.has_head else NO_QUANTISER)


def _weights(names: Sequence[str]) -> str:
    return f"{len(names)} weight{'s' if len(names) > 1 else ''}"


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _check_architecture(config: Wav2Vec2Config, architecture: Architecture, init: str) -> None:
    wanted = config_of(architecture)
    expected, found = wanted.to_dict(), config.to_dict()
    different = sorted(key for key in wanted.to_diff_dict() if found.get(key) != expected[key])
    if different:
        raise UserError(
            f"wav2vec2.architecture contradicts the checkpoint {init!r} in {', '.join(different)}; leave it out to "
            "take the checkpoint's own"
        )
