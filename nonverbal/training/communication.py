"""Estimates how many bytes the GPUs of a run exchange in an update, and how long this takes at most."""

import math
from dataclasses import dataclass
from typing import Literal

BYTES = 4
"""Bytes of a gradient or weight in a message: they are float32."""

BUCKET = 25 * 2**20
"""Bytes of a bucket, which DistributedDataParallel sends in one all-reduce."""

HOP = 14e-6
"""Latency in seconds from one GPU to the next in a ring over a network: NCCL's own estimate (hwLat in tuning.cc)."""


@dataclass(frozen=True)
class Communication:
    """The communication of an update over a network, if the GPUs compute nothing in the meantime."""

    gigabits: float
    """Bandwidth of the slowest link between two GPUs, in Gb/s in each direction."""
    bytes: float
    """Bytes that each GPU sends in an update."""
    seconds: float
    """Seconds that this takes."""


def communication(
    parameters: int, zero: Literal[0, 1, 2, 3], gpus: int, rounds: int, gigabits: float
) -> Communication | None:
    """Return the communication of an update; None on one GPU.

    N GPUs form a ring. In a reduce-scatter or an all-gather, each of them sends (N - 1) / N of all bytes, and a bucket
    makes N - 1 hops (Patarasuk and Yuan, 2009). Rajbhandari et al. (2020), section 7, say how many of these operations
    ZeRO needs.

    Args:
        parameters: number of trained parameters.
        zero: stage of DeepSpeed's ZeRO; 0 if each process holds the whole model.
        gpus: N.
        rounds: micro-batches of a GPU in an update.
        gigabits: bandwidth of the slowest link in Gb/s, above 0.
    """
    if gpus == 1:
        return None
    size, count = BYTES * parameters, operations(zero, rounds)
    sent = count * size * (gpus - 1) / gpus
    hops = count * math.ceil(size / BUCKET) * (gpus - 1)
    return Communication(gigabits, sent, 8 * sent / (gigabits * 1e9) + HOP * hops)


def operations(zero: Literal[0, 1, 2, 3], rounds: int) -> int:
    """Return how many reduce-scatters or all-gathers of the size of all parameters an update needs."""
    if zero <= 1:
        # An all-reduce of the gradients, or a reduce-scatter of them and an all-gather of the weights.
        return 2
    if zero == 2:
        # A reduce-scatter of the gradients for every micro-batch, and one all-gather of the new weights.
        return rounds + 1
    # For every micro-batch two all-gathers of the weights (forward, backward) and a reduce-scatter of the gradients.
    return 3 * rounds
