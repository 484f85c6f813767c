"""What all encoders for fine-tuning share: which weights are trained, how frames are masked, and how they are saved.

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
    """``(N, S, M)`` per layer: the input of the first block, then the output of each block. The last is the output of
    the encoder, after its final LayerNorm if it has one."""
    valid: Tensor | None
    """``(N, S)`` bool, False for padding; None without padding."""


@dataclass(frozen=True)
class Opened:
    """An encoder's model in float32, and what was loaded from its source."""

    source: str
    """As the user gave it."""
    model: Any
    normalise: bool
    """Whether waveforms are normalised to zero mean and unit variance."""
    account: Account
    extractor: Any = None
    """transformers' feature extractor, for a model of spectrograms."""


class TunedEncoder(nn.Module):
    """A trainable encoder that returns all its hidden states. There is one subclass per forward pass.

    Each row of a padded batch is computed as if it were alone. Every trainable parameter gets a gradient from the loss
    of any batch, even if it is zero.
    """

    dropout_keys: ClassVar[Mapping[str, str]]
    """The dropout settings that the kind has, mapped to the keys of its configuration."""
    mask_embedding: ClassVar[str | None] = None
    """Name, in the model, of the parameter that replaces masked frames; None if they are set to zero."""
    constant: ClassVar[tuple[str, ...]] = ()
    """Prefixes of the names, in the model, of parameters that are never trained."""
    adaptable: ClassVar[tuple[str, ...]]
    """Suffixes of the names of linear layers that get an adapter if the settings give none."""
    unadaptable: ClassVar[tuple[str, ...]] = ()
    """Suffixes of the names of linear layers whose weights are used without a call, so an adapter has no effect."""

    def __init__(self, opened: Opened, settings: TunedSettings, seed: int) -> None:
        """Take a model, and freeze the weights that are not trained.

        Args:
            opened: the model, and its source.
            settings: which weights are trained, and how.
            seed: of the adapters' weights.

        Raises:
            UserError: a setting does not fit the model.
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
                f"encoder.last_layers is {settings.last_layers}, but {self.source} has only {self.layers} blocks"
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
        """Number of values of a frame of the output."""
        return int(self.config.hidden_size)

    @property
    @abstractmethod
    def shortest(self) -> int:
        """Number of samples needed for one frame."""

    @property
    def longest(self) -> float:
        """Longest input, in seconds."""
        return math.inf

    @abstractmethod
    def frames(self, lengths: Counts) -> Counts:
        """Return the number of frames of rows of ``lengths`` samples, without padding. Reads no parameter."""

    def without_model(self) -> Self:
        """Return a copy without parameters that counts frames in the same way, to be sent to data workers."""
        alone = copy.copy(self)
        alone._modules = {}
        return alone

    @abstractmethod
    def forward(self, batch: Batch) -> Hidden:
        """Return all hidden states of a batch.

        If the batch's targets have tensors ``time_mask`` ``(N, S)`` bool or ``feature_mask`` ``(N, M)`` bool, these
        frames and features are masked in the input of the first block, before positions are added.
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
        """Train the mask embedding, if ``train`` is ``all`` or ``no_convolutions``. Call it if there are time masks.

        It is frozen at first, because without time masks it would get no gradient.
        """
        if self.mask_embedding is not None and self.settings.train in ("all", "no_convolutions"):
            self.model.get_parameter(self.mask_embedding).requires_grad_(True)

    def plain(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return weights by the names of transformers' own model, with adapters merged.

        Args:
            weights: by the names of ``self.model``.
        """
        if self.settings.train != "lora":
            return dict(weights)
        return adapters.merged(weights, self.settings.lora)

    def save(self, folder: Path, weights: Mapping[str, Tensor]) -> None:
        """Write only the encoder, in Hugging Face format, with its feature extractor.

        Args:
            folder: to be written.
            weights: by the names of ``self.model``.
        """
        with torch.device("meta"):
            plain = type(self.model)(self.config)
        plain.save_pretrained(folder, state_dict=self.plain(weights))
        self.save_reading(folder)

    def shares(self) -> EncoderDropouts:
        """Return the dropout that applies now: none except in training mode."""
        return self.dropouts if self.training else NO_DROPOUT

    def kept(self, batch: Batch) -> Sequence[bool]:
        """Return for each block whether it runs in the batch's step."""
        return kept_layers(batch, self.layers, self.shares().layer)

    def valid(self, batch: Batch, longest: int) -> Tensor | None:
        """Return ``(N, S)`` bool with S = ``longest`` frames, False for padding; None without padding."""
        if not batch.padded:
            return None
        return torch.arange(longest, device=batch.lengths.device) < self.frames(batch.lengths)[:, None]

    def hide(self, hidden: Tensor, batch: Batch) -> Tensor:
        """Return ``(N, ..., S, M)`` with the frames and features of the batch's masks masked."""
        tensors, between = batch.targets.tensors, (1,) * (hidden.ndim - 3)
        if (mask := tensors.get("time_mask")) is not None:
            name = self.mask_embedding
            instead = hidden.new_zeros(()) if name is None else self.model.get_parameter(name).to(hidden.dtype)
            hidden = torch.where(mask.view(len(mask), *between, -1, 1), instead, hidden)
        if (mask := tensors.get("feature_mask")) is not None:
            hidden = hidden.masked_fill(mask.view(len(mask), *between, 1, -1), 0)
        return hidden

    def _is_trained(self, name: str) -> bool:
        """Whether the settings train a parameter, by its name in the model, that gets a gradient without masks."""
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
        """Return the shares of the settings, or those of the checkpoint if they are unset."""
        found = {}
        for setting, share in zip(DROPOUTS, EncoderDropouts.__dataclass_fields__, strict=True):
            asked, key = getattr(self.settings, setting), self.dropout_keys.get(setting)
            if key is None and asked:
                raise UserError(
                    f"encoder.{setting} is {asked}, but {self.source}, a {self.model_type!r} model, has no such "
                    "dropout; leave it out"
                )
            found[share] = (getattr(self.config, key) if key else 0.0) if asked is None else asked
        for share, value in found.items():
            if not isinstance(value, int | float) or not 0 <= value < 1:
                raise UserError(
                    f"the configuration of {self.source} has a {share} dropout of {value!r}; expected a number that is "
                    "at least 0 and below 1"
                )
        return EncoderDropouts(**found)


def at_least(counts: Counts, least: int) -> Counts:
    """Return counts, with those below ``least`` raised to it."""
    if isinstance(counts, Tensor):
        return counts.clamp(min=least)
    if isinstance(counts, int):
        return max(counts, least)
    raised: np.ndarray = np.maximum(counts, least)
    return raised
