"""A checkpoint as it was found, of whatever family, and the account of what a run takes from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table
from torch import Tensor
from transformers import PretrainedConfig


@dataclass(frozen=True)
class Checkpoint:
    """An encoder, and what else pretraining needs where that is there too."""

    source: str
    """As the user gave it."""
    format: str
    """Whose names and file it has: ``transformers``, or the name of one of the formats of its family."""
    config: PretrainedConfig
    """Its shape, and how it reads clips; ``model_type`` says which model it is of."""
    weights: dict[str, Tensor]
    """In float32, under the names of the model that is pretrained: the whole encoder, and of its head what is there."""
    normalise: bool
    """Whether its waveforms have zero mean and unit variance."""
    has_head: bool
    """Whether all is there that pretraining needs besides the encoder."""
    left_over: tuple[str, ...] = ()
    """Weights that have no place in pretraining, such as the head of a recogniser."""
    notes: tuple[str, ...] = ()
    """What the file does not say, and was inferred; what was not taken of it; what is worth knowing of it."""
    path: Path | None = None
    """The folder or file, where it is one; otherwise it came from the Hub."""


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


def account_of(
    checkpoint: Checkpoint, state: Mapping[str, Tensor], groups: Mapping[str, Sequence[str]], warning: str | None
) -> Account:
    """Say which weights of a model came from the checkpoint, which were drawn, and which found no place.

    Args:
        checkpoint: where the run starts.
        state: the model's weights, under the checkpoint's names.
        groups: the names of these weights by what they are of.
        warning: what is missing and matters.
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
