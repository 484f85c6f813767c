"""What a family is: how one is pretrained, and how encoders of its kind are read, run and written.

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
"""``(S, M)`` of each layer: what enters the first block, then what leaves each; the last as the encoder gives it."""


@dataclass(frozen=True)
class Format:
    """A format in which encoders of a kind are written, besides a folder for transformers."""

    write: Callable[[Checkpoint, Path], None]
    """Write a file. What it cannot say of the checkpoint raises a ``UserError`` in ``check``."""
    check: Callable[[Checkpoint], None] = lambda _: None
    """Refuse a checkpoint that the format cannot hold: a ``UserError`` that names what, and what keeps it."""
    weights_alone: bool = False
    """Whether the file does not say how clips are read, so that whoever reads it back has to know."""


@dataclass(frozen=True)
class Encoders:
    """A kind of encoder: its checkpoints, whatever objective they were pretrained with."""

    called: str
    """With an article, for messages: "a wav2vec 2.0"."""
    model_types: tuple[str, ...]
    """``model_type`` of the ``config.json`` of folders and names of the Hub that are of this kind."""
    read: Callable[[str, int | None], Checkpoint]
    """Read a folder or name in Hugging Face format, a run, or a file: its source, and the number of attention heads
    where the file does not say it and the user does. A ``UserError`` says why it cannot be read."""
    encoder: Callable[[Checkpoint], Any]
    """Return the encoder with the checkpoint's weights, in evaluation mode: a module that takes ``(1, T)`` waveforms
    and returns hidden states as transformers' do."""
    write: Callable[[Checkpoint, Path], None]
    """Write a folder in Hugging Face format."""
    settings: frozenset[str]
    """Keys of its configuration on which hidden states depend."""
    formats: Mapping[str, Format] = field(default_factory=dict)
    """The formats besides transformers', by the name that ``nonverbal convert --to`` takes."""
    weight_names: tuple[str, ...] = ()
    """Ends of names of weights, one of which every file of weights has that is of this kind."""
    head: str = "head"
    """What pretraining needs besides the encoder, for messages."""
    states: Callable[[Checkpoint, Tensor], tuple[States, str]] | None = None
    """Return the hidden states for ``(1, T)`` by the implementation that the file is of, and its name. Unset: by
    ``encoder``."""
    read_alike: Callable[[Checkpoint, Checkpoint], Sequence[str]] = lambda _, __: ()
    """Let the second checkpoint read clips as the first does; return the settings in which it did not."""
    remarks: Callable[[Checkpoint, Checkpoint], Sequence[str]] = lambda _, __: ()
    """What to say of a conversion of the first checkpoint to the second."""


@dataclass(frozen=True)
class Pretraining:
    """What a family makes of its settings: the objective at its start, and how its data are read."""

    objective: Objective
    sampler: TargetSampler
    """Draws the targets of a micro-batch: the objective's own, or one that looks up more of its rows."""
    contents: Mapping[str, str] = field(default_factory=dict)
    """What is read besides the shards: its path, and the SHA-256 of its content. A run continues on the same alone."""
    note: str = ""
    """What to say of how rows are read."""


def _no_scan(objective: Objective, settings: Any, device: torch.device) -> str | None:
    return None


@dataclass(frozen=True)
class Family:
    """What can be pretrained, as recipes call it."""

    name: str
    """Of the family in ``--family``, and of its group of settings."""
    settings: type[Any]
    """A dataclass whose fields all have defaults."""
    build: Callable[[Any, list[ShardFolder], int, Iterable[str] | None], Pretraining]
    """Return what is pretrained, of settings, folders of shards, seed, and what a run that is continued began with (the
    names of its ``data.json``; None for a new run)."""
    encoders: Encoders
    """The kind of encoder that it pretrains."""
    free: tuple[str, ...] = ()
    """Settings of its group that change nothing of what is learned, and may be others when a run is continued."""
    past: Mapping[str, Any] = field(default_factory=dict)
    """Settings that are not of its group, but of recipes that hold every setting of an earlier version, with their
    default there; nothing depended on them. With that value they are passed over, with another they are unknown."""
    use_scan: Callable[[Objective, Any, torch.device], str | None] = _no_scan
    """Let the objective's model compute its selective scans on a device as the settings ask, and name what computes
    them; None for a model without scans. A ``UserError`` says why it cannot."""
