"""Finds what the sides of published folds share: files, samples, recordings, speakers, stretches of sound."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AnySet
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from nonverbal.data.audit.fold_lists import SIDES, TEST, TRAIN, VALIDATION, Listed
from nonverbal.data.audit.leaks import audit
from nonverbal.data.index import ShardFolder
from nonverbal.data.manifest import Clip
from nonverbal.errors import UserError

FILE = "file"
"""The same file on both sides, which is always looked for."""


@dataclass(frozen=True)
class Shared:
    """What a side of a fold shares, of one kind, with the files from which it should be separate."""

    clips: int
    """Number of files of the side that share something."""
    known: int
    """Number of files of the side for which this is known; any of the others may share something too."""
    names: tuple[str, ...]
    """What is shared, sorted; for sound, the files of the side."""


@dataclass(frozen=True)
class FoldAudit:
    """The findings for one fold."""

    fold: str
    counts: dict[str, int]
    """Number of files by side."""
    test: dict[str, Shared]
    """By kind, what the test side shares with everything that is trained or selected on."""
    validation: dict[str, Shared]
    """By kind, what the validation side shares with the training side; empty without a validation side."""

    @property
    def leaks(self) -> dict[str, int]:
        """Return by kind the number of test files that share something, without kinds that have none."""
        return {kind: shared.clips for kind, shared in self.test.items() if shared.clips}


@dataclass(frozen=True)
class ListAudit:
    """The findings for all folds."""

    folds: list[FoldAudit]
    missing: list[str]
    """Files of the lists that are not in the shards; empty without shards."""
    listed: int
    """Number of different files."""

    @property
    def leaks(self) -> dict[str, int]:
        """Return by kind the number of folds with a leak."""
        found: dict[str, int] = defaultdict(int)
        for fold in self.folds:
            for kind in fold.leaks:
                found[kind] += 1
        return dict(found)

    def as_dict(self) -> dict[str, Any]:
        """Return all findings, for JSON."""
        return {
            "files": self.listed,
            "missing": self.missing,
            "leaks": self.leaks,
            "folds": [
                {
                    "fold": fold.fold,
                    "files": fold.counts,
                    "test": {kind: vars(shared) for kind, shared in fold.test.items()},
                    "validation": {kind: vars(shared) for kind, shared in fold.validation.items()},
                }
                for fold in self.folds
            ],
        }


def audit_lists(
    lists: Sequence[Listed], shards: ShardFolder | None, kinds: Sequence[str], speaker: str | None, processes: int
) -> ListAudit:
    """Find what the sides of each fold share.

    Args:
        lists: which file is on which side.
        shards: contain the files, with their recordings, speakers and sounds; None: only the lists are used.
        kinds: of ``nonverbal.data.audit.leaks.KINDS``; sound needs shards.
        speaker: pattern whose first group is the speaker in a file's path, if nothing else gives the speaker.
        processes: number of processes that compute fingerprints.

    Raises:
        UserError: no file is in the shards, files cannot be told apart, or the pattern is invalid.
    """
    pattern = _pattern(speaker)
    paths = list(dict.fromkeys(one.path for one in lists))
    clips = [] if shards is None else shards.clips()
    rows = _rows_of(paths, clips, str(shards.folder)) if shards is not None else {}
    names = _names(lists, rows, clips, pattern)
    near = _sounding(shards, processes) if shards is not None and "sound" in kinds else None
    wanted = [FILE, *(kind for kind in kinds if kind != "sound" or near is not None)]
    folds = [
        _fold(fold, [one for one in lists if one.fold == fold], wanted, names, rows, near or {})
        for fold in dict.fromkeys(one.fold for one in lists)
    ]
    missing = [path for path in paths if not rows.get(path)] if shards is not None else []
    return ListAudit(folds, missing, len(paths))


Names = Mapping[str, Mapping[str, AnySet[str]]]
"""By kind and file, the names that identify what the file may share; empty if they are unknown."""


def _names(
    lists: Sequence[Listed], rows: Mapping[str, list[int]], clips: Sequence[Clip], pattern: re.Pattern[str] | None
) -> Names:
    found: dict[str, dict[str, set[str]]] = {
        kind: defaultdict(set) for kind in (FILE, "samples", "recording", "speaker")
    }
    for one in lists:
        own = [clips[row] for row in rows.get(one.path, [])]
        # Either the list or the shards may know more.
        known: dict[str, list[str | None]] = {
            FILE: [clip.id for clip in own] or [one.path],
            "samples": [one.sha256, *(clip.sha256 for clip in own)],
            "recording": [one.recording, *(clip.recording for clip in own)],
            "speaker": [one.speaker, *(clip.speaker for clip in own)],
        }
        for kind, names in known.items():
            found[kind][one.path] |= {name for name in names if name}
        if not found["speaker"][one.path] and pattern and (match := pattern.search(one.path)):
            found["speaker"][one.path].add(match[1])
    return found


def _fold(
    fold: str,
    listed: Sequence[Listed],
    kinds: Sequence[str],
    names: Names,
    rows: Mapping[str, list[int]],
    near: Mapping[int, AnySet[int]],
) -> FoldAudit:
    sides = {side: list(dict.fromkeys(one.path for one in listed if one.side == side)) for side in SIDES}

    def shared(side: str, others: Iterable[str]) -> dict[str, Shared]:
        other = [path for name in others for path in sides[name]]
        return {
            kind: _by_sound(sides[side], other, rows, near) if kind == "sound" else _by(names[kind], sides[side], other)
            for kind in kinds
        }

    validation = shared(VALIDATION, [TRAIN]) if sides[VALIDATION] else {}
    counts = {side: len(paths) for side, paths in sides.items()}
    return FoldAudit(fold, counts, shared(TEST, [TRAIN, VALIDATION]), validation)


def _by(names: Mapping[str, AnySet[str]], side: Sequence[str], other: Sequence[str]) -> Shared:
    there = {name for path in other for name in names[path]}
    concerned = [path for path in side if names[path] & there]
    shared = {name for path in concerned for name in names[path] & there}
    return Shared(len(concerned), sum(bool(names[path]) for path in side), tuple(sorted(shared)))


def _by_sound(
    side: Sequence[str], other: Sequence[str], rows: Mapping[str, list[int]], near: Mapping[int, AnySet[int]]
) -> Shared:
    there = {row for path in other for row in rows.get(path, [])}
    concerned = [path for path in side if any(near.get(row, set()) & there for row in rows.get(path, []))]
    return Shared(len(concerned), sum(bool(rows.get(path)) for path in side), tuple(sorted(concerned)))


def _sounding(shards: ShardFolder, processes: int) -> dict[int, set[int]]:
    """Return for each clip the clips that share a stretch of sound with it, as rows of the manifest."""
    near: dict[int, set[int]] = defaultdict(set)
    for pair in audit(shards, None, ["sound"], processes).pairs:
        near[pair.a].add(pair.b)
        near[pair.b].add(pair.a)
    return near


def _pattern(text: str | None) -> re.Pattern[str] | None:
    if text is None:
        return None
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise UserError(f"--speaker {text!r} is not a pattern ({error})") from error
    if not pattern.groups:
        raise UserError(f"--speaker {text!r} has no group for the speaker; put it in parentheses: actor_(\\d+)")
    return pattern


def _rows_of(paths: Sequence[str], clips: Sequence[Clip], folder: str) -> dict[str, list[int]]:
    """Return for each path of a list the rows of the manifest that are clips of it.

    A path of a list may begin at any folder, so the ends of paths are compared, without the file type.
    """
    ids = {clip.id: row for row, clip in enumerate(clips)}
    by_name: dict[str, list[int]] = defaultdict(list)
    for row, clip in enumerate(clips):
        by_name[_parts(clip.path)[-1]].append(row)
    found = {path: [ids[path]] if path in ids else _best(path, by_name, clips, folder) for path in paths}
    if not any(found.values()):
        raise UserError(
            f"none of the files of the lists is in {folder}; the first is {paths[0]}: give the shards of that corpus"
        )
    return found


def _best(path: str, by_name: Mapping[str, list[int]], clips: Sequence[Clip], folder: str) -> list[int]:
    parts = _parts(path)
    candidates = by_name.get(parts[-1], []) if parts else []
    if not candidates:
        return []
    alike = {row: _alike(parts, _parts(clips[row].path)) for row in candidates}
    best = [row for row in candidates if alike[row] == max(alike.values())]
    if len({(clips[row].corpus, clips[row].path) for row in best}) > 1:
        raise UserError(
            f"{path} may be {clips[best[0]].id} or {clips[best[1]].id} of {folder}; list it by a longer path, or give "
            "shards of one corpus"
        )
    return best


def _alike(a: Sequence[str], b: Sequence[str]) -> int:
    """Return the number of parts that two paths have in common at their ends."""
    count = 0
    for one, other in zip(reversed(a), reversed(b), strict=False):
        if one != other:
            break
        count += 1
    return count


def _parts(path: str) -> tuple[str, ...]:
    found = PurePosixPath(path.replace("\\", "/"))
    return found.with_suffix("").parts if found.name else ("",)
