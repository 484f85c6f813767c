"""What tells the class of a clip from an encoder's frames: layers weighed, frames pooled, and a few linear layers.

Shapes: N rows, S frames, M values of a frame, K classes.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from nonverbal.models.functional import dropout, exact
from nonverbal.models.tuned.base import Hidden

START = 0.02
"""Standard deviation of the weights at first, as transformers draws those of its classifiers."""


@dataclass(frozen=True)
class HeadShape:
    """What a head is made of."""

    width: int
    """M."""
    classes: int
    """K."""
    states: int = 0
    """Hidden states that are weighed; 0 takes the last alone."""
    attentive: bool = False
    """Pool by attention; otherwise by the mean."""
    projection: int = 0
    """Values of the projector, a linear layer; 0 for none."""
    hidden: tuple[int, ...] = ()
    """Values of each hidden layer, which end in ReLU."""
    dropout: float = 0.0
    """Share of the values that enter a hidden layer or the last, which training drops."""


class ClassifierHead(nn.Module):
    """Frames to logits, in float32.

    Without a query, and without hidden layers, what transformers' ``...ForSequenceClassification`` computes, by the
    same names. There the projector is applied to frames; it is linear, and the weights of pooled frames add up to 1, so
    that applied to the pooled frames it gives the same.
    """

    def __init__(self, shape: HeadShape) -> None:
        """Draw a head by torch's generator."""
        super().__init__()
        self.shape, states = shape, shape.states
        self.layer_weights = nn.Parameter(torch.full((states,), 1 / states)) if states else None
        # At 0, attention begins as the mean.
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
        """Return the logits ``(N, K)`` of rows."""
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
        """Return what each hidden state is weighed by, ``(states,)``, 1 together; None where the last alone is read."""
        return None if self.layer_weights is None else self.layer_weights.softmax(0)

    def _frames(self, states: list[Tensor]) -> Tensor:
        """Return the last of the states, or their weighted sum (Peters et al., 2018, equation 1, without its scale)."""
        weights = self.shares()
        if weights is None:
            return states[-1].float()
        summed = weights[0] * states[0].float()
        for weight, state in zip(weights[1:], states[1:], strict=True):
            summed = summed + weight * state.float()
        return summed


def pooled(frames: Tensor, valid: Tensor | None, query: Tensor | None) -> Tensor:
    """Return one vector ``(N, M)`` of each row's own frames.

    Args:
        frames: ``(N, S, M)``.
        valid: ``(N, S)`` bool, a row's own frames, at least one; None where all are.
        query: ``(M,)``: the frames are weighted by the softmax, over a row's own, of their products with it (Safari et
            al., 2020, arXiv 2008.01077; s3prl's ``SelfAttentionPooling`` adds a bias to all of them, which the softmax
            takes away again). None for the mean.
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
