"""The record of a family: how it is pretrained, and how encoders of its kind are read, run and written.

Shapes: S frames, M width.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nonverbal.batch import TargetSampler
from nonverbal.data.index import ShardFolder
from nonverbal.models.checkpoints.base import Checkpoint
from nonverbal.objectives.base import Objective

States = list[Tensor]
"""``(S, M)`` per layer: the input of the first block, then the output of each; the last is the encoder's output."""


@dataclass(frozen=True)
class Format:
    """A format in which encoders of a kind can be written, besides a folder for transformers."""

    write: Callable[[Checkpoint, Path], None]
    """Write a file. ``check`` has already refused checkpoints that it cannot represent."""
    check: Callable[[Checkpoint], None] = lambda _: None
    """Raise a ``UserError`` for a checkpoint that the format cannot represent. It names the reason and a format that
    can."""
    weights_alone: bool = False
    """Whether the file does not contain how clips are read, so that its reader has to know."""


@dataclass(frozen=True)
class Encoders:
    """A kind of encoder and its checkpoints, whatever the objective of their pretraining."""

    called: str
    """Name for messages, with an article: "a wav2vec 2.0"."""
    model_types: tuple[str, ...]
    """``model_type`` in ``config.json`` of folders and Hub repositories of this kind."""
    read: Callable[[str, int | None], Checkpoint]
    """Read a source: a folder or Hub id in Hugging Face format, a run, or a file. The second argument is the number of
    attention heads if the user gives it, for files that do not contain it. Raises a ``UserError`` that says why it
    cannot be read."""
    encoder: Callable[[Checkpoint], Any]
    """Return the encoder with the checkpoint's weights, in evaluation mode: a module that takes ``(1, T)`` waveforms
    and returns hidden states as transformers' do."""
    write: Callable[[Checkpoint, Path], None]
    """Write a folder in Hugging Face format."""
    settings: frozenset[str]
    """Keys of the configuration on which hidden states depend."""
    formats: Mapping[str, Format] = field(default_factory=dict)
    """The formats besides that of transformers, by the name that ``nonverbal convert --to`` takes."""
    weight_names: tuple[str, ...] = ()
    """Suffixes of names of weights. Every file of weights of this kind has a name with one of them."""
    head: str = "head"
    """The weights that pretraining needs besides the encoder, for messages."""
    states: Callable[[Checkpoint, Tensor], tuple[States, str]] | None = None
    """Return the hidden states for ``(1, T)``, computed by the implementation that the file comes from, and its name.
    Unset: computed by ``encoder``."""
    read_alike: Callable[[Checkpoint, Checkpoint], Sequence[str]] = lambda _, __: ()
    """Make the second checkpoint read clips as the first does; return the settings in which it differed."""
    remarks: Callable[[Checkpoint, Checkpoint], Sequence[str]] = lambda _, __: ()
    """Remarks to print about a conversion from the first checkpoint to the second."""


@dataclass(frozen=True)
class Pretraining:
    """What a family builds from its settings: the initial objective, and how its data are read."""

    objective: Objective
    sampler: TargetSampler
    """Draws the targets of a micro-batch: the objective's own sampler, or one that also looks up values of its rows."""
    contents: Mapping[str, str] = field(default_factory=dict)
    """Files read besides the shards: path to SHA-256 of the content. A run continues only with the same content."""
    note: str = ""
    """Note to print about how rows are read."""


def _no_scan(objective: Objective, settings: Any, device: torch.device) -> str | None:
    return None


@dataclass(frozen=True)
class Family:
    """An encoder with an objective that can be pretrained."""

    name: str
    """Name of the family for ``--family``, and of its group of settings."""
    settings: type[Any]
    """A dataclass whose fields all have defaults."""
    build: Callable[[Any, list[ShardFolder], int, Iterable[str] | None], Pretraining]
    """Build the pretraining from settings, folders of shards, seed, and the names in the ``data.json`` of a run that is
    continued (None for a new run)."""
    encoders: Encoders
    """The kind of encoder that it pretrains."""
    free: tuple[str, ...] = ()
    """Settings of its group that do not affect what is learned, and so may differ when a run is continued."""
    past: Mapping[str, Any] = field(default_factory=dict)
    """Removed settings that never had an effect, with their former default. Recipes written by an earlier version
    contain them. With that value they are ignored; with another they are unknown settings."""
    use_scan: Callable[[Objective, Any, torch.device], str | None] = _no_scan
    """Choose the implementation of the model's selective scans on a device as set in the settings, and return its
    name; None for a model without scans. Raises a ``UserError`` if it cannot run there."""
