"""Clips divided by a protocol: folds, what is fitted in each fold, and possible leakage."""

from collections import Counter
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np

from nonverbal.data.manifest import Clip
from nonverbal.errors import UserError
from nonverbal.seeding import Stream, generator
from nonverbal.tasks.folds import (
    INNER_FOLDS,
    WITHOUT_CLASSES,
    Fold,
    Group,
    check_classes,
    check_trainable,
    checked,
    group_folds,
    groups_of,
    known_group,
    leave_one_group_out,
    random_folds,
    untrained,
)
from nonverbal.tasks.hold_out import SIDES, hold_out, official, transfer
from nonverbal.tasks.protocols import Protocol
from nonverbal.text import shown

NOTHING = "none known"
"""The leakage of a protocol that keeps speakers, sessions and recordings apart and reads the test side only once."""
ON_TEST = "chosen on the test fold: optimistic"
UNKNOWN_SPEAKERS = "speakers unknown: perhaps on both sides"
UNKNOWN_RECORDINGS = "speakers and recordings unknown: perhaps on both sides"
"""For clips without named recordings, each of which counts as a recording of its own."""


@dataclass(frozen=True)
class Division:
    """Clips as divided by a protocol."""

    protocol: Protocol
    """The protocol, with ``auto`` decided."""
    groups: list[str]
    """Each clip's group."""
    folds: dict[int, list[Fold]]
    """Folds by seed; their rows are positions among the clips."""
    lets_through: list[str]
    """What may make the numbers too good, in words, judged by what is on both sides of these folds; only ``NOTHING`` if
    nothing is known."""
    notes: list[str]
    """What else a reader should know: the true shares of the sides, clips and folds that are left out, small
    classes."""


@dataclass(frozen=True)
class Plan:
    """What is fitted in one fold. ``inner`` and ``training`` are positions in ``rows``."""

    rows: np.ndarray
    """Clips read before the test side is scored: the training side, and the test side if choices are made on it."""
    inner: list[Fold]
    """Folds on which choices are made; empty if there are too few clips to divide."""
    training: np.ndarray
    """Clips to which the classifier is fitted once all choices are made."""


def plan(protocol: Protocol, fold: Fold, labels: Sequence[str], groups: Sequence[str], seed: int) -> Plan:
    """Return what is fitted in a fold.

    Args:
        protocol: says where choices are made.
        fold: one of the folds into which the protocol divided the clips.
        labels: class of every clip.
        groups: group of every clip.
        seed: draws the inner folds.

    Raises:
        UserError: the training side cannot be divided, unless it is cut to a number of clips.
    """
    if protocol.select == "test":
        rows = np.union1d(fold.train, fold.test)
        train, test = (np.searchsorted(rows, side) for side in (fold.train, fold.test))
        return Plan(rows, [Fold(fold.name, train, test)], train)
    inner = _inner(protocol, fold, labels, groups, seed)
    training = inner[0].train if inner and not protocol.refit else np.arange(len(fold.train))
    return Plan(fold.train, inner if protocol.refit else inner[:1], training)


def _inner(protocol: Protocol, fold: Fold, labels: Sequence[str], groups: Sequence[str], seed: int) -> list[Fold]:
    if protocol.per_class is None:
        return fold.inside(labels, groups, seed)
    for folds in range(INNER_FOLDS, 1, -1):
        try:
            return fold.inside(labels, groups, seed, folds)
        except UserError:
            continue
    return []


