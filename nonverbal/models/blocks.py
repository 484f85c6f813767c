"""Runs the blocks of a transformer, with layer drop and gradient checkpointing.

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
"""Computes the output ``(N, S, M)`` of a block's module for its input."""


def kept_layers(batch: Batch, layers: int, share: float) -> list[bool]:
    """Draw which blocks run. It depends only on the step, so all micro-batches and processes drop the same blocks."""
    draws = generator(batch.seed, Stream.LAYER_DROP, batch.step).random(layers)
    return [draw >= share for draw in draws.tolist()]


def through(
    blocks: Iterable[nn.Module], run: Block, hidden: Tensor, kept: Sequence[bool], recompute: bool = False
) -> Iterator[Tensor]:
    """Yield the input ``(N, S, M)`` of the first block, then the output of each.

    Args:
        blocks: the modules.
        run: computes one of them.
        hidden: input of the first.
        kept: for each block, whether it runs or is skipped.
        recompute: store only a block's input, and compute the block again in the backward pass with the same noise
            (gradient checkpointing).
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
    """Return ``hidden``; its backward pass gives the weights of ``block`` gradients of zero.

    DDP waits for the gradients of all weights. Each linear map of the block is called with an empty input, because
    ZeRO 3 gathers weights only while their module runs.
    """
    nothing = []
    for module in block.modules():
        if isinstance(module, nn.Linear):
            nothing.append(module(hidden.new_empty(0, module.in_features)))
        elif isinstance(module, nn.LayerNorm):
            nothing.append(module(hidden.new_empty(0, *module.normalized_shape)))
        else:
            # For example the gate of WavLM's relative positions.
            nothing += [parameter[:0] for parameter in module.parameters(recurse=False)]
    return hidden + torch.cat([x.flatten() for x in nothing]).sum()
