"""Finds leaks: what two folders of shards, or the two sides of one folder, have in common."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np

from nonverbal.data.audit import alignments, fingerprints
from nonverbal.data.audit.alignments import Alignments, align
from nonverbal.data.audit.fingerprints import fingerprint_folder
from nonverbal.data.index import ShardFolder
from nonverbal.data.manifest import Clip, write_manifest
from nonverbal.data.progress import progress
from nonverbal.errors import UserError
from nonverbal.files import whole
from nonverbal.grouping import grouped

KINDS = ("samples", "recording", "speaker", "sound")
"""What two clips can share: all samples, the name of a recording or speaker, a stretch of sound."""
METHOD = "sign of band energy differences (Haitsma and Kalker, ISMIR 2002), bit error rate of the aligned overlap"


@dataclass(frozen=True)
class Side:
    """A folder of shards, with the group and the split of each clip."""

    shards: ShardFolder
    clips: list[Clip]
    groups: list[int]
    splits: list[str]


@dataclass(frozen=True)
class Pair:
    """Two clips that share samples or sound, and possibly more."""

    a: int
    """Row of A's manifest."""
    b: int
    """Row of B's manifest; within one folder, a later row of A's."""
    kinds: list[str]
    offset: float | None = None
    """Seconds into one clip at which the other begins; None if no common sound was found."""
    overlap: float | None = None
    """Seconds for which both continue from there."""
    rate: float | None = None
    """Share of the fingerprints' bits that differ."""


@dataclass(frozen=True)
class Shared:
    """The name of a recording or speaker, and the clips that have it."""

    kind: str
    name: str
    a: list[int]
    """Rows of A's manifest."""
    b: list[int]
    """Rows of B's manifest; within one folder, the same as ``a``."""


@dataclass
class Count:
    """The number of pairs of one kind between two corpora."""

    pairs: int = 0
    apart: int = 0
    """How many of them are in different groups; only within one folder."""
    straddling: int = 0
    """How many of them have one clip in train and one in validation; only within one folder."""
    a: set[int] = field(default_factory=set)
    """Rows of A's manifest that are in a pair."""
    b: set[int] = field(default_factory=set)
    """Rows of B's manifest that are in a pair; within one folder, those of the pairs' later clips."""