def divide(protocol: Protocol, labels: Sequence[str], clips: Sequence[Clip]) -> Division:
    """Divide clips.

    Args:
        protocol: how.
        labels: each clip's class; ``WITHOUT_CLASSES`` for all if the task has no classes.
        clips: at least one.

    Raises:
        UserError: there is only one class, or no such division; the message says what is possible.
    """
    check_classes(set(labels))
    try:
        notes: list[str] = []
        if protocol.group == "known":
            protocol = replace(protocol, group=known_group(clips))
            unknown = sum(clip.speaker is None for clip in clips)
            notes += [f"grouped by recording, since {unknown} of {len(clips)} clips have no speaker"] if unknown else []
        groups = groups_of(clips, protocol.group)
        protocol = protocol.among(len(set(groups)))
        folds = {seed: _folds(protocol, labels, groups, clips, seed, notes) for seed in _seeds(protocol)}
    except UserError as error:
        raise UserError(f"{error}; possible here: {possible(clips)}") from error
    if protocol.per_class is not None:
        folds = {
            seed: [cut(fold, labels, groups, protocol.per_class, seed, number) for number, fold in enumerate(of_seed)]
            for seed, of_seed in folds.items()
        }
    through = lets_through(protocol, clips, [fold for of_seed in folds.values() for fold in of_seed])
    return Division(protocol, groups, folds, through, list(dict.fromkeys(notes)))


def possible(clips: Sequence[Clip]) -> str:
    """Say how clips may be divided: by known groups, with the number of folds, and by the splits of the corpora."""
    ways = []
    for group in get_args(Group):
        if group == "known":
            continue
        try:
            count = len(set(groups_of(clips, group)))
        except UserError:
            continue
        if count > 1:
            ways.append(f"--group {group} with {f'2 to {count}' if count > 2 else 2} folds")
    splits = {clip.split for clip in clips}
    if {"train", "test"} <= splits:
        ways.append("--folds official")
    corpora = sorted({clip.corpus for clip in clips})
    if len(corpora) > 1:
        ways.append(f"--protocol transfer between {', '.join(corpora)}")
    return "; ".join(ways) or "nothing: all clips are in one group"


def _seeds(protocol: Protocol) -> tuple[int, ...]:
    if protocol.folds == "leave-one-out" and len(protocol.seeds) != 1:
        raise UserError(
            f"leaving one {protocol.group} out draws nothing at random, so give one seed instead of "
            f"{list(protocol.seeds)}"
        )
    return protocol.seeds


def _folds(
    protocol: Protocol, labels: Sequence[str], groups: Sequence[str], clips: Sequence[Clip], seed: int, notes: list[str]
) -> list[Fold]:
    """Return the folds of one seed, and append to ``notes``."""
    if protocol.folds == "leave-one-out":
        return leave_one_group_out(labels, groups)
    if isinstance(protocol.folds, int):
        notes += _small(labels, protocol.folds)
        if protocol.group != "none":
            return group_folds(labels, groups, protocol.folds, seed, protocol.stratified)
        return _random(protocol, labels, groups, seed, notes)
    if protocol.folds == "hold-out":
        fold = hold_out(labels, groups, protocol.shares, seed, protocol.stratified)
    elif protocol.folds == "official":
        fold = official(labels, clips)
    else:
        fold = transfer(labels, clips, protocol.train_on, protocol.test_on)
    notes += _shares(fold, labels, groups, f"seed {seed}: " if len(protocol.seeds) > 1 else "")
    return [fold]


def _random(
    protocol: Protocol, labels: Sequence[str], groups: Sequence[str], seed: int, notes: list[str]
) -> list[Fold]:
    assert isinstance(protocol.folds, int)
    if protocol.counting == "nonverbal":
        check_trainable(labels, groups)
    folds = random_folds(labels, protocol.folds, seed, protocol.stratified)
    if protocol.counting == "nonverbal":
        return checked(folds, labels, groups)
    for fold in folds:
        if missing := untrained(fold, labels):
            notes.append(
                f"fold {fold.name} of seed {seed} is left out: its training side has no clip of "
                f"{', '.join(map(shown, missing))}, on which the code of voc2vec fails"
            )
    if not (kept := [fold for fold in folds if not untrained(fold, labels)]):
        raise UserError("every fold leaves a class untrained; leave rare classes out (--labels)")
    return kept


