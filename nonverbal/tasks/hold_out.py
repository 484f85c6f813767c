"""Divisions that test on one part of the clips: by shares, by the splits of the corpora, or by corpus."""

from collections.abc import Sequence

import numpy as np

from nonverbal.data.manifest import Clip
from nonverbal.errors import UserError
from nonverbal.seeding import Stream, generator
from nonverbal.tasks.folds import WITHOUT_CLASSES, Fold, check_trainable
from nonverbal.text import shown

DRAWS = 200
"""Number of random divisions, of which the most even one is used."""

SIDES = ("train", "validation", "test")


def hold_out(
    labels: Sequence[str], groups: Sequence[str], shares: Sequence[int], seed: int, stratified: bool = True
) -> Fold:
    """Assign whole groups to the sides, so that each side has about its share of the clips.

    Groups are drawn in a random order. The first go to the test side, as many as bring it nearest to its share, but at
    least one; the next go to the validation side in the same way; all others are trained on. So the test and validation
    sides miss their shares by less than the clips of one group.

    Args:
        labels: each clip's class, at least two classes.
        groups: each clip's group, at least three groups.
        shares: of the train, validation and test sides, in percent.
        seed: draws the order of groups.
        stratified: whether to draw ``DRAWS`` orders and use, among those that leave clips of every class to train on,
            the one whose sides have shares of the classes nearest to those of all clips. Otherwise the first order is
            used.

    Returns:
        a fold with a validation side, which is part of ``train``.

    Raises:
        UserError: there are fewer than three groups, or every order leaves a class untrained.
    """
    check_trainable(labels, groups)
    names, group = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) < len(SIDES):
        raise UserError(f"a hold-out needs at least 3 groups, one for each side, but the clips are in {len(names)}")
    classes, label = np.unique(np.asarray(labels), return_inverse=True)
    counts = np.zeros((len(names), len(classes)), dtype=np.int64)
    np.add.at(counts, (group, label), 1)
    best: tuple[float, np.ndarray] | None = None
    for draw in range(DRAWS):
        order = generator(seed, Stream.PROBE, 1, draw).permutation(len(names))
        side = _sides(counts[order].sum(1), shares)[np.argsort(order)]  # (groups,)
        by_side = np.stack([counts[side == number].sum(0) for number in range(len(SIDES))])  # (sides, classes)
        if not by_side[0].all():
            continue
        uneven = _unevenness(by_side)
        if best is None or uneven < best[0]:
            best = uneven, side
        if not stratified:
            break
    if best is None:
        raise UserError(
            f"each of {DRAWS} hold-outs drawn of {len(names)} groups leaves a class untrained; "
            "leave rare classes out (--labels), or cross-validate (--folds)"
        )
    return _fold("0", best[1][group])


def _sides(clips: np.ndarray, shares: Sequence[int]) -> np.ndarray:
    """Return the side of each group, ``(groups,)``, filling the test, validation and train sides in turn."""
    total, groups = clips.sum(), len(clips)
    side = np.zeros(groups, dtype=np.int64)
    start = 0
    for number, after in ((2, 2), (1, 1)):
        # As many groups as bring it nearest to its share, but at least one, and leave one for each side that follows.
        reached = np.cumsum(clips[start : groups - after])
        end = start + 1 + int(np.abs(reached - total * shares[number] / 100).argmin())
        side[start:end] = number
        start = end
    return side


def _unevenness(by_side: np.ndarray) -> float:
    """Return how far the sides' shares of the classes are from those of all clips; 0 if they are the same."""
    of_all = by_side.sum(0) / by_side.sum()
    of_sides = by_side / by_side.sum(1, keepdims=True)
    return float(((of_sides - of_all) ** 2 / of_all).sum())


def official(labels: Sequence[str], clips: Sequence[Clip]) -> Fold:
    """Divide clips as their corpora do: into a train side, a test side and, if there is one, a validation side.

    Clips of other splits, or of none, are on no side.

    Raises:
        UserError: no clip is on the train side or on the test side, or a class that is tested is not trained.
    """
    side = np.array([SIDES.index(clip.split) if clip.split in SIDES else -1 for clip in clips])
    there = sorted({str(clip.split) for clip in clips if clip.split is not None})
    for number in (0, 2):
        if not (side == number).any():
            raise UserError(
                f"no clip is on the {SIDES[number]} side of its corpus; sides there are: "
                f"{', '.join(map(shown, there)) or 'none'}"
            )
    return _trained(_fold("official", side), labels, "official splits")


def transfer(labels: Sequence[str], clips: Sequence[Clip], train_on: Sequence[str], test_on: Sequence[str]) -> Fold:
    """Train on the clips of some corpora, and test on those of others.

    Raises:
        UserError: no corpora are given, one has no clips, or a class that is tested is not trained.
    """
    corpora = [clip.corpus for clip in clips]
    if not (train_on and test_on):
        raise UserError("a transfer needs corpora to train on and others to test on: --train_on A --test_on B")
    for corpus in [*train_on, *test_on]:
        if corpus not in corpora:
            raise UserError(f"no clip of the corpus {corpus!r} is left; there are: {', '.join(sorted(set(corpora)))}")
    side = np.array([0 if corpus in train_on else 2 if corpus in test_on else -1 for corpus in corpora])
    return _trained(_fold("+".join(test_on), side), labels, "transfer")


def _trained(fold: Fold, labels: Sequence[str], what: str) -> Fold:
    """Refuse a fold that tests on a class that it does not train on."""
    fitted = fold.train if fold.validation is None else np.setdiff1d(fold.train, fold.validation)
    trained, tested = ({labels[row] for row in side} for side in (fitted, fold.test))
    if missing := sorted(tested - trained):
        raise UserError(
            f"{what}: the test side has {', '.join(map(shown, missing))}, but the training side has only "
            f"{', '.join(map(shown, sorted(trained)))}; map labels to common classes (--labels.LABEL CLASS), "
            "or drop them (--labels.LABEL null)"
        )
    if missing := sorted(set(labels) - trained):
        raise UserError(
            f"{what}: {', '.join(map(shown, missing))} is not on the training side; drop it "
            f"(--labels.{missing[0]} null)"
        )
    if len(trained) < 2 and trained != {WITHOUT_CLASSES}:
        raise UserError(f"{what}: a task needs at least two classes, but the training side has only {sorted(trained)}")
    return fold


def _fold(name: str, side: np.ndarray) -> Fold:
    """Return the fold of clips whose sides are positions in ``SIDES``, ``(clips,)``; -1 means no side."""
    train, validation, test = (np.flatnonzero(np.isin(side, own)) for own in ([0, 1], [1], [2]))
    return Fold(name, train, test, validation if len(validation) else None)
