"""What an encoder is to fine-tuning, whatever computes it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from nonverbal.batch import Batch
from nonverbal.models.checkpoints.base import Account
from nonverbal.models.parts import Part


@dataclass(frozen=True)
class Hidden:
    """What an encoder says of a batch."""

    states: list[Tensor]
    """``(N, S, M)`` of each layer, layers + 1 of them."""
    valid: Tensor | None
    """``(N, S)`` bool, frames that are a row's own; None where all are."""


class TunedEncoder(nn.Module):
    """An encoder that is fine-tuned."""

    source: str
    model_type: str
    model: Any
    layers: int
    width: int
    shortest: int
    longest: float
    normalise: bool
    account: Account
    config: Any

    def forward(self, batch: Batch) -> Hidden:
        """Return the hidden states of float32 waveforms."""
        raise NotImplementedError

    def frames(self, lengths: np.ndarray) -> np.ndarray:
        """Return how many frames rows of so many samples give."""
        raise NotImplementedError

    def learn_mask(self) -> None:
        """Train the mask embedding."""
        raise NotImplementedError

    def part(self, name: str) -> Part:
        """Return where a parameter stands."""
        raise NotImplementedError

    def plain(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights of the plain model of transformers."""
        raise NotImplementedError

    def save_reading(self, folder: Path) -> None:
        """Write the feature extractor."""
        raise NotImplementedError

    def save(self, folder: Path, weights: Mapping[str, Tensor]) -> None:
        """Write the encoder in Hugging Face format."""
        raise NotImplementedError
