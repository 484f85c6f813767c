"""The null: which score would be expected if the classes had nothing to do with the sounds.

Labels are permuted so that everything except their relation to the sounds is kept:

- Within a group of several classes (mixed), the clips' labels are permuted: what the group sounds like stays the same,
  and so does how often it has each class.
- Within a group of one class (pure), permuting does nothing, so its clips are kept together: the classes of the pure
  groups are permuted among these groups. Groups keep their clips, so if sizes differ, the number of clips of a class
  changes; the number of groups of each class does not.
- If some groups are mixed and some pure, both are done: under the null hypothesis each is a set of permutations that
  leaves the labels as likely as they were, and so are both together. Mixed and pure groups exchange nothing, because a
  group would change its kind. Permuting only within groups would be valid too, but would keep the labels of the pure
  groups, and so most of the score if most groups are pure.

In all cases each class keeps its number of groups, so that folds that split no group remain possible.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import lgamma, log

import numpy as np

from nonverbal.errors import UserError
from nonverbal.seeding import Stream, generator
from nonverbal.text import counted

_TRIED = 50
"""Number of draws after which it is checked whether enough of them can be scored."""


@dataclass(frozen=True)
class Permutable:
    """Which labels a permutation moves."""

    mixed: int
    """Number of groups of several classes, within which the clips' labels are permuted."""
    pure: int
    """Number of groups of one class, among which the classes are permuted."""
    log_distinct: float
    """Natural logarithm of the number of different labellings; 0 if nothing moves."""

    @property
    def testable(self) -> bool:
        """Whether p can be as small as .05: there are at least 20 different labellings."""
        return self.log_distinct >= log(20) - 1e-9

    def __str__(self) -> str:
        """Say what is permuted, for a table's caption."""
        within = f"labels permuted within {counted(self.mixed, 'group')}"
        among = f"the classes of {counted(self.pure, 'group')} of one class permuted among them"
        if self.mixed and self.pure:
            return f"{within}, and {among}"
        return within if self.mixed else among


@dataclass(frozen=True)
class Null:
    """A score, compared with those of permuted labels."""

    observed: float
    p: float
    """One-sided p-value: of a score at least as high as the observed one."""
    mean: float
    """Mean score of the permuted labels: what is reached without knowing the classes."""
    draws: int
    exceeding: int
    """Number of draws whose score was at least the observed one."""
    what: Permutable


def permutable(labels: Sequence[str] | np.ndarray, groups: Sequence[str] | np.ndarray) -> Permutable:
    """Return what ``permute_labels`` permutes, from each clip's class and group, ``(clips,)``.

    Raises:
        ValueError: the lengths differ.
        UserError: nothing can be permuted: there is only one class, or every label is fixed in its place.
    """
    _, label, members = _divided(labels, groups)
    inside = [Counter(label[rows].tolist()) for rows in members]
    mixed = [counts for counts in inside if len(counts) > 1]
    pure = Counter(next(iter(counts)) for counts in inside if len(counts) == 1)
    log_distinct = sum(_log_arrangements(counts) for counts in [*mixed, pure])
    if log_distinct == 0:
        raise UserError(
            f"no label of {len(label)} clips in {len(members)} groups can be permuted: no group has clips of two "
            "classes, and all groups have the same class; a null needs two classes"
        )
    return Permutable(len(mixed), pure.total() if len(pure) > 1 else 0, log_distinct)


def permute_labels(
    labels: Sequence[str] | np.ndarray, groups: Sequence[str] | np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """Return labels permuted as this module describes, ``(clips,)``, with the type of ``labels``.

    All different labellings are equally likely. Labels that cannot be permuted are returned unchanged; ``permutable``
    refuses them.

    Raises:
        ValueError: the lengths differ.
    """
    values, label, members = _divided(labels, groups)
    permuted, pure = label.copy(), []
    for rows in members:
        if (label[rows] == label[rows[0]]).all():
            pure.append(rows)
        else:
            permuted[rows] = random.permutation(label[rows])
    for rows, drawn in zip(pure, random.permutation([label[rows[0]] for rows in pure]), strict=True):
        permuted[rows] = drawn
    return np.asarray(values[permuted])


def permutation_null(
    score: Callable[[np.ndarray], float | None],
    labels: Sequence[str] | np.ndarray,
    groups: Sequence[str] | np.ndarray,
    seed: int = 0,
    most: int = 999,
    stop: int = 20,
) -> Null:
    """Return how often permuted labels score as high as the true ones.

    Stops at ``stop`` such scores, because p is then known to be large, and otherwise after ``most`` draws (Besag &
    Clifford, 1991). p = (b + 1) / (n + 1) after n draws, b of which scored so high. When stopped early, this is just
    above their b / n, so stopping does not make false alarms more frequent.

    Args:
        score: from labels ``(clips,)`` to a score, of which higher is better. It must repeat everything that uses
            labels, including choices on the training side; otherwise the null is that of another procedure. It returns
            None for permuted labels that cannot be scored because they cannot be divided: these are skipped, and the
            null is that of labels that can be scored.
        labels: each clip's true class.
        groups: each clip's group.
        seed: draws the permutations; draw i depends only on ``seed`` and i.
        most: at least 1; p is at least 1 / (``most`` + 1).
        stop: at least 1.

    Raises:
        ValueError: ``most`` or ``stop`` is below 1, the lengths differ, or ``score`` returns NaN, or None for the true
            labels.
        UserError: nothing can be permuted, or more than 9 in 10 permuted labels cannot be scored.
    """
    if most < 1 or stop < 1:
        raise ValueError(f"`most` and `stop` must be at least 1, but are {most} and {stop}.")
    what = permutable(labels, groups)
    observed = _number(score, np.asarray(labels))
    if observed is None:
        raise ValueError("`score` must return a number for the true labels, but returned None.")
    scores: list[float] = []
    exceeding = draw = 0
    while len(scores) < most and exceeding < stop:
        value = _number(score, permute_labels(labels, groups, generator(seed, Stream.PERMUTE, draw)))
        draw += 1
        if value is not None:
            scores.append(value)
            exceeding += value >= observed - 1e-9
        elif draw >= _TRIED and draw > 10 * len(scores):
            raise UserError(
                f"of {draw} permuted labellings, {draw - len(scores)} cannot be divided or trained as the true labels "
                "are: there are too few groups of some class for a null; drop that class, or make fewer folds"
            )
    p = (exceeding + 1) / (len(scores) + 1)
    return Null(observed, p, float(np.mean(scores)), len(scores), exceeding, what)


def _divided(
    labels: Sequence[str] | np.ndarray, groups: Sequence[str] | np.ndarray
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Return the classes, each clip's position among them, and the rows of each group."""
    values, label = np.unique(np.asarray(labels), return_inverse=True)
    names, group = np.unique(np.asarray(groups), return_inverse=True)
    if label.shape != group.shape:
        raise ValueError(f"`labels` and `groups` must have one length, but have {len(label)} and {len(group)}.")
    bounds = np.cumsum(np.bincount(group, minlength=len(names)))[:-1]
    return values, label, np.split(np.argsort(group, kind="stable"), bounds)


def _log_arrangements(counts: Counter[int]) -> float:
    """Return the logarithm of the number of distinct orders of a multiset with these counts."""
    if len(counts) < 2:
        return 0.0
    return lgamma(counts.total() + 1) - sum(lgamma(count + 1) for count in counts.values())


def _number(score: Callable[[np.ndarray], float | None], labels: np.ndarray) -> float | None:
    value = score(labels)
    if value is not None and np.isnan(value):
        raise ValueError("`score` must return a number, but returned NaN.")
    return value
