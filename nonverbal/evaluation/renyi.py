"""The Rényi divergence of two distributions, as in RENO (2025).

Paper: L_RD = 1 / (beta - 1) log sum_j (x_j + delta)^beta (y_j + delta)^(1 - beta), over M features.

With p = (x + delta) / (1 + delta M) and q = (y + delta) / (1 + delta M), which sum to 1 as x and y do, this is

    L_RD = D_beta(p || q) + log(1 + delta M) / (beta - 1),

where D_beta is the Rényi divergence (1961): what the paper prints is a true divergence plus a constant. Both have the
same gradient, and so train the same network.
"""

import math
from typing import Literal

import torch
from torch import Tensor

from nonverbal.errors import UserError

Form = Literal["normalised", "as_printed"]
Direction = Literal["forward", "backward"]


def renyi_divergence(
    log_x: Tensor,
    log_y: Tensor,
    order: float = 2.0,
    delta: float = 0.2,
    form: Form = "normalised",
    direction: Direction = "forward",
) -> Tensor:
    """Return the divergence ``(...)`` of distributions over the last dimension, in nats.

    Everything is computed from logarithms, so that neither value nor gradient is infinite if probabilities round to 0.

    Args:
        log_x: logarithms of distributions ``(..., M)``, finite, whose exponentials sum to 1, as returned by
            ``log_softmax``.
        log_y: the same.
        order: beta, above 0; 1 is the Kullback-Leibler divergence, the limit.
        delta: value added to each probability, at least 0.
        form: ``normalised``: probabilities sum to 1 again after delta is added. The divergence is then at least 0, and
            0 if both are equal, up to rounding. ``as_printed``: they do not, and if both are equal the divergence is
            log(1 + delta M) / (order - 1), its smallest value for an order above 1.
        direction: ``forward``: of x from y, the paper's formula; ``backward``: of y from x.

    Raises:
        UserError: see ``check_divergence``.
    """
    check_divergence(order, delta, form)
    if direction == "backward":
        log_x, log_y = log_y, log_x
    features = log_x.shape[-1]
    total = math.log1p(delta * features)
    log_p, log_q = (_shifted(values, delta) - total for values in (log_x, log_y))
    if order == 1:
        return (log_p.exp() * (log_p - log_q)).sum(dim=-1)
    divergence = (order * log_p + (1 - order) * log_q).logsumexp(dim=-1) / (order - 1)
    return divergence + total / (order - 1) if form == "as_printed" else divergence


def check_divergence(order: float, delta: float, form: Form) -> None:
    """Refuse settings without a divergence.

    Raises:
        UserError: the message names the setting.
    """
    if not (0 < order < math.inf and 0 <= delta < math.inf):
        raise UserError(f"order must be above 0, and delta at least 0, but they are {order} and {delta}")
    if order == 1 and form == "as_printed" and delta > 0:
        raise UserError("as printed, the divergence of order 1 is infinite: take another order, or `normalised`")


def largest(features: int, order: float = 2.0, delta: float = 0.2) -> float:
    """Return the largest divergence that two distributions over ``features`` can have, normalised.

    It is that between all mass on one of at least 2 features and all mass on another; ``delta`` must be above 0.
    """
    one, other = (torch.full((features,), -1e9, dtype=torch.float64) for _ in range(2))
    one[0] = other[1] = 0.0
    return float(renyi_divergence(one, other, order, delta))


def _shifted(log_values: Tensor, delta: float) -> Tensor:
    """Return log(x + delta) from log x."""
    if delta == 0:
        return log_values
    return torch.logaddexp(log_values, log_values.new_tensor(math.log(delta)))
