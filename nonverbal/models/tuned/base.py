"""What every encoder shares that fine-tuning trains: what of it is trained, what hides frames, and how it is written.

Shapes: N rows, T samples, S frames, M width.
"""

import copy
import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from nonverbal.batch import Batch
from nonverbal.errors import UserError
from nonverbal.models.blocks import kept_layers
from nonverbal.models.checkpoints.base import Account
from nonverbal.models.parts import Part
from nonverbal.models.tuned import adapters
from nonverbal.models.tuned.settings import DROPOUTS, TunedSettings
from nonverbal.models.wav2vec2 import NO_DROPOUT, Counts, EncoderDropouts


@dataclass(frozen=True)
class Hidden:
    """Hidden states of a batch."""

    states: list[Tensor]
    """``(N, S, M)`` of each layer: what enters the first block, then what leaves each; the last as the encoder gives
    it, after a LayerNorm that ends it."""
    valid: Tensor | None
    """``(N, S)`` bool, whether a frame is a row's own; None where all are."""


@dataclass(frozen=True)
class Opened:
    """An encoder's model in float32, and what was taken of its source."""

    source: str
    """As the user gave it."""
    model: Any
    normalise: bool
    """Whether waveforms are brought to zero mean and unit variance."""
    account: Account
    extractor: Any = None
    """transformers' feature extractor, of a model that reads spectrograms."""


