"""Self-attention over a few tokens, for heads."""

from torch import Tensor, nn


class SelfAttention(nn.Module):
    """Scaled dot-product self-attention (Vaswani et al. 2017, equation 1 and section 3.2.2), and nothing else.

    It computes the same as PyTorch's ``MultiheadAttention``, which cannot be computed for many networks at once.
    """

    def __init__(self, width: int, heads: int) -> None:
        """Draw the initial weights as PyTorch does; ``width`` must be a multiple of ``heads``."""
        super().__init__()
        self.heads = heads
        self.projected = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.projected.weight)
        nn.init.zeros_(self.projected.bias)
        nn.init.zeros_(self.output.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return ``(clips, tokens, width)`` from the same shape."""
        # (clips, tokens, 3 x width) -> three of (clips, heads, tokens, width / heads)
        parts = self.projected(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        queries, keys, values = parts.unbind(0)
        weights = (queries @ keys.transpose(-1, -2) * queries.shape[-1] ** -0.5).softmax(dim=-1)
        attended: Tensor = self.output((weights @ values).transpose(1, 2).flatten(2))
        return attended
