"""RENO (2025): several encoders' means of the last layer in one network, with a divergence that aligns them.

Each encoder has a convolutional block and a self-attention over its positions. Their outputs are concatenated and go
through another self-attention and RENO's dense layers. The loss is lambda x cross entropy + (1 - lambda) x the
divergence between the outputs of two encoders.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import combinations
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from nonverbal.errors import UserError
from nonverbal.evaluation.heads.attention import SelfAttention
from nonverbal.evaluation.heads.convolution import FILTERS, ConvolutionalBlock
from nonverbal.evaluation.heads.fcn import WIDTHS, Dense
from nonverbal.evaluation.heads.layers import standardised_by
from nonverbal.evaluation.heads.reno import RenoHead
from nonverbal.evaluation.heads.training import Network
from nonverbal.evaluation.renyi import Direction, Form, check_divergence, renyi_divergence

HEADS = 2
"""Number of heads of each self-attention, that of the paper."""

OF_ATTENTION = ("tokens", "residual")
OF_DIVERGENCE = ("divergence", "direction", "over", "order", "delta", "balance")
"""Settings that have no meaning in a network without self-attention, or without the divergence."""


@dataclass(frozen=True)
class FusionSettings(RenoHead):
    """How several encoders are fused. The networks are trained as RENO's other heads."""

    length: int = 20
    """Positions that the second max-pool leaves of each encoder, whatever its width; the first halves the length. The
    paper states neither: 20 gives a pair 1.44 M parameters, and the paper states 1.3 to 1.5 M."""
    tokens: Literal["positions", "one"] = "positions"
    """Tokens of the self-attention: the positions after the convolutional block, with 64 values each; or one: all
    values of an encoder as one token, which can attend only to itself. The paper flattens, but speaks of
    self-attention."""
    residual: bool = True
    """Whether the output of a self-attention is added to its input. The paper does not say; without it, attention sees
    which values occur but hardly their positions, and learns far less (docs/fuse.md)."""
    divergence: Form = "normalised"
    """The divergence: normalised after delta is added, so that it is 0 if both are equal; or as_printed in the paper,
    which is larger by a constant. Both train the same network (docs/fuse.md)."""
    direction: Direction = "forward"
    """The divergence of the first encoder from the second (forward), as the paper writes x before y, or of the second
    from the first (backward). The paper does not say which encoder is x."""
    over: Literal["filters", "values"] = "filters"
    """Dimension of the softmax that gives the distributions: the 64 filters, averaged over positions; or all values of
    all positions. The paper says features. With delta 0.2 the divergence is at most 0.35 over 64 features, and 0.02
    over 1280."""
    order: float = 2.0
    """beta, the order of the divergence, as in the paper; 1 is Kullback-Leibler."""
    delta: float = 0.2
    """Added to each probability; the value is the paper's."""
    balance: float = 0.4
    """lambda, the weight of the cross entropy in the loss, as in the paper; the divergence has the remaining weight."""

    def __post_init__(self) -> None:
        """Refuse settings that no network can have."""
        super().__post_init__()
        check_divergence(self.order, self.delta, self.divergence)
        if self.length < 1 or not 0 < self.balance <= 1:
            raise UserError(
                "length must be at least 1, and balance above 0 and at most 1, but they are "
                f"{self.length} and {self.balance}"
            )


@dataclass(frozen=True)
class Fusion(FusionSettings):
    """RENO's head."""

    stated: ClassVar[str | None] = "1.3 to 1.5 M"
    attends: ClassVar[bool] = True
    """Whether there is self-attention."""
    diverges: ClassVar[bool] = True
    """Whether the divergence is part of the loss."""

    widths: tuple[int, ...] = ()
    """Number of values of each encoder, in their order among the features."""

    def network(self, features: Tensor, rows: np.ndarray, classes: int) -> "FusionNetwork":
        """Return a new network."""
        return FusionNetwork(features[rows], self, classes)

    def meant(self) -> "Fusion":
        """Return the same head with the default of each setting that has no meaning for it."""
        unmeant = (() if self.attends else OF_ATTENTION) + (() if self.diverges else OF_DIVERGENCE)
        defaults: dict[str, Any] = {field.name: field.default for field in fields(self) if field.name in unmeant}
        return replace(self, **defaults)


