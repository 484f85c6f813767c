"""Two models on the same clips: whether they differ, by how much, and for how many groups.

If two models are equally good (the null hypothesis), each could have made the decisions that the other made on a
group's clips: the decisions on groups are swapped in every way, or in many random ways (Fisher's randomisation test for
pairs; Noreen, 1989). Groups are assumed to be independent; nothing is assumed about the clips within a group.

The test compares these trained models. If two encoders are equally good, but chance trained the probe of one better,
that counts as a difference. Over 5-fold cross-validations of equally good encoders, p was at most .05 in .05 to .06 of
the cases with well trained probes (UAR .8), and in up to .10 with probes trained on 100 to 200 clips (UAR .6).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from nonverbal.seeding import Stream, generator
from nonverbal.tasks.statistics.confusions import UAR, Metric, margins
from nonverbal.tasks.statistics.intervals import Interval, difference_t, same_clips

EXACT_GROUPS = 15
"""With up to this many groups, all ways to swap are counted, up to 2^15."""
DRAWS = 100_000
ALPHA = 0.05
"""The largest significant p-value, after adjustment for its family."""
_BLOCK = 4096
_SAME = 1e-9
"""Values closer than this are equal: they differ only by rounding."""


@dataclass(frozen=True)
class Comparison:
    """The difference between two models."""

    first: str
    second: str
    difference: Interval
    """The first model's metric minus the second's."""
    p: float
    """Two-sided p-value of the swap test."""
    p_holm: float
    """``p`` adjusted for all comparisons of the family."""
    testable: bool
    """Whether ``p_holm`` can be as small as .05 at all; see ``is_testable``."""
    better: int
    """Number of groups in which the first model's metric is higher."""
    worse: int
    equal: int


def compare(
    models: Mapping[str, np.ndarray],
    metric: Metric = UAR,
    seed: int = 0,
    pairs: Sequence[tuple[str, str]] | None = None,
    level: float = 0.95,
) -> list[Comparison]:
    """Compare models as one family: differences with intervals, swap tests adjusted by Holm, groups won and lost.

    Args:
        models: each model's counts, ``(groups, classes, classes)`` or with seeds as an additional first axis, all of
            the same clips; at least one model.
        metric: the metric to compare.
        seed: draws the ways to swap if not all are counted.
        pairs: names of the models to compare; None for all pairs, in the order of ``models``.
        level: nominal coverage of the differences' intervals.

    Raises:
        ValueError: two models are not of the same clips.
        UserError: fewer than 2 groups have clips.
    """
    chosen = list(combinations(models, 2)) if pairs is None else list(pairs)
    reference = next(iter(models.values()))
    counts = {name: same_clips(reference, model)[1] for name, model in models.items()}
    places = list(counts)
    p = _swap_p(
        list(counts.values()), [(places.index(first), places.index(second)) for first, second in chosen], metric, seed
    )
    adjusted = holm(p)
    comparisons = []
    for i, (first, second) in enumerate(chosen):
        difference = difference_t(counts[first], counts[second], metric, level)
        better, worse, equal = groups_won(counts[first], counts[second], metric)
        can = is_testable(difference.groups, len(chosen))
        row = Comparison(first, second, difference, float(p[i]), float(adjusted[i]), can, better, worse, equal)
        comparisons.append(row)
    return comparisons


def swap_test(first: np.ndarray, second: np.ndarray, metric: Metric = UAR, seed: int = 0) -> float:
    """Return the two-sided p-value of the difference in ``metric`` between two models on the same clips.

    The statistic is the absolute difference. With up to 15 groups, p is the share of all ways to swap whose statistic
    is at least the observed one, which is itself one of them; with more groups it is (b + 1) / (n + 1), for b of n =
    100 000 random ways (Phipson & Smyth, 2010). Arguments and errors are those of ``compare``.
    """
    return float(_swap_p(same_clips(first, second), [(0, 1)], metric, seed)[0])