@dataclass(frozen=True)
class Audit:
    """The findings."""

    a: Side
    b: Side | None
    """None if the audit is within one folder."""
    kinds: list[str]
    pairs: list[Pair]
    """The pairs that share samples or sound, the most important first."""
    shared: list[Shared]
    found: Alignments | None
    """None if sound was not compared."""

    @property
    def other(self) -> Side:
        """The side that ``b`` of pairs refers to."""
        return self.a if self.b is None else self.b

    def apart(self, a: int, b: int) -> bool:
        """Whether two clips of one folder are in different groups."""
        return self.b is None and self.a.groups[a] != self.a.groups[b]

    def straddles(self, a: int, b: int) -> bool:
        """Whether two clips of one folder are on different sides of the split."""
        return self.b is None and self.a.splits[a] != self.a.splits[b]

    def counts(self) -> dict[tuple[str, str, str], Count]:
        """Return the counts of pairs by kind, corpus of A and corpus of B, in the order of ``KINDS``."""
        counts: dict[tuple[str, str, str], Count] = defaultdict(Count)
        for kind, rows_a, rows_b, pairs in self._links():
            a, b = rows_a[0], rows_b[0]
            count = counts[kind, self.a.clips[a].corpus, self.other.clips[b].corpus]
            count.pairs += pairs
            count.apart += pairs * self.apart(a, b)
            count.straddling += pairs * self.straddles(a, b)
            count.a.update(rows_a)
            count.b.update(rows_b)
        return dict(sorted(counts.items(), key=lambda item: (KINDS.index(item[0][0]), item[0][1:])))

    def leaks(self) -> dict[str, int]:
        """Return leaks by kind: pairs between two folders, or pairs within one that straddle train and validation."""
        leaks: dict[str, int] = defaultdict(int)
        for (kind, _, _), count in self.counts().items():
            leaks[kind] += count.pairs if self.b else count.straddling
        return {kind: number for kind, number in leaks.items() if number}

    def concerned(self) -> tuple[list[int], list[int]]:
        """Return the rows of A's and of B's manifest that are in any pair; within one folder, the same rows twice."""
        counts = self.counts().values()
        a, b = (set().union(*(getattr(count, side) for count in counts)) for side in ("a", "b"))
        return (sorted(a), sorted(b)) if self.b else (sorted(a | b), sorted(a | b))

    def _links(self) -> Iterator[tuple[str, list[int], list[int], int]]:
        """Yield (kind, rows of A, rows of B, pairs); all rows of a side have the same corpus, group and split."""
        for pair in self.pairs:
            for kind in pair.kinds:
                if kind in ("samples", "sound"):
                    yield kind, [pair.a], [pair.b], 1
        for shared in self.shared:
            cells = _cells(self.a, shared.a)
            if self.b is None:
                yield from ((shared.kind, x, x, len(x) * (len(x) - 1) // 2) for x in cells if len(x) > 1)
                yield from ((shared.kind, x, y, len(x) * len(y)) for x, y in combinations(cells, 2))
            else:
                others = _cells(self.b, shared.b)
                yield from ((shared.kind, x, y, len(x) * len(y)) for x, y in product(cells, others))

    def as_dict(self) -> dict[str, Any]:
        """Return all findings, for JSON; clips are given by their ids."""
        a, b = self.concerned()
        return {
            "a": _described(self.a, len(a)),
            "b": None if self.b is None else _described(self.b, len(b)),
            "settings": {"kinds": self.kinds},
            "sound": None if self.found is None else _method(self.found),
            "leaks": self.leaks(),
            "counts": [self._count(*key, count) for key, count in self.counts().items()],
            "pairs": [self._pair(pair) for pair in self.pairs],
            "names": [self._name(shared) for shared in self.shared],
        }

    def _count(self, kind: str, corpus_a: str, corpus_b: str, count: Count) -> dict[str, Any]:
        row = {"kind": kind, "corpus_a": corpus_a, "corpus_b": corpus_b, "pairs": count.pairs}
        if self.b:
            return row | {"clips_a": len(count.a), "clips_b": len(count.b)}
        within = {"different_groups": count.apart, "straddling": count.straddling}
        return row | within | {"clips": len(count.a | count.b)}

    def _pair(self, pair: Pair) -> dict[str, Any]:
        row: dict[str, Any] = {"a": self.a.clips[pair.a].id, "b": self.other.clips[pair.b].id, "kinds": pair.kinds}
        names = {"offset": "offset_seconds", "overlap": "overlap_seconds", "rate": "bit_error_rate"}
        row |= {name: getattr(pair, key) for key, name in names.items()}
        if self.b is None:
            row["same_group"] = not self.apart(pair.a, pair.b)
            row["splits"] = [self.a.splits[pair.a], self.a.splits[pair.b]]
        return row

    def _name(self, shared: Shared) -> dict[str, Any]:
        clips = {"a": [self.a.clips[row].id for row in shared.a]}
        if self.b is not None:
            clips["b"] = [self.b.clips[row].id for row in shared.b]
        return {"kind": shared.kind, "name": shared.name, **clips}


def audit(a: ShardFolder, b: ShardFolder | None, kinds: list[str], processes: int) -> Audit:
    """Find what ``a`` and ``b`` share, or the clips of ``a`` among each other, and show progress.

    Raises:
        UserError: a folder cannot be read, or contains no clips.
    """
    side_a, side_b = _side(a), None if b is None else _side(b)
    other = side_b or side_a
    found = None
    pairs: dict[tuple[int, int], Pair] = {}
    if "samples" in kinds:
        for row_a, row_b in _same_samples(side_a, side_b):
            pairs[row_a, row_b] = Pair(row_a, row_b, ["samples"])
    if "sound" in kinds:
        found = _aligned(side_a, side_b, processes)
        columns = (found.a, found.b, found.offset, found.overlap, found.rate)
        for row_a, row_b, *measures in zip(*(column.tolist() for column in columns), strict=True):
            known = pairs.get((row_a, row_b))
            pairs[row_a, row_b] = Pair(row_a, row_b, [*(known.kinds if known else []), "sound"], *measures)
    for pair in pairs.values():
        pair.kinds[:] = [kind for kind in KINDS if kind in pair.kinds or _share(kind, kinds, side_a, other, pair)]
    shared = [one for kind in ("recording", "speaker") if kind in kinds for one in _shared(kind, side_a, side_b)]
    result = Audit(side_a, side_b, kinds, list(pairs.values()), shared, found)
    # Sorting is stable, so among equal pairs the surest stay first.
    result.pairs.sort(key=lambda pair: (not result.straddles(pair.a, pair.b), not result.apart(pair.a, pair.b)))
    return result


def write_exclusion(path: Path, result: Audit) -> int:
    """Write the manifest that keeps what A shares with B out of A, for ``prepare --exclude``; return the row count.

    It contains the clips of both sides that are in a pair: those of A by their own samples, which copies in B need not
    have, and those of B by their recordings, of which A may contain more.
    """
    a, b = result.concerned()
    rows = [result.a.clips[row] for row in a] + [result.other.clips[row] for row in b]
    # In the other folder, the same name may stand for other samples.
    clips = {(clip.id, clip.sha256): clip for clip in rows}
    with whole(path) as unfinished:
        write_manifest(unfinished, clips.values())
    return len(clips)


def _side(shards: ShardFolder) -> Side:
    clips = shards.clips()
    if not clips:
        raise UserError(f"{shards.folder} holds no clips; see its ledger.jsonl for what became of them")
    rows, first = np.unique(shards.table["clip"], return_index=True)
    if len(rows) != len(clips):
        raise UserError(
            f"{shards.folder}: manifest.jsonl has {len(clips)} clips, but table.npy {len(rows)}; "
            f"check the folder with: nonverbal prepare --verify {shards.folder}"
        )
    splits = [str(shards.shards[shard]["split"]) for shard in shards.table["shard"][first]]
    return Side(shards, clips, shards.table["group"][first].tolist(), splits)


def _aligned(a: Side, b: Side | None, processes: int) -> Alignments:
    prints_a = fingerprint_folder(a.shards, processes)
    prints_b = None if b is None else fingerprint_folder(b.shards, processes)
    with progress("comparing", len(a.clips), "clips") as advance:
        return align(prints_a, prints_b, advance)


def _same_samples(a: Side, b: Side | None) -> Iterator[tuple[int, int]]:
    rows_a, rows_b = (_by(lambda clip: clip.sha256, side.clips) for side in (a, b or a))
    for sha256, rows in rows_a.items():
        yield from combinations(rows, 2) if b is None else product(rows, rows_b.get(sha256, []))


def _shared(kind: str, a: Side, b: Side | None) -> Iterator[Shared]:
    rows_a, rows_b = (_by(lambda clip: getattr(clip, kind), side.clips) for side in (a, b or a))
    for name, rows in rows_a.items():
        others = rows_b.get(name, [])
        if others and (b is not None or len(rows) > 1):
            yield Shared(kind, name, rows, others)


def _share(kind: str, kinds: list[str], a: Side, b: Side, pair: Pair) -> bool:
    """Whether the clips of a pair have the same name of ``kind``, if that kind was requested."""
    if kind not in kinds or kind not in ("recording", "speaker"):
        return False
    name = getattr(a.clips[pair.a], kind)
    return name is not None and name == getattr(b.clips[pair.b], kind)


def _by(key: Callable[[Clip], Any], clips: list[Clip]) -> dict[str, list[int]]:
    """Return the rows of clips by a value, in order of first appearance; clips whose value is None are left out."""
    rows = grouped(range(len(clips)), lambda row: key(clips[row]))
    return {value: own for value, own in rows.items() if value is not None}


def _cells(side: Side, rows: list[int]) -> list[list[int]]:
    """Divide rows by corpus, group and split."""
    return list(grouped(rows, lambda row: (side.clips[row].corpus, side.groups[row], side.splits[row])).values())


def _described(side: Side, concerned: int) -> dict[str, Any]:
    facts = {"folder": str(side.shards.folder), "sha256": side.shards.sha256, "corpora": side.shards.corpora}
    return facts | {"clips": len(side.clips), "clips_concerned": concerned}


def _method(found: Alignments) -> dict[str, Any]:
    names = ("RATE", "WINDOW", "HOP", "LAG", "BANDS", "LOWEST", "HIGHEST", "FLOOR")
    limits = ("PROBES", "MATCHES", "LEAST_FRAMES", "HIGHEST_RATE", "SAME_RATE", "DEVIATION", "FALSE_PAIRS")
    return {
        "method": METHOD,
        "fingerprint": {name.lower(): getattr(fingerprints, name) for name in names},
        "thresholds": {name.lower(): getattr(alignments, name) for name in limits} | {"deviations": found.deviations},
        "comparisons": {"made": found.compared, "left_out": found.left_out},
    }