def _small(labels: Sequence[str], folds: int) -> list[str]:
    small = {name: count for name, count in sorted(Counter(labels).items()) if count < folds}
    if not small:
        return []
    listed = ", ".join(f"{shown(name)} ({count})" for name, count in small.items())
    return [f"fewer clips than folds: {listed}; some folds test none of them"]


def _shares(fold: Fold, labels: Sequence[str], groups: Sequence[str], seed: str) -> list[str]:
    validation = np.array([], dtype=np.int64) if fold.validation is None else fold.validation
    sides = (np.setdiff1d(fold.train, validation), validation, fold.test)
    total = sum(len(side) for side in sides)
    said = [
        f"{name} {len(side) / total:.1%} ({len(side)} clips of {len({groups[row] for row in side})} groups"
        f"{_classes({labels[row] for row in side})})"
        for name, side in zip(SIDES, sides, strict=True)
        if len(side)
    ]
    left = len(labels) - total
    return [seed + ", ".join(said) + (f"; {left} clips are on no side" if left else "")]


def _classes(labels: Set[str]) -> str:
    return "" if labels == {WITHOUT_CLASSES} else f", {len(labels)} classes"


def cut(fold: Fold, labels: Sequence[str], groups: Sequence[str], clips: int, seed: int, number: int) -> Fold:
    """Return a fold whose training side has at most ``clips`` clips of each class, and no validation side.

    The clips of a class are drawn by seed, from its groups in turn, so that the first few come from as many speakers as
    possible. Those drawn for a smaller number are among those for a larger one.

    Args:
        fold: the fold to cut.
        labels: class of every clip.
        groups: group of every clip.
        clips: number of clips of each class; a class that has fewer keeps them all.
        seed: draws the clips.
        number: the fold's position among those of the seed.
    """
    random = generator(seed, Stream.PROBE, 2, number)
    validation = np.array([], dtype=np.int64) if fold.validation is None else fold.validation
    rows = random.permutation(np.setdiff1d(fold.train, validation))
    kept: list[int] = []
    for name in sorted({labels[row] for row in rows}):
        met: Counter[str] = Counter()
        turns: list[tuple[int, int, int]] = []
        for row in rows:
            if labels[row] == name:
                turns.append((met[groups[row]], len(turns), int(row)))
                met[groups[row]] += 1
        kept += [row for _, _, row in sorted(turns)[:clips]]
    return Fold(fold.name, np.array(sorted(kept)), fold.test)


def lets_through(protocol: Protocol, clips: Sequence[Clip], folds: Iterable[Fold]) -> list[str]:
    """Say what may make numbers too good: what is on both sides of a fold, and choices made on the test side.

    Args:
        protocol: how the clips were divided.
        clips: all of them.
        folds: of all seeds.

    Returns:
        texts such as ``speakers on both sides``; only ``NOTHING`` if nothing is known.
    """
    folds = list(folds)
    columns: dict[str, list[str | None]] = {
        "speakers": [clip.speaker for clip in clips],
        "sessions": [clip.session for clip in clips],
        "recordings": [clip.recording for clip in clips],
    }
    said = [f"{what} on both sides" for what, names in columns.items() if _crosses(names, folds)]
    unknown = [clip.corpus if clip.speaker is None else None for clip in clips]
    if "speakers on both sides" not in said and _crosses(unknown, folds):
        own = all(clip.recording == clip.id for clip in clips if clip.speaker is None)
        said.append(UNKNOWN_RECORDINGS if own else UNKNOWN_SPEAKERS)
    if protocol.select == "test":
        said.append(ON_TEST)
    return said or [NOTHING]


def _crosses(names: Sequence[str | None], folds: Sequence[Fold]) -> bool:
    """Return whether a fold trains on some clips of a name and tests on others."""
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    codes = np.array([numbers[name] for name in names])
    for fold in folds:
        trained = np.zeros(len(numbers), dtype=bool)
        trained[codes[fold.train]] = True
        if None in numbers:
            trained[numbers[None]] = False
        if trained[codes[fold.test]].any():
            return True
    return False