@dataclass(frozen=True)
class Attention(Fusion):
    """RENO without the divergence, to show whether that helps."""

    stated: ClassVar[str | None] = None
    diverges: ClassVar[bool] = False


@dataclass(frozen=True)
class Concatenation(Attention):
    """RENO without divergence and attention, the paper's baseline."""

    attends: ClassVar[bool] = False


METHODS: dict[str, type[Fusion]] = {"reno": Fusion, "attention": Attention, "concat": Concatenation}
"""From a name to a head, which needs its encoders' widths."""


class FusionNetwork(Network):
    """The network of RENO, or of one of the methods that it is compared with."""

    dropped = WIDTHS

    def __init__(self, training: Tensor, head: Fusion, classes: int) -> None:
        super().__init__()
        self.head = head
        self.standardised = standardised_by(training)
        self.blocks = nn.ModuleList(ConvolutionalBlock(head.length) for _ in head.widths)
        values = FILTERS[1] * head.length
        width = FILTERS[1] if head.tokens == "positions" else values
        if head.attends:
            self.own = nn.ModuleList(SelfAttention(width, HEADS) for _ in head.widths)
            joint = width if head.tokens == "positions" else width * len(head.widths)
            self.joint = SelfAttention(joint, HEADS)
        self.dense = Dense(values * len(head.widths), classes)

    def forward(self, inputs: tuple[Tensor, ...], kept: Sequence[Tensor] | None) -> Tensor:
        """Return logits ``(clips, classes)`` for features ``(clips, sum of widths)``."""
        return self._decided(self._encoded(inputs[0]), kept)

    def losses(self, inputs: tuple[Tensor, ...], kept: Sequence[Tensor] | None, answers: Tensor) -> Tensor:
        """Return lambda x cross entropy + (1 - lambda) x the mean divergence of two encoders, ``(clips,)``."""
        encoded = self._encoded(inputs[0])
        losses = nn.functional.cross_entropy(self._decided(encoded, kept), answers, reduction="none")
        if not self.head.diverges:
            return losses
        return self.head.balance * losses + (1 - self.head.balance) * self._divergence(encoded)

    def _encoded(self, features: Tensor) -> list[Tensor]:
        """Return the output of each encoder's block, ``(clips, length, 64)``."""
        parts = self.standardised(features).split(self.head.widths, dim=1)
        # (clips, 64, length) -> (clips, length, 64)
        encoded = [block(part).transpose(1, 2) for block, part in zip(self.blocks, parts, strict=True)]
        if not self.head.attends:
            return encoded
        return [self._attended(attention, part) for attention, part in zip(self.own, encoded, strict=True)]

    def _attended(self, attention: nn.Module, values: Tensor) -> Tensor:
        """Return the output of a self-attention over values ``(clips, positions, 64)``, in the same shape."""
        tokens = values if self.head.tokens == "positions" else values.flatten(1)[:, None]
        attended: Tensor = attention(tokens).reshape(values.shape)
        return values + attended if self.head.residual else attended

    def _decided(self, encoded: list[Tensor], kept: Sequence[Tensor] | None) -> Tensor:
        """Return logits ``(clips, classes)`` from the positions of all encoders, concatenated and attended to."""
        together = torch.cat(encoded, dim=1)
        if self.head.attends:
            together = self._attended(self.joint, together)
        logits: Tensor = self.dense(together.flatten(1), kept)
        return logits

    def _divergence(self, encoded: list[Tensor]) -> Tensor:
        """Return the mean divergence over pairs of encoders, ``(clips,)``."""
        over = [part.mean(dim=1) if self.head.over == "filters" else part.flatten(1) for part in encoded]
        logs = [values.log_softmax(dim=1) for values in over]
        settings = self.head.order, self.head.delta, self.head.divergence, self.head.direction
        pairs = [renyi_divergence(one, other, *settings) for one, other in combinations(logs, 2)]
        return torch.stack(pairs).mean(dim=0)
