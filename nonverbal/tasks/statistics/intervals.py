"""Intervals of a metric over groups: which values these trained models would reach with other speakers.

Groups are assumed to be independent draws from one population; nothing is assumed about the clips within a group. The
models are fixed: variation due to other training sets is not included.

The default is Student's t on the group jackknife, on the logit scale. How often a nominal .95 interval holds the true
UAR of .75 (4 classes, about 30 clips per group of very unequal sizes, intra-class correlation .1, 4000 draws; mean
length in brackets; ``tests/tasks/statistics/test_simulations.py`` repeats this):

======  =================  =================  =================
groups  logit (default)    plain scale        bootstrap
======  =================  =================  =================
10      .944 (.247)        .925 (.246)        .892 (.184)
15      .933 (.196)        .921 (.195)        .895 (.159)
20      .941 (.170)        .934 (.170)        .914 (.143)
40      .939 (.119)        .934 (.118)        .923 (.107)
======  =================  =================  =================

If each group has one class, the default holds it .95 to .97 of the time. Near 1 the logit matters: for a true UAR of
.97 the default holds it .94 to .97 of the time, the plain scale .82 at 10 groups and .87 at 40, the bootstrap .81 and
.88.
"""

from dataclasses import dataclass

import numpy as np

from nonverbal.seeding import Stream, generator
from nonverbal.tasks.statistics.confusions import UAR, Metric, by_group, check_groups

RESAMPLES = 10_000


@dataclass(frozen=True)
class Interval:
    """A value, and the range that it could have over other groups of the same kind."""

    value: float
    """The metric of all clips together."""
    low: float
    high: float
    groups: int
    """Number of groups with clips, at least 2."""


def jackknife_t(counts: np.ndarray, metric: Metric = UAR, level: float = 0.95) -> Interval:
    """Return the interval of ``metric`` by deleting one group at a time (Efron & Stein, 1981), by Student's t.

    The spread of the logits of the values with one group deleted gives the standard error, with ``groups`` - 1 degrees
    of freedom. Special cases:

    - Only one group has a class: without that group, the value is the metric of the other classes. (Holding that
      class's recall fixed instead covers as little as .4 of the time; this covers .87 to .97.)
    - Only one group has errors, or only one has hits: the logit of the value without it is infinite, so the error on
      the plain scale is divided by value x (1 - value).
    - No group has errors, or none has hits: the spread says nothing. With probability ``level``, at least a share of
      ``((1 - level) / 2) ** (1 / groups)`` of all groups is like these, which gives the bound (Clopper & Pearson,
      1934); it assumes nothing about the clips within a group, and so is wide.

    Args:
        counts: ``(groups, classes, classes)``, or with seeds as an additional first axis, which are averaged; see
            ``by_group``.
        metric: the metric, which is computed from the summed counts.
        level: nominal coverage, in (0, 1).

    Raises:
        UserError: fewer than 2 groups have clips.
    """
    groups = by_group(counts)
    value, deleted = float(metric(groups.sum(0))), metric(groups.sum(0) - groups)
    if value in (0.0, 1.0):
        bound = ((1 - level) / 2) ** (1 / len(groups))
        low, high = (bound, 1.0) if value == 1 else (0.0, 1 - bound)
        return Interval(value, low, high, len(groups))
    if ((deleted > 0) & (deleted < 1)).all():
        error = _standard_error(_logit(deleted))
    else:
        error = _standard_error(deleted) / (value * (1 - value))
    reach = _student(level, len(groups)) * error
    low, high = 1 / (1 + np.exp(-(_logit(np.array(value)) + np.array([-reach, reach]))))
    return Interval(value, float(low), float(high), len(groups))


