"""What Whisper's encoder and AST share: pre-norm blocks over a window of a spectrogram that a clip fills in part.

Neither has an attention mask: padding after the clip is attended to, as in their training. Only the frames of the clip
are returned.

Shapes: N rows, S frames, M width.
"""

from functools import partial
from typing import Any, NamedTuple

from torch import Tensor, nn

from nonverbal.batch import Batch
from nonverbal.models.blocks import through
from nonverbal.models.functional import attention, dropout, in_heads, joined
from nonverbal.models.tuned.base import TunedEncoder
from nonverbal.models.wav2vec2 import EncoderDropouts


class Maps(NamedTuple):
    """The modules of a block."""

    before_attention: nn.Module
    query: nn.Module
    key: nn.Module
    value: nn.Module
    out: nn.Module
    before_feed_forward: nn.Module
    inner: nn.Module
    activation: Any
    outer: nn.Module
    heads: int


class TunedSpectralEncoder(TunedEncoder):
    """A pre-norm transformer over a spectrogram."""

    def check_length(self, batch: Batch) -> None:
        """Refuse more samples than the window holds; batches must respect ``longest``."""
        assert batch.waveforms.shape[1] <= self.longest * 16_000, f"{batch.waveforms.shape[1]} samples at once"

    def run(self, maps: Any, blocks: nn.ModuleList, norm: nn.Module, hidden: Tensor, batch: Batch) -> list[Tensor]:
        """Return the input ``(N, S, M)`` of the first block and the output of each block, the last after ``norm``.

        Args:
            maps: returns the ``Maps`` of a block.
            blocks: the blocks.
            norm: follows the last block.
            hidden: input of the first block.
            batch: its step decides which blocks are skipped.
        """
        run = partial(_block, maps=maps, dropouts=self.shares())
        states = list(through(blocks, run, hidden, self.kept(batch), self.settings.gradient_checkpointing))
        return [*states[:-1], norm(states[-1])]


def _block(block: Any, hidden: Tensor, maps: Any, dropouts: EncoderDropouts) -> Tensor:
    made: Maps = maps(block)
    normed = made.before_attention(hidden)
    query, key, value = (in_heads(projection(normed), made.heads) for projection in (made.query, made.key, made.value))
    context = made.out(joined(attention(query, key, value, None, dropouts.attention)))
    hidden = hidden + dropout(context, dropouts.hidden)
    inner = dropout(made.activation(made.inner(made.before_feed_forward(hidden))), dropouts.activation)
    return hidden + dropout(made.outer(inner), dropouts.hidden)
