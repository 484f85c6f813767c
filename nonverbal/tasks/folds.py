"""Folds, their training sides divided again, and the groups of clips that neither of them splits."""

import warnings
from collections.abc import Hashable, Sequence, Set
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from nonverbal.data.manifest import Clip
from nonverbal.errors import UserError
from nonverbal.seeding import Stream, generator
from nonverbal.tasks.groups import connected

Group = Literal["speaker", "session", "recording", "known", "none"]
"""``known``: the speaker if every clip has one, otherwise the recording; a division says which."""


WITHOUT_CLASSES = ""
"""The label of every clip in a task without classes, such as one with texts. No corpus has such a label."""

INNER_FOLDS = 3
"""Number of folds within a training side, on which settings are chosen."""


@dataclass(frozen=True)
class Fold:
    """One division of clips. Every class has clips to train on."""

    name: str
    """``0``, ``1``, ... or, with leave-one-out, the group that is left out."""
    train: np.ndarray
    """Rows to train on, int64, in increasing order."""
    test: np.ndarray
    """Rows to test on, int64, in increasing order."""
    validation: np.ndarray | None = None
    """Rows of ``train`` on which choices are made, in increasing order, if the protocol has such a side."""

    def inside(self, labels: Sequence[str], groups: Sequence[str], seed: int, folds: int = INNER_FOLDS) -> list["Fold"]:
        """Divide the training side: by its validation side or, without one, into ``folds`` stratified folds.

        Whatever is chosen (a layer, a strength, an epoch) is chosen on these folds. They split no group, and there are
        fewer of them if there are fewer groups. The test side of an inner fold is a validation side.

        Args:
            labels: class of every clip, on any side.
            groups: group of every clip, as used to make this fold.
            seed: draws which groups are put together.
            folds: how many, at least 2.

        Returns:
            folds whose rows are positions in ``train``: ``train[inner.test]`` are rows of all clips.

        Raises:
            UserError: the training side has too few groups.
        """
        if self.validation is not None:
            chosen_on = np.isin(self.train, self.validation)
            return [Fold(self.name, np.flatnonzero(~chosen_on), np.flatnonzero(chosen_on))]
        own_labels, own_groups = ([names[row] for row in self.train] for names in (labels, groups))
        try:
            return group_folds(own_labels, own_groups, min(folds, len(set(own_groups))), seed)
        except UserError as error:
            raise UserError(f"nothing can be chosen within the training side of fold {self.name}: {error}") from error


def known_group(clips: Sequence[Clip]) -> Group:
    """Return ``speaker`` if every clip has one, otherwise ``recording``."""
    return "speaker" if all(clip.speaker is not None for clip in clips) else "recording"


def groups_of(clips: Sequence[Clip], group: Group) -> list[str]:
    """Return each clip's group. Speakers, or sessions, that share a recording share a group.

    Args:
        clips: the clips to group.
        group: by what to group; ``known`` means what ``known_group`` returns.

    Raises:
        UserError: a clip's speaker or session is unknown.
    """
    if group == "none":
        return [clip.id for clip in clips]
    if group == "recording":
        return [clip.recording for clip in clips]
    own = [clip.speaker if group == "speaker" else clip.session for clip in clips]
    unknown = [clip.id for clip, name in zip(clips, own, strict=True) if name is None]
    if unknown:
        raise UserError(
            f"{len(unknown)} of {len(clips)} clips have no {group}, the first is {unknown[0]}; "
            f"group by recording (--group recording), or give nonverbal prepare a pattern that names {group}s"
        )
    names = [str(name) for name in own]
    numbers = connected(names, [clip.recording for clip in clips]).tolist()
    first: dict[int, str] = {}
    for number, name in zip(numbers, names, strict=True):
        first.setdefault(number, name)
    return [first[number] for number in numbers]


def group_folds(
    labels: Sequence[str], groups: Sequence[str], folds: int, seed: int, stratified: bool = True
) -> list[Fold]:
    """Divide clips into ``folds`` that split no group and test every clip once.

    Args:
        labels: each clip's class, at least two classes.
        groups: each clip's group.
        folds: at least 2 and at most the number of groups.
        seed: draws which groups are put together.
        stratified: whether folds have about the same share of each class (scikit-learn's ``StratifiedGroupKFold``), or
            only about the same number of clips (``GroupKFold``).

    Raises:
        UserError: there is no such division, or with this seed a fold has no clips or a class is not trained.
    """
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    check_trainable(labels, groups)
    splitter = StratifiedGroupKFold if stratified else GroupKFold
    made = _split(splitter, labels, groups, folds, seed)
    assert not any(_shared(fold, groups) for fold in made), "a group is on both sides"
    return checked(made, labels, groups)