def difference_t(first: np.ndarray, second: np.ndarray, metric: Metric = UAR, level: float = 0.95) -> Interval:
    """Return the interval of ``metric`` of ``first`` minus that of ``second``, on the same clips, in [-1, 1].

    Computed as in ``jackknife_t``, on the plain scale: a difference has no logit. ``value`` is the difference.

    Raises:
        ValueError: the clips of the two differ.
        UserError: fewer than 2 groups have clips.
    """
    one, other = same_clips(first, second)
    value = float(metric(one.sum(0)) - metric(other.sum(0)))
    deleted = metric(one.sum(0) - one) - metric(other.sum(0) - other)
    reach = _student(level, len(one)) * _standard_error(deleted)
    return Interval(value, max(-1.0, value - reach), min(1.0, value + reach), len(one))


def rate_t(errors: np.ndarray, totals: np.ndarray, level: float = 0.95) -> Interval:
    """Return the interval of a rate that may exceed 1, such as a word error rate, by deleting one group at a time.

    Computed as in ``jackknife_t``, on the log scale: errors over words have no upper bound. If only one group has
    errors, the log of the rate without it is infinite, so the error on the plain scale is divided by the rate. If no
    group has errors, nothing else is known about the rate: ``high`` is infinite. A nominal .95 interval held the true
    rate .93 to .95 of the time with 5 to 40 groups of 50 to 400 words whose own rates varied by half (gamma), and .92
    to .96 on the plain scale.

    Args:
        errors: of each group, ``(groups,)``; at least 0.
        totals: what the errors are divided by, such as words, for each group. Groups with 0 are left out.
        level: nominal coverage, in (0, 1).

    Raises:
        UserError: fewer than 2 groups have any.
    """
    errors, totals = errors[totals > 0].astype(np.float64), totals[totals > 0].astype(np.float64)
    check_groups(len(totals))
    value = float(errors.sum() / totals.sum())
    if value == 0:
        return Interval(value, 0.0, np.inf, len(totals))
    deleted = (errors.sum() - errors) / (totals.sum() - totals)
    error = _standard_error(np.log(deleted)) if (deleted > 0).all() else _standard_error(deleted) / value
    reach = _student(level, len(totals)) * error
    return Interval(value, float(value * np.exp(-reach)), float(value * np.exp(reach)), len(totals))


def bootstrap(
    counts: np.ndarray, metric: Metric = UAR, level: float = 0.95, seed: int = 0, resamples: int = RESAMPLES
) -> Interval:
    """Return the percentile interval of ``metric`` over resamples of whole groups (Efron, 1979).

    With few groups it is too short: see the top of this file. The metric of a resample without clips of a class is that
    of the other classes. Arguments and errors are those of ``jackknife_t``; ``seed`` draws the resamples.
    """
    groups = by_group(counts)
    G = len(groups)
    drawn = generator(seed, Stream.RESAMPLE).multinomial(G, np.full(G, 1 / G), size=resamples)
    totals = (drawn.astype(np.float64) @ groups.reshape(G, -1)).reshape(-1, *groups.shape[1:])
    low, high = np.quantile(metric(totals), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(metric(groups.sum(0))), float(low), float(high), G)


def same_clips(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ``by_group`` of two models' counts, which must be of the same clips: equally many of each group and class.

    Raises:
        ValueError: they are of different clips.
        UserError: fewer than 2 groups have clips.
    """
    if first.shape[-3:] != second.shape[-3:] or not np.allclose(_clips(first), _clips(second)):
        raise ValueError("`first` and `second` must be counts of the same clips in the same groups, but differ.")
    return by_group(first), by_group(second)


def _clips(counts: np.ndarray) -> np.ndarray:
    """Return the number of clips of each group and class, ``(groups, classes)``."""
    clips = counts.sum(-1)
    return np.asarray(clips.mean(0) if clips.ndim == 3 else clips)


def _standard_error(deleted: np.ndarray) -> float:
    G = len(deleted)
    return float(np.sqrt((G - 1) / G * ((deleted - deleted.mean()) ** 2).sum()))


def _student(level: float, groups: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(groups - 1, (1 + level) / 2))


def _logit(values: np.ndarray) -> np.ndarray:
    return np.asarray(np.log(values) - np.log1p(-values))
