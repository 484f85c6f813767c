"""What the GPUs of a run send each other in an update, and how long that takes at most."""

import math
from dataclasses import dataclass
from typing import Literal

BYTES = 4
"""Of a gradient or weight on its way: they are float32."""

BUCKET = 25 * 2**20
"""Bytes that DistributedDataParallel sends at a time."""

HOP = 14e-6
"""Seconds from one GPU to the next around a ring over a network: NCCL's own estimate (hwLat in its tuning.cc)."""


@dataclass(frozen=True)
class Communication:
    """An update's communication over a network, where GPUs do nothing else meanwhile."""

    gigabits: float
    """Of the slowest link between two GPUs, a second, in each direction."""
    bytes: float
    """That each GPU sends in an update."""
    seconds: float
    """That this takes in an update."""


def communication(
    parameters: int, zero: Literal[0, 1, 2, 3], gpus: int, rounds: int, gigabits: float
) -> Communication | None:
    """Return what an update of a model of ``parameters`` costs, None on one GPU.

    N GPUs send around a ring. On each way round, a reduce-scatter or an all-gather, each of them sends (N - 1) / N of
    all bytes, and a bucket makes N - 1 hops (Patarasuk and Yuan, 2009). How many ways round ZeRO needs: Rajbhandari et
    al. (2020), section 7.

    Args:
        parameters: that are trained.
        zero: stage of DeepSpeed's ZeRO; 0: all of the model in each process.
        gpus: N.
        rounds: micro-batches that a GPU takes in an update.
        gigabits: of the slowest link, a second; above 0.
    """
    if gpus == 1:
        return None
    size, ways = BYTES * parameters, ways_round(zero, rounds)
    sent = ways * size * (gpus - 1) / gpus
    hops = ways * math.ceil(size / BUCKET) * (gpus - 1)
    return Communication(gigabits, sent, 8 * sent / (gigabits * 1e9) + HOP * hops)


def ways_round(zero: Literal[0, 1, 2, 3], rounds: int) -> int:
    """Return how often all parameters' worth of bytes goes round the ring in an update."""
    if zero <= 1:
        # An all-reduce of the gradients, or its half and then the weights.
        return 2
    if zero == 2:
        # Gradients are added up at every micro-batch; the new weights follow once.
        return rounds + 1
    # At every micro-batch the weights, forward and backward, and the gradients.
    return 3 * rounds
