"""Heads that classify clips by an encoder's frames: a weighted sum of layers, pooling, and a few linear layers.

Shapes: N rows, S frames, M values of a frame, K classes.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from nonverbal.models.functional import dropout, exact
from nonverbal.models.tuned.base import Hidden

START = 0.02
"""Standard deviation of the initial weights, as in transformers' classifiers."""


@dataclass(frozen=True)
class HeadShape:
    """The layers of a head."""

    width: int
    """M."""
    classes: int
    """K."""
    states: int = 0
    """Number of hidden states in the weighted sum; 0: only the last hidden state is used, without weights."""
    attentive: bool = False
    """Pool by attention; otherwise by the mean."""
    projection: int = 0
    """Size of the projector, a linear layer; 0 for none."""
    hidden: tuple[int, ...] = ()
    """Size of each hidden layer, which ends with a ReLU."""
    dropout: float = 0.0
    """Share of the inputs of the hidden layers and the last layer that training drops."""


class ClassifierHead(nn.Module):
    """Computes logits from frames, in float32.

    Without a query and hidden layers, it computes the same as transformers' ``...ForSequenceClassification``, with the
    same names of weights. There the projector is applied to frames. Because it is linear and the pooling weights sum to
    1, it gives the same when it is applied to the pooled frames.
    """

    def __init__(self, shape: HeadShape) -> None:
        """Draw the initial weights with torch's generator."""
        super().__init__()
        self.shape, states = shape, shape.states
        self.layer_weights = nn.Parameter(torch.full((states,), 1 / states)) if states else None
        # With a query of 0, attention starts as the mean.
        self.query = nn.Parameter(torch.zeros(shape.width)) if shape.attentive else None
        self.projector = nn.Linear(shape.width, shape.projection) if shape.projection else None
        sizes = (shape.projection or shape.width, *shape.hidden)
        self.hidden = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(sizes))
        self.classifier = nn.Linear(sizes[-1], shape.classes)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=START)
                nn.init.zeros_(module.bias)

    def forward(self, seen: Hidden) -> Tensor:
        """Return the logits ``(N, K)``."""
        with exact(seen.states[-1].device):
            values = pooled(self._frames(seen.states), seen.valid, self.query)
            if self.projector is not None:
                values = self.projector(values)
            share = self.shape.dropout if self.training else 0.0
            for layer in self.hidden:
                values = layer(dropout(values, share)).relu()
            logits: Tensor = self.classifier(dropout(values, share))
            return logits

    def shares(self) -> Tensor | None:
        """Return the weights of the hidden states, ``(states,)``, with sum 1; None if only the last one is used."""
        return None if self.layer_weights is None else self.layer_weights.softmax(0)

    def _frames(self, states: list[Tensor]) -> Tensor:
        """Return the last hidden state, or the weighted sum (Peters et al., 2018, equation 1, without its scale)."""
        weights = self.shares()
        if weights is None:
            return states[-1].float()
        summed = weights[0] * states[0].float()
        for weight, state in zip(weights[1:], states[1:], strict=True):
            summed = summed + weight * state.float()
        return summed


def pooled(frames: Tensor, valid: Tensor | None, query: Tensor | None) -> Tensor:
    """Return one vector per row, ``(N, M)``, pooled over its frames without padding.

    Args:
        frames: ``(N, S, M)``.
        valid: ``(N, S)`` bool, False for padding, with at least one True in each row; None without padding.
        query: ``(M,)``: each frame is weighted by the softmax of its product with the query (Safari et al., 2020, arXiv
            2008.01077; s3prl's ``SelfAttentionPooling`` adds a bias to all products, which the softmax cancels). None
            for the mean.
    """
    if query is not None:
        scores = frames @ query
        if valid is not None:
            scores = scores.masked_fill(~valid, float("-inf"))
        # (N, 1, S) x (N, S, M) -> (N, M)
        return (scores.softmax(1)[:, None] @ frames)[:, 0]
    if valid is None:
        return frames.mean(1)
    own = valid[..., None]
    return frames.where(own, 0).sum(1) / own.sum(1)