def random_folds(labels: Sequence[str], folds: int, seed: int, stratified: bool) -> list[Fold]:
    """Divide clips, regardless of their speakers, into ``folds`` that test every clip once.

    Args:
        labels: each clip's class, at least two classes.
        folds: at least 2 and at most the number of clips.
        seed: draws which clips are put together.
        stratified: whether folds have the same share of each class (scikit-learn's ``StratifiedKFold``) or not
            (``KFold``).

    Returns:
        folds, some of whose training sides may lack a class; ``checked`` refuses these.

    Raises:
        UserError: there is no such division.
    """
    from sklearn.model_selection import KFold, StratifiedKFold

    check_classes(set(labels))
    return _split(StratifiedKFold if stratified else KFold, labels, range(len(labels)), folds, seed)


def _split(splitter: Any, labels: Sequence[str], groups: Sequence[Hashable], folds: int, seed: int) -> list[Fold]:
    count = len(set(groups))
    if not 2 <= folds <= count:
        raise UserError(f"folds must be 2 to {count}, the number of groups, but is {folds}; give fewer --folds")
    state = int(generator(seed, Stream.PROBE).integers(2**31))
    with warnings.catch_warnings():
        # scikit-learn warns of classes with fewer clips than folds; each score says how many classes its fold has.
        warnings.simplefilter("ignore", UserWarning)
        try:
            splits = list(splitter(folds, shuffle=True, random_state=state).split(labels, labels, groups))
        except ValueError as error:
            raise UserError(
                f"no {folds} stratified folds of {len(labels)} clips: {error}; give fewer --folds"
            ) from error
    return [Fold(str(i), train, test) for i, (train, test) in enumerate(splits)]


def leave_one_group_out(labels: Sequence[str], groups: Sequence[str]) -> list[Fold]:
    """Return one fold per group, in the order of their names, each of which tests on that group only.

    Raises:
        UserError: there are fewer than two groups or classes, or only one group has some class.
    """
    check_trainable(labels, groups)
    where = np.array(groups)
    folds = [Fold(name, np.flatnonzero(where != name), np.flatnonzero(where == name)) for name in sorted(set(groups))]
    return checked(folds, labels, groups)


def check_classes(classes: Set[str]) -> None:
    """Refuse fewer than two classes, in a task that has classes.

    Raises:
        UserError: there are fewer; the message names them.
    """
    if len(classes) < 2 and classes != {WITHOUT_CLASSES}:
        raise UserError(f"a task needs at least two classes, but the clips have {sorted(classes) or 'none'}")


def check_trainable(labels: Sequence[str], groups: Sequence[str]) -> None:
    """Refuse fewer than two classes, and a class that only one group has.

    Raises:
        UserError: the message names the class.
    """
    if len(labels) != len(groups):
        raise ValueError(f"`labels` and `groups` must have the same length, but have {len(labels)} and {len(groups)}.")
    where: dict[str, set[str]] = {}
    for label, group in zip(labels, groups, strict=True):
        where.setdefault(label, set()).add(group)
    check_classes(where.keys())
    for label, found in sorted(where.items()):
        if len(found) < 2:
            group = next(iter(found))
            if label == WITHOUT_CLASSES:
                raise UserError(f"all clips are in one group ({group}); group otherwise (--group)")
            raise UserError(
                f"all clips of class {label!r} are in one group ({group}): it cannot be both trained on "
                "and tested; leave the class out (--labels), or group otherwise (--group)"
            )


def checked(folds: list[Fold], labels: Sequence[str], groups: Sequence[str]) -> list[Fold]:
    """Return the folds of a cross-validation, refusing a fold with nothing to test on or with an untrained class.

    Raises:
        UserError: the message names the fold.
    """
    for fold in folds:
        missing = untrained(fold, labels)
        if missing or not len(fold.test):
            what = f"leaves no clip of {', '.join(missing)} to train on" if missing else "has nothing to test on"
            raise UserError(
                f"fold {fold.name} {what}: too few groups ({len(set(groups))}) for these folds; "
                "give another seed, other --folds, or fewer --labels"
            )
    assert sorted(row for fold in folds for row in fold.test) == list(range(len(labels))), (
        "not every clip is tested once"
    )
    return folds


def untrained(fold: Fold, labels: Sequence[str]) -> list[str]:
    """Return the classes that the training side of a fold lacks."""
    return sorted(set(labels) - {labels[row] for row in fold.train})


def _shared(fold: Fold, groups: Sequence[str]) -> set[str]:
    return {groups[row] for row in fold.train} & {groups[row] for row in fold.test}