class TunedEncoder(nn.Module):
    """An encoder of which all hidden states can be had, and that can be trained; a subclass a way of computing.

    Each row of a padded batch is computed as if it were alone. Every trainable parameter gets a gradient from the loss
    of any batch, if only one of zero.
    """

    dropout_keys: ClassVar[Mapping[str, str]]
    """Settings of dropout that the kind has, to the keys of its configuration."""
    mask_embedding: ClassVar[str | None] = None
    """Name, in the model, of the parameter that stands for hidden frames; None where they are zero."""
    constant: ClassVar[tuple[str, ...]] = ()
    """Beginnings of the names, in the model, of what is never trained."""
    adaptable: ClassVar[tuple[str, ...]]
    """Ends of the names of the maps that get an adapter where the settings name none."""
    unadaptable: ClassVar[tuple[str, ...]] = ()
    """Ends of the names of maps whose weights are read without a call, so that an adapter would not be heeded."""

    def __init__(self, opened: Opened, settings: TunedSettings, seed: int) -> None:
        """Take a model, and freeze what is not trained.

        Args:
            opened: the model, and where it is from.
            settings: what is trained, and how.
            seed: draws the adapters.

        Raises:
            UserError: the settings ask for what the model does not have.
        """
        super().__init__()
        self.source, self.normalise, self.account = opened.source, opened.normalise, opened.account
        self.model, self.extractor = opened.model, opened.extractor
        self.config = opened.model.config
        self.model_type = str(self.config.model_type)
        self.settings = settings
        self.dropouts = self._dropouts()
        if settings.train == "last" and settings.last_layers > self.layers:
            raise UserError(
                f"encoder.last_layers is {settings.last_layers}, but {self.source} has {self.layers} blocks"
            )
        if settings.train == "lora":
            adapters.inject(self.model, self.source, settings.lora, self.adaptable, self.unadaptable, seed)
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(self._is_trained(name))
        self.model.train()

    @property
    def layers(self) -> int:
        """Blocks."""
        return int(self.config.num_hidden_layers)

    @property
    def width(self) -> int:
        """Values of a frame, as given."""
        return int(self.config.hidden_size)

    @property
    @abstractmethod
    def shortest(self) -> int:
        """Samples of the first frame."""

    @property
    def longest(self) -> float:
        """Seconds that it takes at once."""
        return math.inf

    @abstractmethod
    def frames(self, lengths: Counts) -> Counts:
        """Return how many frames are a row's own, of its samples. Reads no parameter."""

    def without_model(self) -> Self:
        """Return what counts frames as this does, and holds no parameters: it travels to data workers."""
        alone = copy.copy(self)
        alone._modules = {}
        return alone

    @abstractmethod
    def forward(self, batch: Batch) -> Hidden:
        """Return all hidden states of a batch.

        Tensors ``time_mask`` ``(N, S)`` bool and ``feature_mask`` ``(N, M)`` bool among its targets', where there,
        hide frames and features of what enters the first block, before it has positions.
        """

    @abstractmethod
    def plain_part(self, name: str) -> Part:
        """Return the part of a parameter by its name in the model."""

    @abstractmethod
    def save_reading(self, folder: Path) -> None:
        """Write the feature extractor."""

    def part(self, name: str) -> Part:
        """Return the part of a parameter by its name in this module."""
        return self.plain_part(name.removeprefix("model."))

    def learn_mask(self) -> None:
        """Train the mask embedding, where it and what else is trained ask for it: batches will have time masks.

        Without them it would get no gradient, so it is frozen at first.
        """
        if self.mask_embedding is not None and self.settings.train in ("all", "no_convolutions"):
            self.model.get_parameter(self.mask_embedding).requires_grad_(True)

    def plain(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return weights under the names of transformers' own model, adapters merged.

        Args:
            weights: by the names of ``self.model``.
        """
        if self.settings.train != "lora":
            return dict(weights)
        return adapters.merged(weights, self.settings.lora)

    def save(self, folder: Path, weights: Mapping[str, Tensor]) -> None:
        """Write the encoder alone in Hugging Face format, with its feature extractor.

        Args:
            folder: to be written.
            weights: by the names of ``self.model``.
        """
        with torch.device("meta"):
            plain = type(self.model)(self.config)
        plain.save_pretrained(folder, state_dict=self.plain(weights))
        self.save_reading(folder)

    def shares(self) -> EncoderDropouts:
        """Return what is dropped now: nothing but in training mode."""
        return self.dropouts if self.training else NO_DROPOUT

    def kept(self, batch: Batch) -> Sequence[bool]:
        """Return of each block whether the batch's step runs it."""
        return kept_layers(batch, self.layers, self.shares().layer)

    def valid(self, batch: Batch, longest: int) -> Tensor | None:
        """Return ``(N, S)`` bool, whether a frame is the row's own, of ``longest``; None where all are."""
        if not batch.padded:
            return None
        return torch.arange(longest, device=batch.lengths.device) < self.frames(batch.lengths)[:, None]

    def hide(self, hidden: Tensor, batch: Batch) -> Tensor:
        """Return ``(N, ..., S, M)`` without the frames and features that the batch's masks hide."""
        tensors, between = batch.targets.tensors, (1,) * (hidden.ndim - 3)
        if (mask := tensors.get("time_mask")) is not None:
            name = self.mask_embedding
            instead = hidden.new_zeros(()) if name is None else self.model.get_parameter(name).to(hidden.dtype)
            hidden = torch.where(mask.view(len(mask), *between, -1, 1), instead, hidden)
        if (mask := tensors.get("feature_mask")) is not None:
            hidden = hidden.masked_fill(mask.view(len(mask), *between, 1, -1), 0)
        return hidden

    def _is_trained(self, name: str) -> bool:
        """Whether the settings ask for a parameter, by its name in the model, that batches without masks train."""
        if name == self.mask_embedding or name.startswith(self.constant):
            return False
        part = self.plain_part(name)
        match self.settings.train:
            case "all":
                return True
            case "no_convolutions":
                return part.kind != "conv"
            case "last":
                return part.kind == "transformer" and part.depth < self.settings.last_layers
            case "lora":
                return adapters.is_adapter(name)
            case "head":
                return False

    def _dropouts(self) -> EncoderDropouts:
        """Return the settings' shares; the checkpoint's where they are unset."""
        found = {}
        for setting, share in zip(DROPOUTS, EncoderDropouts.__dataclass_fields__, strict=True):
            asked, key = getattr(self.settings, setting), self.dropout_keys.get(setting)
            if key is None and asked:
                raise UserError(
                    f"encoder.{setting} is {asked}, but {self.source}, a {self.model_type!r} model, drops nothing "
                    "there: leave it out"
                )
            found[share] = (getattr(self.config, key) if key else 0.0) if asked is None else asked
        for share, value in found.items():
            if not isinstance(value, int | float) or not 0 <= value < 1:
                raise UserError(f"{self.source}: its configuration drops {value!r} ({share}), not a share in [0, 1)")
        return EncoderDropouts(**found)


def at_least(counts: Counts, least: int) -> Counts:
    """Return counts, those below ``least`` raised to it."""
    if isinstance(counts, Tensor):
        return counts.clamp(min=least)
    if isinstance(counts, int):
        return max(counts, least)
    raised: np.ndarray = np.maximum(counts, least)
    return raised
