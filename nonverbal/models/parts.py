"""Parts of a model that may learn at rates of their own."""

from typing import Literal, NamedTuple


class Part(NamedTuple):
    """Where a parameter stands."""

    kind: Literal["conv", "transformer", "head"]
    """The head is what pretraining needs besides the encoder: quantiser, projections, mask embedding."""
    depth: int
    """Blocks between it and the top; what lies before the first block has as many as there are. The head has none."""
