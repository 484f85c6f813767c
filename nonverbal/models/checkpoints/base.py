"""A checkpoint of any family as it was read, and the account of what a run loads from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table
from torch import Tensor
from transformers import PretrainedConfig


@dataclass(frozen=True)
class Checkpoint:
    """An encoder, with the other weights that pretraining needs if they exist."""

    source: str
    """As the user gave it."""
    format: str
    """Format of the file and of the names of weights: ``transformers``, or the name of a format of the family."""
    config: PretrainedConfig
    """Shape of the model, and how it reads clips; ``model_type`` is the kind of model."""
    weights: dict[str, Tensor]
    """In float32, by the names of the model for pretraining: the whole encoder, and the head as far as it exists."""
    normalise: bool
    """Whether waveforms are normalised to zero mean and unit variance."""
    has_head: bool
    """Whether it has all weights that pretraining needs besides the encoder."""
    left_over: tuple[str, ...] = ()
    """Names of weights that pretraining does not use, such as the head of a recogniser."""
    notes: tuple[str, ...] = ()
    """Notes for the user: what was inferred because the file does not say it, and what was not used."""
    path: Path | None = None
    """The folder or file; None if it came from the Hub."""


@dataclass(frozen=True)
class Account:
    """What happened to a checkpoint's weights."""

    source: str
    rows: tuple[tuple[str, str, str], ...]
    """For each group of weights: what was done with it, its name, and its size."""
    notes: tuple[str, ...]
    """The notes of the checkpoint."""
    warning: str | None
    """Which important weights are missing, and what to do about it."""

    def table(self) -> Table:
        """Return the account as a table for a terminal."""
        table = Table(title=f"starting from {self.source}", title_justify="left")
        for column in ("", "what", "how much"):
            table.add_column(column, overflow="fold")
        for row in self.rows:
            table.add_row(*row)
        return table


def account_of(
    checkpoint: Checkpoint, state: Mapping[str, Tensor], groups: Mapping[str, Sequence[str]], warning: str | None
) -> Account:
    """Report which weights of a model were loaded, which were drawn, and which of the checkpoint were not used.

    Args:
        checkpoint: that the run starts from.
        state: the model's weights, by the checkpoint's names.
        groups: the names of these weights, by part of the model.
        warning: which important weights are missing, and what to do about it.
    """
    rows = []
    for group, names in groups.items():
        taken = [name for name in names if name in checkpoint.weights]
        drawn = [name for name in names if name not in checkpoint.weights]
        for verb, those in (("taken", taken), ("initialised", drawn)):
            if those:
                parameters = sum(state[name].numel() for name in those)
                rows.append((verb, group, f"{_weights(those)}, {parameters:,} parameters"))
    if checkpoint.left_over:
        rows.append(("left over", ", ".join(checkpoint.left_over), _weights(checkpoint.left_over)))
    return Account(checkpoint.source, tuple(rows), checkpoint.notes, warning)


def _weights(names: Sequence[str]) -> str:
    return f"{len(names)} weight{'s' if len(names) > 1 else ''}"
