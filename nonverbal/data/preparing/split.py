"""The second stage of preparing: which clips stay, and on which side of the split."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from nonverbal.data.manifest import Clip


def group_numbers(clips: list[Clip]) -> list[int]:
    """Number the groups of clips that share a speaker, a recording or their samples, directly or by way of others.

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
    """Say of each clip why it must not enter beside an evaluation set, or None where it may.

    Out are clips with the samples of an evaluation clip, and all of a recording of which any clip is in the
    evaluation set, by its name or by its samples.
    """
    hashes, recordings = set(), set()
    for clip in evaluation:
        hashes.add(clip.sha256)
        recordings.add(clip.recording)
    recordings |= {clip.recording for clip in clips if clip.sha256 in hashes}
    # What an excluded recording holds stays out under another name too.
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
    """Choose the groups for validation: of each corpus about ``share`` of the seconds, in an order drawn from ``seed``.

    A group belongs to the corpus of its first clip by id. It is taken where that brings the corpus nearer to its share.
    A corpus of one group, or whose every group is more than twice its share, gives none.
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
        # The order hangs on names, not on numbers: a clip more or less elsewhere changes little here.
        members.sort(key=lambda group: hashlib.sha256(f"{seed} {name[group]}".encode()).digest())
        target = share * sum(seconds[group] for group in members)
        taken = 0.0
        for group in members:
            if len(members) > 1 and abs(taken + seconds[group] - target) < abs(taken - target):
                chosen.add(group)
                taken += seconds[group]
    return chosen
