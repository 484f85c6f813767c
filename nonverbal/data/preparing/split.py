"""The second stage of preparing: which clips are kept, and on which side of the split."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from nonverbal.data.manifest import Clip


def group_numbers(clips: list[Clip]) -> list[int]:
    """Number the groups of clips that share a speaker, a recording or their samples, directly or through other clips.

    Numbers run from 0 in the order in which the groups first appear.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not clips:
        return []
    nodes: dict[tuple[str, str], int] = {}
    edges = []
    for clip in clips:
        samples = nodes.setdefault(("samples", clip.sha256), len(nodes))
        shared = [("recording", clip.recording), *([("speaker", clip.speaker)] if clip.speaker else [])]
        edges += [(samples, nodes.setdefault(name, len(nodes))) for name in shared]
    ends = np.array(edges).T
    graph = coo_array((np.ones(len(edges), dtype=bool), ends), shape=(len(nodes), len(nodes)))
    component = connected_components(graph, directed=False)[1].tolist()
    numbers: dict[int, int] = {}
    return [numbers.setdefault(component[nodes["samples", clip.sha256]], len(numbers)) for clip in clips]


def excluded(clips: list[Clip], evaluation: Iterable[Clip]) -> list[str | None]:
    """Return for each clip why it must not be used beside an evaluation set, or None if it may be.

    Excluded are clips with the samples of an evaluation clip, and all clips of a recording that has a clip in the
    evaluation set, by its name or by its samples.
    """
    hashes, recordings = set(), set()
    for clip in evaluation:
        hashes.add(clip.sha256)
        recordings.add(clip.recording)
    recordings |= {clip.recording for clip in clips if clip.sha256 in hashes}
    # The content of an excluded recording is excluded under other names too.
    inside = {clip.sha256 for clip in clips if clip.recording in recordings}
    reasons: list[str | None] = []
    for clip in clips:
        if clip.sha256 in hashes:
            reasons.append("its samples are in an excluded manifest")
        elif clip.recording in recordings:
            reasons.append(f"its recording {clip.recording} is in an excluded manifest")
        else:
            reasons.append("its samples are in an excluded recording" if clip.sha256 in inside else None)
    return reasons


def choose_validation(clips: list[Clip], groups: list[int], share: float, seed: int) -> set[int]:
    """Choose the groups for validation: about ``share`` of each corpus's seconds, in an order drawn from ``seed``.

    A group belongs to the corpus of its first clip by id. It is chosen if that brings the corpus nearer to its share. A
    corpus with a single group, or whose groups are all more than twice its share, contributes none.
    """
    seconds: dict[int, float] = defaultdict(float)
    home: dict[int, str] = {}
    name: dict[int, str] = {}
    for clip, group in sorted(zip(clips, groups, strict=True), key=lambda pair: pair[0].id):
        seconds[group] += clip.end - clip.start
        home.setdefault(group, clip.corpus)
        name.setdefault(group, clip.id)
    chosen: set[int] = set()
    for corpus in sorted(set(home.values())):
        members = [group for group in home if home[group] == corpus]
        # The order depends on names, not on numbers, so adding or removing a clip elsewhere changes little here.
        members.sort(key=lambda group: hashlib.sha256(f"{seed} {name[group]}".encode()).digest())
        target = share * sum(seconds[group] for group in members)
        taken = 0.0
        for group in members:
            if len(members) > 1 and abs(taken + seconds[group] - target) < abs(taken - target):
                chosen.add(group)
                taken += seconds[group]
    return chosen
