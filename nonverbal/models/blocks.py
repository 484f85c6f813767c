"""A transformer's blocks, one after another: which of them a step passes by, and what is computed again.

Shapes: N rows, S frames, M width.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nonverbal.batch import Batch
from nonverbal.seeding import Stream, generator

Block = Callable[[Any, Tensor], Tensor]
"""What a block's module makes of ``(N, S, M)``."""


def kept_layers(batch: Batch, layers: int, share: float) -> list[bool]:
    """Draw the blocks that run: by step alone, so that all micro-batches and processes drop the same."""
    draws = generator(batch.seed, Stream.LAYER_DROP, batch.step).random(layers)
    return [draw >= share for draw in draws.tolist()]


def through(
    blocks: Iterable[nn.Module], run: Block, hidden: Tensor, kept: Sequence[bool], recompute: bool = False
) -> Iterator[Tensor]:
    """Yield ``(N, S, M)`` as it enters the first block, and as it leaves each.

    Args:
        blocks: the modules.
        run: computes one of them.
        hidden: what enters the first.
        kept: of each block, whether it is run or passed by.
        recompute: keep of a block its input alone, and compute it again in the backward pass, with the same noise.
    """
    yield hidden
    for block, keep in zip(blocks, kept, strict=True):
        if not keep:
            hidden = passed_by(block, hidden)
        elif recompute and torch.is_grad_enabled():
            hidden = cast(Tensor, checkpoint(run, block, hidden, use_reentrant=False))
        else:
            hidden = run(block, hidden)
        yield hidden


def passed_by(block: nn.Module, hidden: Tensor) -> Tensor:
    """Return ``hidden``, whose backward pass gives the weights of ``block`` gradients of zero.

    Processes that add up their gradients wait for those of all weights. Each of the block's maps is called, with no
    rows, because ZeRO 3 has weights in one place only while the module that they belong to is at work.
    """
    nothing = []
    for module in block.modules():
        if isinstance(module, nn.Linear):
            nothing.append(module(hidden.new_empty(0, module.in_features)))
        elif isinstance(module, nn.LayerNorm):
            nothing.append(module(hidden.new_empty(0, *module.normalized_shape)))
        else:
            # Such as the gate of WavLM's relative positions.
            nothing += [parameter[:0] for parameter in module.parameters(recurse=False)]
    return hidden + torch.cat([x.flatten() for x in nothing]).sum()
