"""The null: what a score would be if the classes had nothing to do with the sounds.

Labels are permuted so that everything but their tie to the sounds is kept:

- Within a group of several classes (mixed), the clips' labels are permuted: what a group sounds like stays, and so does
  how often it has each class.
- A group of one class (pure) keeps its clips together, since permuting within it does nothing: the classes of the pure
  groups are permuted among them. Groups keep their clips, so where sizes differ the clips of a class change in number;
  the number of groups of each class does not.
- Where some groups are mixed and some pure, both are done: each is a set of permutations under which the null
  hypothesis leaves the labels as likely as they were, and so are they together. Mixed and pure groups exchange nothing,
  as a group would become of the other kind. Permuting within groups alone would be valid too, but leave the pure
  groups' labels, and so most of the score where most groups are pure.

In all cases each class keeps its number of groups, so that folds which split no group stay possible.
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
"""Draws before it is judged whether enough of them can be scored."""


@dataclass(frozen=True)
class Permutable:
    """Which labels a permutation moves."""

    mixed: int
    """Groups of several classes, within which the clips' labels are permuted."""
    pure: int
    """Groups of one class, among which the classes are permuted."""
    log_distinct: float
    """Natural logarithm of how many different labellings there are; 0 where nothing moves."""

    @property
    def testable(self) -> bool:
        """Whether p could be as small as .05: there are at least 20 different labellings."""
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
    """A score beside those of permuted labels."""

    observed: float
    p: float
    """One-sided: of a score at least as high as the observed one."""
    mean: float
    """Of the permuted labels' scores: what is to be had without knowing the classes."""
    draws: int
    exceeding: int
    """Draws whose score was at least the observed one."""
    what: Permutable


def permutable(labels: Sequence[str] | np.ndarray, groups: Sequence[str] | np.ndarray) -> Permutable:
    """Return what ``permute_labels`` permutes, from each clip's class and group, ``(clips,)``.

    Raises:
        ValueError: the lengths differ.
        UserError: nothing can be permuted: there is one class, or each class's labels are bound to their place.
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
    """Return labels permuted as this module says, ``(clips,)`` of the type of ``labels``.

    All labellings that differ are equally likely. Labels of which nothing can be permuted come back as they are;
    ``permutable`` refuses them.

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

    Stops at ``stop`` such scores, as p is then known to be large, and else after ``most`` draws (Besag & Clifford,
    1991). p = (b + 1) / (n + 1) after n draws of which b scored so high. At the stop that is just above their b / n,
    so stopping does not make a false alarm more frequent.

    Args:
        score: from labels ``(clips,)`` to a score, higher is better. It must do again all that looks at labels,
            choices on the training side included; else the null is that of another procedure. None for permuted
            labels that cannot be scored, as they cannot be divided: they are passed over, and the null is that of
            labels that can.
        labels: each clip's true class.
        groups: each clip's group.
        seed: draws the permutations; draw i depends on ``seed`` and i alone.
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
    """Return the classes, each clip's place among them, and the rows of each group."""
    values, label = np.unique(np.asarray(labels), return_inverse=True)
    names, group = np.unique(np.asarray(groups), return_inverse=True)
    if label.shape != group.shape:
        raise ValueError(f"`labels` and `groups` must have one length, but have {len(label)} and {len(group)}.")
    bounds = np.cumsum(np.bincount(group, minlength=len(names)))[:-1]
    return values, label, np.split(np.argsort(group, kind="stable"), bounds)


def _log_arrangements(counts: Counter[int]) -> float:
    """Return the logarithm of how many different orders there are of things of which so many are alike."""
    if len(counts) < 2:
        return 0.0
    return lgamma(counts.total() + 1) - sum(lgamma(count + 1) for count in counts.values())


def _number(score: Callable[[np.ndarray], float | None], labels: np.ndarray) -> float | None:
    value = score(labels)
    if value is not None and np.isnan(value):
        raise ValueError("`score` must return a number, but returned NaN.")
    return value
