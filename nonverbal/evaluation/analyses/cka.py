"""Linear CKA: how similarly two spaces arrange the same clips (Kornblith et al., 2019).

It compares similarities between clips, so two spaces need not share axes, widths or an initialisation. It is 1 for
spaces that differ by rotation, shift and one scale, and does not change with these.

With fewer clips than values, the plain estimate is near 1 even for unrelated spaces: for 100 clips of independent
normal values, 768 each, it is .88. The debiased one, that of Kornblith with the unbiased HSIC of Song et al. (2012), as
used by Nguyen et al. (2021), is then about 0, and may be slightly negative. It is the default here, because labelled
sets are small.

Shapes: C clips, M values of the first space, P of the second.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nonverbal.errors import UserError

FEWEST = 4
"""Smallest number of clips: the unbiased HSIC divides by C - 3."""


@dataclass(frozen=True)
class Centred:
    """Centred vectors of clips, with values computed from them that are needed repeatedly."""

    values: np.ndarray
    """``(C, M)`` float64, with mean zero."""

    @cached_property
    def squares(self) -> np.ndarray:
        """``(C,)``: the product of each vector with itself."""
        squares: np.ndarray = (self.values**2).sum(1)
        return squares

    @cached_property
    def sums(self) -> np.ndarray:
        """``(C,)``: the sum of the products of each vector with all others."""
        # Centred vectors sum to zero, so a vector's products with all vectors, including itself, do too.
        return -self.squares

    @cached_property
    def plain(self) -> float:
        """The biased HSIC of the space with itself."""
        return _shared(self.values, self.values)

    @cached_property
    def debiased(self) -> float:
        """The unbiased HSIC of the space with itself."""
        return _unbiased(self, self)


def centred(vectors: np.ndarray) -> Centred:
    """Return the space of vectors ``(C, M)``.

    Raises:
        UserError: there are fewer than 4 clips.
    """
    if len(vectors) < FEWEST:
        raise UserError(f"CKA needs at least {FEWEST} clips, but here are {len(vectors)}")
    wide = vectors.astype(np.float64)
    shifted = wide - wide.mean(0)
    # Values that are constant up to rounding have no direction.
    return Centred(np.where(np.abs(shifted) > 1e-12 * np.abs(wide), shifted, 0.0))


def cka(first: np.ndarray, second: np.ndarray, debiased: bool = True) -> float:
    """Return the linear CKA of two spaces of the same clips; nan if one of them has all clips at the same point.

    Args:
        first: ``(C, M)``.
        second: ``(C, P)``.
        debiased: use the unbiased HSIC, which gives values in [-1, 1], about 0 for unrelated spaces; otherwise in [0,
            1].

    Raises:
        UserError: there are fewer than 4 clips.
        ValueError: the two have different numbers of clips.
    """
    return cka_of(centred(first), centred(second), debiased)


def cka_of(one: Centred, other: Centred, debiased: bool = True) -> float:
    """Return the linear CKA of two spaces: see ``cka``."""
    if len(one.values) != len(other.values):
        raise ValueError(f"`first` must have the clips of `second`, but has {len(one.values)} of {len(other.values)}.")
    if debiased:
        shared, own = _unbiased(one, other), one.debiased * other.debiased
    else:
        shared, own = _shared(one.values, other.values), one.plain * other.plain
    return float(shared / np.sqrt(own)) if own > 0 else float("nan")


def cka_map(first: Sequence[np.ndarray], second: Sequence[np.ndarray], debiased: bool = True) -> np.ndarray:
    """Return the CKA of each layer of one encoder with each layer of another, ``(layers, layers)``.

    Args:
        first: ``(C, M)`` for each layer of the first encoder.
        second: ``(C, P)`` for each layer of the second, with the same clips.
        debiased: see ``cka``.
    """
    others = [centred(layer) for layer in second]
    return np.array([[cka_of(one, other, debiased) for other in others] for one in map(centred, first)])


def _shared(one: np.ndarray, other: np.ndarray) -> float:
    """Return the sum over pairs of clips of the product of their similarities in both spaces: tr(K L).

    It is computed from whichever is smaller: similarities ``(C, C)`` of both spaces, or products of values ``(M, P)``.
    """
    if len(one) <= min(one.shape[1], other.shape[1]):
        return float(((one @ one.T) * (other @ other.T)).sum())
    return float(((one.T @ other) ** 2).sum())


def _unbiased(one: Centred, other: Centred) -> float:
    """Return C (C - 3) times the unbiased HSIC (Song et al., 2012, equation 5): no clip is compared with itself.

    It does not depend on the spaces' means, so similarities may be those of centred vectors.
    """
    clips = len(one.values)
    both = _shared(one.values, other.values) - float(one.squares @ other.squares)
    totals = one.sums.sum() * other.sums.sum() / ((clips - 1) * (clips - 2))
    return float(both + totals - 2 / (clips - 2) * (one.sums @ other.sums))
