"""Batches for encoders that are fine-tuned, and a loss whose gradient is any."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from nonverbal.batch import Batch, Targets

NONE: dict[str, Any] = dict.fromkeys(
    ("hidden_dropout", "attention_dropout", "activation_dropout", "feature_dropout", "layer_drop"), 0.0
)
"""Settings under which nothing is dropped."""


def noise(samples: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(seed))


def batch_of(rows: Sequence[Tensor], tensors: Mapping[str, Tensor] | None = None, step: int = 0) -> Batch:
    lengths = torch.tensor([len(row) for row in rows])
    waveforms = torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True)
    padded = bool((lengths < waveforms.shape[1]).any())
    targets = Targets(len(rows), dict(tensors or {}))
    return Batch(waveforms, lengths, [""] * len(rows), targets, seed=0, step=step, position=0, padded=padded)


def directed(hidden: Any, first: int = 0) -> Tensor:
    """The states' product with directions that are drawn for each row and layer, over the rows' own frames.

    Args:
        hidden: states, and which frames are a row's own.
        first: the row that the first one is.
    """
    total = torch.zeros(())
    for layer, state in enumerate(hidden.states):
        for row, frames in enumerate(state):
            own = frames if hidden.valid is None else frames[hidden.valid[row]]
            draw = torch.Generator().manual_seed(1000 * layer + first + row)
            total = total + (own * torch.randn(own.shape, generator=draw)).sum()
    return total