def holm(p: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return p-values ``(n,)`` adjusted for ``n`` comparisons, in the given order, at most 1 (Holm, 1979).

    If those that are at most alpha are rejected, the chance of any false rejection in the family is at most alpha.
    """
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)))
    return adjusted


def is_testable(groups: int, comparisons: int) -> bool:
    """Return whether a swap test can be significant: 2^(1 - groups) x comparisons is at most .05.

    Of the 2^groups ways to swap, at least two are as extreme as any given way: that way, and the way that swaps all
    other groups. So the smallest p is 2^(1 - groups), which Holm's method multiplies by the number of comparisons.
    """
    return 2.0 ** (1 - groups) * comparisons <= ALPHA


def groups_won(first: np.ndarray, second: np.ndarray, metric: Metric = UAR) -> tuple[int, int, int]:
    """Return in how many groups the first model is better, worse and equal, by ``metric`` of the group's clips.

    The UAR of a group is over the classes in the group; with one class, it is the group's accuracy.
    """
    one, other = same_clips(first, second)
    difference = metric(one) - metric(other)
    better, worse = int((difference > _SAME).sum()), int((difference < -_SAME).sum())
    return better, worse, len(difference) - better - worse


def _swap_p(models: Sequence[np.ndarray], pairs: Sequence[tuple[int, int]], metric: Metric, seed: int) -> np.ndarray:
    """Return the p of each pair of models of ``(groups, classes, classes)``; all pairs use the same ways to swap."""
    if not pairs:
        return np.empty(0)
    G = len(models[0])
    statistic = _statistic(metric, models, pairs)
    observed = statistic(np.zeros((1, G)))
    extreme, ways = np.zeros(len(pairs), dtype=np.int64), 0
    for swapped in _ways(G, seed):
        extreme += (statistic(swapped) >= observed - _SAME).sum(0)
        ways += len(swapped)
    return np.asarray(extreme / ways if G <= EXACT_GROUPS else (extreme + 1) / (ways + 1))


def _ways(groups: int, seed: int) -> Iterator[np.ndarray]:
    """Yield blocks of ways to swap, ``(ways, groups)`` of 0 (stays) and 1 (swapped).

    Half of the ways are enough: the first group stays, because swapping everything only changes the sign.
    """
    if groups <= EXACT_GROUPS:
        for start in range(0, 2 ** (groups - 1), _BLOCK):
            numbers = np.arange(start, min(start + _BLOCK, 2 ** (groups - 1)))
            yield (numbers[:, None] >> np.arange(groups - 1, -1, -1) & 1).astype(np.float64)
        return
    random = generator(seed, Stream.SWAP)
    for start in range(0, DRAWS, _BLOCK):
        yield random.integers(0, 2, (min(_BLOCK, DRAWS - start), groups), dtype=np.int8).astype(np.float64)


def _statistic(
    metric: Metric, models: Sequence[np.ndarray], pairs: Sequence[tuple[int, int]]
) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from ways to swap to the absolute difference of each pair, ``(ways, pairs)``."""
    counts = [margins(model) for model in models]
    if metric.weights is not None:
        # The difference is a sum over groups, and swapping a group's decisions changes the sign of its term.
        weights = metric.weights(counts[0][1].sum(0))
        shares = np.stack([hits @ weights for hits, _, _ in counts], axis=1)  # (groups, models)
        one, other = np.array(pairs).T

        def difference(swapped: np.ndarray) -> np.ndarray:
            signed = (1 - 2 * swapped) @ shares
            return np.asarray(np.abs(signed[:, one] - signed[:, other]))

        return difference
    return lambda swapped: np.stack([_swapped(metric, counts[i], counts[j], swapped) for i, j in pairs], axis=1)


def _swapped(
    metric: Metric, first: tuple[np.ndarray, ...], second: tuple[np.ndarray, ...], swapped: np.ndarray
) -> np.ndarray:
    """Return the absolute difference of two models after each way to swap, ``(ways,)``, from their ``margins``."""
    (hits, true, predicted), (other_hits, _, other_predicted) = first, second
    moved, moved_predicted = swapped @ (hits - other_hits), swapped @ (predicted - other_predicted)
    one = metric.of(hits.sum(0) - moved, true.sum(0), predicted.sum(0) - moved_predicted)
    other = metric.of(other_hits.sum(0) + moved, true.sum(0), other_predicted.sum(0) + moved_predicted)
    return np.asarray(np.abs(one - other))
