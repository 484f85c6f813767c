"""Folds that never split a group, their training sides divided again, and the name of the protocol they make."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nonverbal.data.manifest import Clip
from nonverbal.errors import UserError
from nonverbal.seeding import Stream, generator

INNER_FOLDS = 3
"""Folds within a training side, between which settings are chosen."""


@dataclass(frozen=True)
class Fold:
    """One division of the clips. No group has clips on both sides, and every class has clips to train on."""

    name: str
    """``0``, ``1``, ... or, under leave-one-out, the group that is left out."""
    train: np.ndarray
    """Rows to train on, int64, in increasing order."""
    test: np.ndarray
    """Rows to test on, int64, in increasing order. Over all folds every row is tested once."""

    def inside(self, labels: Sequence[str], groups: Sequence[str], seed: int) -> list["Fold"]:
        """Divide the training side: into ``INNER_FOLDS`` stratified folds, or fewer where it has fewer groups.

        Whatever is chosen (a layer, a strength, an epoch) is chosen between these, which split no group either. The
        test side of one of them is a validation side.

        Args:
            labels: class of every clip, on whichever side.
            groups: group of every clip, the same from which this fold was made.
            seed: draws which groups go together.

        Returns:
            folds whose rows are positions in ``train``: ``train[inner.test]`` are rows of all clips.

        Raises:
            UserError: the training side has too few groups.
        """
        own_labels, own_groups = ([names[row] for row in self.train] for names in (labels, groups))
        try:
            return group_folds(own_labels, own_groups, min(INNER_FOLDS, len(set(own_groups))), seed)
        except UserError as error:
            raise UserError(f"nothing can be chosen within the training side of fold {self.name}: {error}") from error


def speaker_groups(clips: Sequence[Clip]) -> list[str]:
    """Return each clip's group when speakers must not be split. Speakers heard in one recording share a group.

    Raises:
        UserError: a clip's speaker is unknown.
    """
    unknown = [clip.id for clip in clips if clip.speaker is None]
    if unknown:
        raise UserError(
            f"{len(unknown)} of {len(clips)} clips have no speaker, the first is {unknown[0]}; "
            "group by recording (--group recording), or give nonverbal prepare a pattern that names speakers"
        )
    leader: dict[str, str] = {}

    def find(name: str) -> str:
        while leader.setdefault(name, name) != name:
            name = leader[name]
        return name

    for clip in clips:
        speaker, recording = find(f"speaker {clip.speaker}"), find(f"recording {clip.recording}")
        leader[recording] = speaker
    names: dict[str, str] = {}
    for clip in clips:
        names.setdefault(find(f"speaker {clip.speaker}"), str(clip.speaker))
    return [names[find(f"speaker {clip.speaker}")] for clip in clips]


def group_folds(labels: Sequence[str], groups: Sequence[str], folds: int, seed: int) -> list[Fold]:
    """Divide clips into ``folds`` with about the same share of each class (scikit-learn's ``StratifiedGroupKFold``).

    Args:
        labels: each clip's class, at least two classes.
        groups: each clip's group.
        folds: at least 2 and at most the number of groups.
        seed: draws which groups go together.

    Raises:
        UserError: there is no such division, or this seed's leaves a fold without clips or a class untrained.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    _check(labels, groups)
    count = len(set(groups))
    if not 2 <= folds <= count:
        raise UserError(f"folds must be 2 to {count}, the number of groups, but is {folds}; give fewer --folds")
    state = int(generator(seed, Stream.PROBE).integers(2**31))
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=state)
    with warnings.catch_warnings():
        # It warns of classes with fewer clips than folds; each score says how many classes its fold holds.
        warnings.simplefilter("ignore", UserWarning)
        try:
            splits = list(splitter.split(np.zeros(len(labels)), labels, groups))
        except ValueError as error:
            raise UserError(
                f"no {folds} stratified folds of {len(labels)} clips: {error}; give fewer --folds"
            ) from error
    return _checked([Fold(str(i), train, test) for i, (train, test) in enumerate(splits)], labels, groups)


def leave_one_group_out(labels: Sequence[str], groups: Sequence[str]) -> list[Fold]:
    """Return one fold a group, in the order of their names, each testing on that group alone.

    Raises:
        UserError: fewer than two groups or classes, or a class that only one group has.
    """
    _check(labels, groups)
    where = np.array(groups)
    folds = [Fold(name, np.flatnonzero(where != name), np.flatnonzero(where == name)) for name in sorted(set(groups))]
    return _checked(folds, labels, groups)


def protocol_name(group: str, folds: int | None) -> str:
    """Name a protocol: ``speaker-disjoint 5-fold, stratified``, or for None ``leave one speaker out``."""
    return f"leave one {group} out" if folds is None else f"{group}-disjoint {folds}-fold, stratified"


def _check(labels: Sequence[str], groups: Sequence[str]) -> None:
    if len(labels) != len(groups):
        raise ValueError(f"`labels` and `groups` must have one length, but have {len(labels)} and {len(groups)}.")
    where: dict[str, set[str]] = {}
    for label, group in zip(labels, groups, strict=True):
        where.setdefault(label, set()).add(group)
    if len(where) < 2:
        raise UserError(f"a task needs at least two classes, but the clips have {sorted(where) or 'none'}")
    for label, found in sorted(where.items()):
        if len(found) < 2:
            raise UserError(
                f"all clips of class {label!r} are in one group ({next(iter(found))}): it cannot be both trained on "
                "and tested; leave the class out (--labels), or group otherwise (--group)"
            )


def _checked(folds: list[Fold], labels: Sequence[str], groups: Sequence[str]) -> list[Fold]:
    classes = set(labels)
    for fold in folds:
        assert not {groups[i] for i in fold.train} & {groups[i] for i in fold.test}, "a group is on both sides"
        missing = sorted(classes - {labels[i] for i in fold.train})
        if missing or not len(fold.test):
            what = f"leaves nothing of {', '.join(missing)} to train on" if missing else "has nothing to test on"
            raise UserError(
                f"fold {fold.name} {what}: too few groups ({len(set(groups))}) for these folds; "
                "give another seed, other --folds, or fewer --labels"
            )
    assert sorted(row for fold in folds for row in fold.test) == list(range(len(labels))), (
        "not every clip is tested once"
    )
    return folds
