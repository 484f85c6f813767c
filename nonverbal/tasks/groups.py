"""Clips that belong together, and so are not independent evidence."""

from collections.abc import Sequence

import numpy as np


def connected(*names: Sequence[str | None]) -> np.ndarray:
    """Return a number for each clip, ``(clips,)`` int64, the same for clips that share a name, directly or via others.

    Args:
        names: one or more of ``(clips,)``, such as speakers and recordings; None if unknown. A clip without any name is
            on its own.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    clips = len(names[0])
    nodes: dict[tuple[int, str], int] = {}
    pairs = [
        (row, nodes.setdefault((kind, name), clips + len(nodes)))
        for kind, column in enumerate(names)
        for row, name in enumerate(column)
        if name is not None
    ]
    ends = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    size = clips + len(nodes)
    _, numbers = connected_components(coo_array((np.ones(len(pairs)), ends), (size, size)), directed=False)
    return np.unique(numbers[:clips], return_inverse=True)[1].astype(np.int64)


def units(
    groups: Sequence[str], speakers: Sequence[str | None], recordings: Sequence[str | None]
) -> tuple[np.ndarray, str]:
    """Return each clip's unit for intervals and tests, ``(clips,)`` int64, and what the units are.

    Clips that share a group of the folds, a speaker or a recording belong to one unit: if speakers are known, units are
    speakers, even with folds that split them.

    Returns:
        numbers from 0, and ``speakers``, ``recordings``, ``clips``, or ``groups`` if they are none of these.
    """
    numbers = connected(groups, speakers, recordings)
    for name, column in (("speakers", speakers), ("recordings", recordings)):
        # Units hold whole speakers: if there are as many units as speakers, the units are the speakers.
        if None not in column and connected(column).max() == numbers.max():
            return numbers, name
    return numbers, "clips" if numbers.max() + 1 == len(numbers) else "groups"
