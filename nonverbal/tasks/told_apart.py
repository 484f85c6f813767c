"""Files with different scores for the same model, head, protocol and seed: all are kept, and named by folder."""

import os
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from nonverbal.grouping import grouped
from nonverbal.tasks.scores import Score

APART = "contradicted"
"""Key in the ``details`` of scores that are read: another file has different scores for the same measurement."""

Held = tuple[list[Score], Path]
"""All folds of a model, head, protocol and seed, and the file that holds them."""


def apart_notes(scores: Iterable[Score]) -> list[str]:
    """Return a table's notes on heads that are named with folders; empty if there are none."""
    note = "HEAD, in FOLDER: files hold different scores of one model, head, protocol and seed; each has its own row"
    return [note] if any(APART in score.details for score in scores) else []


def told_apart(held: Sequence[Held]) -> list[Held]:
    """Return the seeds of one model, head and protocol, each once; if files contradict each other, all are kept.

    The heads are then named with the folders of their files, so that none silently replaces another: the files do not
    say which is meant.
    """
    if _agree(held):
        return _once(held)
    by_file = grouped(held, lambda one: one[1])
    kept: dict[Path, list[Held]] = {}
    for file, own in by_file.items():
        seeds = {rows[0].seed for rows, _ in own}
        same = (
            first
            for first, others in kept.items()
            if seeds & {rows[0].seed for rows, _ in others} and _agree([*own, *others])
        )
        kept.setdefault(next(same, file), []).extend(own)
    names = dict(zip(kept, _folders(list(kept)), strict=True))
    return [
        ([_named(row, names[first]) for row in rows], file) for first, own in kept.items() for rows, file in _once(own)
    ]


def _named(row: Score, folder: str) -> Score:
    return replace(row, probe=f"{row.probe}, in {folder}", details=row.details | {APART: True})


def _agree(held: Sequence[Held]) -> bool:
    """Whether no two of them have different scores for the same seed."""
    return len({(rows[0].seed, *map(_measured, rows)) for rows, _ in held}) == len({rows[0].seed for rows, _ in held})


def _measured(score: Score) -> tuple[Hashable, ...]:
    """What was measured in a fold, without the other fields, which a null or a newer version adds."""
    metrics, chosen = (str(sorted(own.items())) for own in (score.metrics, score.chosen))
    clips = score.train_clips, score.test_clips, score.test_classes
    return score.fold, score.model_key, metrics, chosen, clips, score.pretraining


def _once(held: Sequence[Held]) -> list[Held]:
    """Return each seed once, from the file that holds the most details on it."""
    seeds: dict[int, Held] = {}
    for rows, file in held:
        before = seeds.setdefault(rows[0].seed, (rows, file))
        if _said(rows) > _said(before[0]):
            seeds[rows[0].seed] = rows, file
    return list(seeds.values())


def _said(rows: Sequence[Score]) -> tuple[float, ...]:
    draws = rows[0].null.get("draws", 0)
    more = ([bool(row.details), bool(row.inner_uar), bool(row.launch)] for row in rows)
    return draws if isinstance(draws, int | float) else 0, *map(sum, zip(*more, strict=True))


def _folders(files: Sequence[Path]) -> list[str]:
    """Return short names that distinguish files: by folder, without the common part; by file if folders are shared."""
    whole = [file.absolute() for file in files]
    common = os.path.commonpath([file.parent.parent for file in whole])
    names = [os.path.relpath(file.parent, common) for file in whole]
    return names if len(set(names)) == len(names) else [os.path.relpath(file, common) for file in whole]
